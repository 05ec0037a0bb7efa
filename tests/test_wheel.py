"""The wheel, installed as a user installs it: core dependencies only, no framework, no checkout.

Takes about a minute, half of it for `pip install`. That needs a package index, as `make test` does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "mnist_mlp", "backends")
NOT_OURS = {"keras", "lightning", "onnx", "pytest", "ruff", "tensorflow", "torch", "torchvision"}


def packaged(root: Path) -> set[str]:
    """Files that belong into the wheel, by their path in it."""
    folders = [root / "mnist_mlp", *sorted((root / "backends").iterdir())]
    return {
        path.relative_to(folder.parent).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(wheel: Path, root: Path) -> set[str]:
    """Files that only one of the wheel and the source tree has."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    return names ^ packaged(root)


def run(*words: object, folder: Path) -> CompletedProcess[str]:
    """Run a command that sees neither this checkout nor this environment's packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment | {"MNIST_MLP_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a `build` folder left in the checkout would put old files into it."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source)
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", "dist", ".", folder=source)
    assert done.returncode == 0, done.stderr
    (built,) = (source / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", "venv", folder=folder).returncode == 0
    interpreter = folder / "venv" / "bin" / "python"
    done = run(interpreter, "-m", "pip", "install", wheel, folder=folder)
    assert done.returncode == 0, done.stderr
    return interpreter


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    assert differences(wheel, ROOT) == set()


@pytest.mark.long  # it installs the wheel in an environment of its own
def test_no_framework_and_no_tool_is_installed(python: Path, tmp_path: Path) -> None:
    done = run(python, "-m", "pip", "list", "--format", "json", folder=tmp_path)
    names = {package["name"].lower() for package in json.loads(done.stdout)}
    assert "mnist-mlp" in names
    assert not names & NOT_OURS


@pytest.mark.long
def test_commands_work_without_frameworks(python: Path, tmp_path: Path) -> None:
    """Help, data, training by the NumPy reference, evaluation, report, and a refusal in words."""

    def call(*words: str) -> CompletedProcess[str]:
        return run(python, "-m", "mnist_mlp", *words, folder=tmp_path)

    assert "compare" in call("--help").stdout
    data = json.loads(call("data", "--dataset", "digits", "--json").stdout)
    assert (data["dataset"], data["images"]["shape"][1:]) == ("digits", [28, 28])
    trained = call("--backend", "numpy", "--dataset", "digits", "--epochs", "2", "--out", "run")
    assert trained.returncode == 0, trained.stderr
    evaluated = call("evaluate", "run")
    assert evaluated.returncode == 0, evaluated.stderr
    accuracies = [
        next(line for line in done.stdout.splitlines() if "accuracy" in line)
        for done in (trained, evaluated)
    ]
    assert accuracies[0] == accuracies[1]
    assert call("report", "run", "--out", "report.html").returncode == 0
    assert (tmp_path / "report.html").stat().st_size > 50_000
    refused = call("--backend", "torch", "--dataset", "digits", "--out", "other")
    assert refused.returncode == 3
    assert "pip install" in refused.stderr


# --- The checker itself ---------------------------------------------------------------------------


def test_a_file_left_out_is_seen(tmp_path: Path) -> None:
    template = "mnist_mlp/report/templates/report.css"
    names = packaged(ROOT) - {template} | {"mnist_mlp/old.py"}
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        for name in sorted(names):
            archive.writestr(name, "")
    assert differences(tmp_path / "x.whl", ROOT) == {template, "mnist_mlp/old.py"}
