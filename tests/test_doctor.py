"""The doctor: each fault that it looks for is planted, and found with its remedy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from mnist_mlp.doctor import frameworks, machine, packages, places
from mnist_mlp.doctor.finding import Finding, Level
from mnist_mlp.doctor.holes import HOLES, holes_of

Cli = Callable[..., CompletedProcess[str]]


def plant(folder: Path, name: str, number: str, *, needs: Iterable[str] = ()) -> None:
    """Make the folder look as if a package were installed in it."""
    info = folder / f"{name}-{number}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {number}"]
    lines += [f"Requires-Dist: {line}" for line in needs]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched for packages before all others."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def broken(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {each.subject: each for each in findings if each.level is Level.broken}


# --- The command ----------------------------------------------------------------------------------


def test_a_healthy_machine(cli: Cli, idx_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_MLP_DATA", str(idx_dir))
    done = cli("doctor", "--backend", "numpy")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "nothing that is needed is broken"
    for subject in ("python", "numpy", "cores", "cache", "data set", "backend numpy"):
        assert f" {subject} " in done.stdout
    assert f"other data than MNIST in {idx_dir}" in done.stdout
    answer = json.loads(cli("doctor", "--backend", "numpy", "--json").stdout)
    assert (answer["schema_version"], answer["exit_code"]) == (1, 0)
    assert {"subject", "level", "text", "remedy"} == set(answer["findings"][0])


def test_a_broken_package_is_found_though_the_program_needs_it(tmp_path: Path) -> None:
    """Also one that `mnist_mlp` itself imports; in a fresh process, as a user would run it."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("raise ImportError('wrong ABI')\n")
    plant(tmp_path, "platformdirs", "0.9")
    done = subprocess.run(
        [sys.executable, "-m", "mnist_mlp", "doctor", "--json"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path[1:]])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)["findings"]
    wrong = {each["subject"]: each for each in found if each["level"] == "broken"}
    assert wrong["platformdirs"]["text"].startswith("0.9 (needs >=")
    assert wrong["platformdirs"]["remedy"].startswith("pip install 'platformdirs>=")
    assert wrong["numpy"]["text"] == "cannot be imported: ImportError: wrong ABI"
    assert wrong["numpy"]["remedy"] == "pip install --force-reinstall numpy"
    assert found[-1]["text"] == "not asked: repair the packages above first"


def test_looking_needs_none_of_the_packages_that_may_be_broken() -> None:
    script = "import sys, mnist_mlp.doctor.diagnose; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {"numpy", "pydantic", "torch", "tensorflow"} & set(done.stdout.split())


def test_an_unknown_backend_is_a_mistake(cli: Cli) -> None:
    assert cli("doctor", "--backend", "kears").returncode == 2


# --- Packages -------------------------------------------------------------------------------------


def test_every_package_of_the_core_is_imported() -> None:
    assert packages.import_findings() == []
    assert {each.name for each in packages.requirements()} > {"numpy", "typer", "scikit-learn"}
    assert {each.name for each in packages.requirements("torch")} == {
        *("torch", "torchvision", "lightning", "torchmetrics")
    }


def test_old_versions_are_named_with_their_holes(site: Path) -> None:
    plant(site, "torch", "2.5.1")
    plant(site, "lightning", "2.6.5")
    plant(site, "keras", "3.12.0")
    found = broken(packages.package_findings())
    assert "CVE-2025-32434" in found["torch"].text
    assert "CVE-2026-24747" in found["torch"].text
    assert found["torch"].remedy == "pip install 'torch>=2.10'"
    assert "CVE-2026-58659" in found["lightning"].text
    assert "CVE-2026-1462" in found["keras"].text
    assert "CVE-2025-1550" not in found["keras"].text, "mended in 3.9.0"
    assert broken(packages.package_findings(["numpy"])) == {}, "only what is asked for"


def test_the_oldest_versions_that_are_allowed_have_no_hole() -> None:
    for requirement in (*packages.requirements("torch"), *packages.requirements("keras")):
        (lowest,) = [each.version for each in requirement.specifier if each.operator == ">="]
        assert not holes_of(requirement.name, lowest)
    assert {hole.package for hole in HOLES} == {"keras", "torch", "lightning"}


def test_a_package_that_is_missing_is_broken_only_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "installed", lambda name: None if name == "torch" else "99")
    assert "torch" not in {each.subject for each in packages.package_findings()}
    assert "not installed" in broken(packages.package_findings(["torch"]))["torch"].text


def test_packages_that_clash(site: Path) -> None:
    plant(site, "tensorflow", "2.21.0", needs=["protobuf<6", "numpy>=2; extra == 'no'", "nix"])
    clashes = [each for each in packages.clash_findings() if each.subject == "tensorflow"]
    protobuf, missing = clashes
    assert protobuf.level is Level.broken
    assert protobuf.text == (
        f"tensorflow 2.21.0 needs protobuf<6, but protobuf {version('protobuf')} is installed"
    )
    assert protobuf.remedy == "pip install 'protobuf<6'"
    assert missing.text.endswith("needs nix, but it is not installed")


def test_wheels_of_torch_from_two_indexes(site: Path) -> None:
    plant(site, "torch", "2.14.1+cpu")
    plant(site, "torchvision", "0.29.1")
    (clash,) = [each for each in packages.clash_findings() if "devices" in each.text]
    assert clash.text == "torch 2.14.1+cpu and torchvision 0.29.1 are built for different devices"
    assert clash.remedy == "pip install --force-reinstall 'mnist-mlp[torch]'"
    shutil.rmtree(site / "torchvision-0.29.1.dist-info")
    plant(site, "torchvision", "0.29.1+cpu")
    assert not [each for each in packages.clash_findings() if "devices" in each.text]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("raise SystemExit('no')", "SystemExit: no"),
        ("print('noise')\nimport os\nos.abort()", "the process ended with exit code -6"),
        ("import time\ntime.sleep(60)", "no end within 1 s"),
    ],
)
def test_imports_that_end_badly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    (tmp_path / "evil.py").write_text(line)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(packages, "IMPORT_LIMIT_S", 1.0)
    results = packages._try_imports(["json", "evil", "csv"])
    assert (results["json"], results["evil"]) == ("", words)


# --- The machine ----------------------------------------------------------------------------------


def test_limits_of_a_container(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (tmp_path / "outer" / "cpu.max").write_text("50000 100000\n")
    (inner / "memory.max").write_text(f"{2**29}\n")
    (tmp_path / "outer" / "memory.max").write_text("max\n")
    assert machine.cpu_quota(inner) == 0.5
    assert machine.memory_limit(inner) == 2**29
    cores = machine.cores_finding(inner)
    assert "the time of 0.5 cores" in cores.text
    assert cores.remedy == "stay at or below --threads 1"
    memory = machine.memory_finding(inner)
    assert (memory.level, "0.5 GiB" in memory.text) == (Level.note, True)
    assert machine.cpu_quota(tmp_path) is None


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    found = machine.threads_finding()
    assert found is not None
    assert found.remedy == "unset OMP_NUM_THREADS"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert machine.threads_finding() is None


@pytest.mark.parametrize(("flags", "level"), [("fpu sse2", Level.broken), ("fpu avx avx2", None)])
def test_a_processor_without_avx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, level: Level | None
) -> None:
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(machine, "find_spec", lambda _: object())
    (tmp_path / "cpuinfo").write_text(f"model name\t: X\nflags\t\t: {flags}\n")
    found = machine.avx_finding(tmp_path / "cpuinfo")
    assert (found and found.level) == level


# --- Places ---------------------------------------------------------------------------------------


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = broken(places.place_findings(tmp_path / "file" / "cache"))
    assert "cannot be written" in found["cache"].text
    assert found["cache"].remedy.startswith("export MNIST_MLP_CACHE=")
    assert set(found) == {"cache"}


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("free", "level"), [(10**6, Level.broken), (10**8, Level.note), (10**10, Level.ok)]
)
def test_little_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    monkeypatch.setattr(places.shutil, "disk_usage", lambda _: Usage(free, 0, free))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "file").write_bytes(b"x" * 3_000_000)
    *_, cache = places.place_findings(tmp_path)
    assert cache.level is level
    assert "mnist 3 MB" in cache.text or level is Level.broken
    assert not list(tmp_path.glob("tmp*")), "nothing is left"


def test_a_named_folder_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_MLP_DATA", str(tmp_path))
    named = places.data_finding(tmp_path)
    assert (named.level, named.remedy) == (Level.broken, "unset MNIST_MLP_DATA")
    monkeypatch.delenv("MNIST_MLP_DATA")
    absent = places.data_finding(tmp_path / "cache")
    assert (absent.level, absent.remedy) == (Level.note, "python -m mnist_mlp data")


# --- Backends -------------------------------------------------------------------------------------


def test_backends_that_are_missing_or_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        "missing": "faulty_backends:MissingBackend",
        "numpy": "mnist_mlp_numpy:NumpyBackend",
        "raising": "faulty_backends:SilentlyRaisingBackend",
    }
    for module in ("mnist_mlp.registry", "mnist_mlp.doctor.frameworks"):
        monkeypatch.setattr(f"{module}.installed", lambda: known)
    found = {each.subject: each for each in frameworks.backend_findings()}
    missing = found["backend missing"]
    assert missing.level is Level.absent
    assert missing.text.startswith("optional: ")
    assert missing.remedy == "pip install no-such-framework"
    assert found["backend numpy"].level is Level.ok
    assert "AssertionError" in found["backend raising"].text
    assert found["backend raising"].level is Level.broken
    (asked,) = frameworks.backend_findings(["missing"])
    assert asked.level is Level.broken


def test_a_gpu_s_driver_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from mnist_mlp.contract import Capabilities, Environment

    answer: Any = (Capabilities(), Environment({"torch": "2.14.1"}, gpu_install="pip install x"))
    monkeypatch.setattr(frameworks, "described", lambda *_, **__: {"torch": answer})
    monkeypatch.setattr(frameworks, "missing_driver", lambda: None)
    (found,) = frameworks.backend_findings()
    assert (found.level, found.remedy) == (Level.note, "pip install x")
    monkeypatch.setattr(frameworks, "missing_driver", lambda: "no driver")
    (found,) = frameworks.backend_findings()
    assert found.level is Level.ok
