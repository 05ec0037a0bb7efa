"""What must not get in: code that a run folder or a working directory brings along."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnist_mlp.errors import UsageError
from mnist_mlp.registry import target_in_folder
from mnist_mlp.worker.parent import Worker

Cli = Callable[..., CompletedProcess[str]]

PAYLOAD = """
from pathlib import Path

Path(__file__).with_name("it-ran").write_text("")


class X:
    capabilities, packages, install = None, (), ""
"""


@pytest.fixture
def theirs(finished_run: Path, tmp_path: Path) -> Path:
    """A stranger's folder that names a module of its own as its backend."""
    folder = tmp_path / "theirs"
    shutil.copytree(finished_run, folder)
    (folder / "payload.py").write_text(PAYLOAD)
    record = json.loads((folder / "run.json").read_text())
    record["backend"]["target"] = "theirs.payload:X"
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_a_run_folder_runs_no_code(
    cli: Cli, finished_run: Path, idx_dir: Path, theirs: Path
) -> None:
    done = cli("compare", finished_run, theirs.name, "--data-dir", idx_dir)
    assert not (theirs / "it-ran").exists()
    assert done.returncode == 6, "what was not replayed is not judged"
    assert "'theirs.payload:X', which is not registered here" in done.stdout
    assert "--trust-backend theirs.payload:X" in done.stdout


def test_a_folder_that_is_trusted_runs(
    cli: Cli, finished_run: Path, idx_dir: Path, theirs: Path
) -> None:
    """Which also shows that the payload would have run."""
    words = ("--data-dir", idx_dir, "--trust-backend", "theirs.payload:X")
    cli("compare", finished_run, theirs.name, *words)
    assert (theirs / "it-ran").exists()


def test_registered_backends_and_trusted_ones_may_be_named() -> None:
    numpy = "mnist_mlp_numpy:NumpyBackend"
    assert target_in_folder(numpy, folder=Path("f")) == numpy
    assert target_in_folder("a:B", folder=Path("f"), trusted=["a:B"]) == "a:B"
    with pytest.raises(UsageError, match=r"f/run\.json names the backend 'a:B'"):
        target_in_folder("a:B", folder=Path("f"), trusted=["a:C"])


def test_a_file_in_the_working_directory_takes_no_package_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("numpy", "pickle", "safetensors", "tensorboardX"):
        (tmp_path / f"{name}.py").write_text(PAYLOAD)
    with Worker("numpy", accelerator="cpu") as worker:
        worker.describe()
    (tmp_path / "mine.py").write_text(
        "from mnist_mlp_numpy.backend import NumpyBackend\n\n\nclass Mine(NumpyBackend): ...\n"
    )
    with Worker("mine:Mine", accelerator="cpu") as worker:
        worker.describe()
    assert not (tmp_path / "it-ran").exists()


def test_such_a_file_would_run_without_our_care(tmp_path: Path) -> None:
    """What the test above rests on."""
    (tmp_path / "numpy.py").write_text(PAYLOAD)
    command = [sys.executable, "-m", "mnist_mlp.worker.child", "numpy"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (tmp_path / "it-ran").exists()
