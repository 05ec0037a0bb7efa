"""What must not get in: code that a run folder or a working directory brings along."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from mnist_mlp.data.download import check_mirror, download_mnist
from mnist_mlp.errors import DataError, UsageError
from mnist_mlp.registry import target_in_folder
from mnist_mlp.run.folder import Run
from mnist_mlp.run.tensors import tensors_to_bytes
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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backend.name", "\x1b[2Jnumpy"),
        ("dataset.name", "mnist\x1b]0;title\x07"),
        ("device", "cpu\x9b31m"),
        ("versions", {"numpy": "2\r3"}),
        ("dataset.source", "a byte order mark \ufeff"),
    ],
)
def test_escape_codes_do_not_reach_the_terminal(
    cli: Cli, finished_run: Path, tmp_path: Path, key: str, value: object
) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(finished_run, folder)
    record = json.loads((folder / "run.json").read_text())
    *outer, last = key.split(".")
    (record[outer[0]] if outer else record)[last] = value
    (folder / "run.json").write_text(json.dumps(record))
    done = cli("evaluate", folder)
    assert (done.returncode, "without control characters" in done.stderr) == (4, True)
    assert (done.stdout + done.stderr).replace("\n", "").isprintable()


def test_names_of_tensors_are_printable(cli: Cli, finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(finished_run, folder)
    weights = Run(folder).weights | {"\x1b[31mextra": np.zeros(1, np.float32)}
    (folder / "weights.safetensors").write_bytes(tensors_to_bytes(weights))
    done = cli("evaluate", folder)
    assert (done.returncode, "\\x1b[31mextra" in done.stderr) == (4, True)
    assert done.stderr.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["evaluate", "ru\x1b[31m"], "ru\\x1b[31m: no such run folder"),
        (["train", "--set", "\x1b[2J=1"], "--set \\x1b[2J=1: unknown key"),
        (["train", "--backend", "\x9b31m"], "unknown backend"),
        (["explain", "\u202esoftmax"], "\\u202esoftmax"),
    ],
)
def test_escape_codes_of_the_command_line_are_shown_as_text(
    cli: Cli, words: list[str], shown: str
) -> None:
    """The command may have been composed by a script, of names that others chose."""
    done = cli(*words)
    assert (done.returncode in (2, 4), shown in done.stderr) == (True, True)
    assert done.stderr.replace("\n", "").isprintable()


@pytest.mark.parametrize("words", [[], ["train", "--set"], ["explain"], ["evaluate"]])
def test_an_error_that_quotes_100_kilobytes_is_short(cli: Cli, words: list[str]) -> None:
    done = cli(*words, "x" * 100_000, "--json")
    assert len(done.stderr) < 1100
    assert "..." in done.stderr
    assert len(done.stdout) < 1300


def test_a_mirror_s_password_is_not_shown() -> None:
    secret = "http://me:secret@127.0.0.1:9/mnist"
    said: list[str] = []
    with pytest.raises(DataError) as caught, tempfile.TemporaryDirectory() as folder:
        download_mnist(Path(folder) / "got", mirror=secret, say=said.append)
    with pytest.raises(UsageError) as wrong:
        check_mirror("ftp://me:secret@host.example/mnist")
    for text in (str(caught.value), str(wrong.value), *said):
        assert "secret" not in text
    assert "127.0.0.1:9/mnist" in str(caught.value)


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
