"""Bad input: one or two lines that say what is wrong, the right exit code, nothing left behind."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Cli = Callable[..., CompletedProcess[str]]

NUMPY = ("--backend", "numpy", "--progress", "none")
SMALL = (*NUMPY, "--set", "model.layer_sizes=[30,9,4]")


def assert_refused(done: CompletedProcess[str], *, code: int, kind: str, words: list[str]) -> None:
    """The code, the words on stderr in two lines at most, and the same as one JSON document."""
    assert done.returncode == code, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert (answer["exit_code"], answer["error"]["kind"]) == (code, kind)
    lines = [
        line
        for line in done.stderr.splitlines()
        if "other data than MNIST, used" not in line and not line.endswith(": starting")
    ]
    assert lines[0].startswith("error: ")
    assert len(lines) <= 2
    assert "\n".join(lines) == f"error: {answer['error']['message']}"
    for word in words:
        assert word in done.stderr


# --- Words, keys and values -----------------------------------------------------------------------

WORDS: dict[str, tuple[list[str], list[str]]] = {
    "unknown command": (["trian"], ["No such command 'trian'", "--help"]),
    "unknown option": (["--epoch", "3"], ["No such option: --epoch", "--epochs"]),
    "an option's type": (["--epochs", "many"], ["--epochs", "integer"]),
    "an option's choice": (["--accelerator", "tpu"], ["--accelerator", "cpu"]),
    "an option's range": (["--threads", "0"], ["--threads"]),
    "no value": (["--epochs"], ["--epochs"]),
    "one side": (["compare", "numpy"], ["at least two sides"]),
    "no side": (["compare"], ["A B"]),
    "no run": (["evaluate"], ["Missing argument"]),
    "unknown key": (["--set", "training.epoch=3"], ["did you mean 'training.epochs'?"]),
    "wrong type": (["--set", "training.epochs=two"], ["training.epochs = 'two'", "integer"]),
    "wrong value": (["--learning-rate", "nan"], ["learning_rate = nan", "--learning-rate"]),
    "bad together": (["--set", "optimizer.nesterov=true"], ["nesterov needs momentum"]),
    "no file": (["--config", "none.toml"], ["none.toml: no such configuration file"]),
    "a long file name": (["bench", "show", "n" * 5000], ["nnn...: File name too long"]),
    "a pipe": (["--config", "/dev/zero"], ["/dev/zero: is no regular file"]),
    "a device as a model": (["check", "/dev/zero:Port"], ["/dev/zero: is no regular file"]),
    "thousands of digits": (["--set", f"seed=0x{'f' * 5000}"], ["seed = a number of thousands"]),
    "two lines": (["--set", "seed=1\nname='x'"], ["is not a TOML value"]),
    "too many": (["--set", "training.epochs=1e10"], ["training.epochs"]),
    "too many layers": (["--set", f"model.layer_sizes={[9] * 1002}"], ["at most 1001 items"]),
    "unknown backend": (["--backend", "kears"], ["'kears'; did you mean 'keras'?"]),
    "unknown side": (["compare", "numpy", "toch"], ["'toch'; did you mean 'torch'?"]),
    "unknown module": (
        ["--backend", "no_module:Class", "--dataset", "digits"],
        ["no module named 'no_module'"],
    ),
    "unknown source": (["--source", "ftp", "--dataset", "mnist"], ["ftp", "torchvision"]),
}


@pytest.mark.parametrize("case", WORDS)
def test_usage(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.delenv("MNIST_MLP_DATA", raising=False)
    if case == "unknown module":
        monkeypatch.setattr("mnist_mlp.data.load_dataset", made_up_digits)
    given, words = WORDS[case]
    done = cli(*given, "--json")
    about_the_spec = {"--set", "--learning-rate", "--config"} & set(given)
    kind = "SpecError" if about_the_spec else "UsageError"
    assert_refused(done, code=2, kind=kind, words=words)
    assert not list(tmp_path.iterdir())


def made_up_digits(*_: object, **__: object) -> Any:
    import numpy as np

    from mnist_mlp.data.dataset import Dataset

    return Dataset("digits", "", np.zeros((9, 28, 28), np.uint8), np.zeros(9, np.uint8), 10)


def test_an_unknown_variable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_MLP_EPOCH", "3")
    words = ["MNIST_MLP_EPOCH", "did you mean 'MNIST_MLP_EPOCHS'?"]
    assert_refused(cli("--json"), code=2, kind="SpecError", words=words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("model.layer_sizes=[108,9,4]", ["begins with 108", "30 pixels (6 x 5)"]),
        ("model.layer_sizes=[30,9,3]", ["ends with 3", "4 classes"]),
        ("data.rows=251", ["data.rows is 251", "250 rows"]),
    ],
)
def test_sizes_that_do_not_fit(
    cli: Cli, tmp_path: Path, idx_dir: Path, given: str, words: list[str]
) -> None:
    done = cli(*SMALL, "--set", given, "--data-dir", idx_dir, "--out", "run", "--json")
    assert_refused(done, code=2, kind="UsageError", words=words)
    assert not list(tmp_path.iterdir())


# --- Backends and devices -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected", "words"),
    [
        (
            ["--backend", "faulty_backends:MissingBackend"],
            (3, "MissingPackagesError"),
            ["no_such_framework and nor_this_one", "run pip install no-such-framework"],
        ),
        (["--accelerator", "gpu"], (3, "SetupError"), ["--accelerator gpu", "numpy"]),
        (
            ["--backend", "stranger", "--set", "optimizer.momentum=0.9"],
            (2, "UsageError"),
            ["stranger", "does not support: momentum"],
        ),
    ],
)
def test_what_a_backend_cannot_do(
    cli: Cli, idx_dir: Path, given: list[str], expected: Any, words: Any
) -> None:
    done = cli(*SMALL, *given, "--data-dir", idx_dir, "--out", "run", "--json")
    code, kind = expected
    assert_refused(done, code=code, kind=kind, words=words)
    assert not list(Path().iterdir())


def test_a_worker_that_dies(cli: Cli, tmp_path: Path, idx_dir: Path) -> None:
    words = ("--backend", "faulty_backends:KilledBackend", "--data-dir", idx_dir, "--json")
    done = cli(*SMALL, *words, "--out", "run")
    told = ["killedbackend", "died in 'fit'", "SIGKILL"]
    assert_refused(done, code=3, kind="BackendError", words=told)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "failed"
    assert "SIGKILL" in record["error"]


def test_a_worker_that_raises_shows_where(cli: Cli, idx_dir: Path) -> None:
    """Not the user's mistake, so the backend's own traceback follows, on stderr."""
    words = ("--backend", "faulty_backends:RaisingBackend", "--data-dir", idx_dir, "--json")
    done = cli(*SMALL, *words, "--out", "run")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["kind"] == "BackendError"
    assert "\nerror: backend 'raisingbackend' failed: LookupError: no kernel" in done.stderr
    assert "faulty_backends.py" in done.stderr


# --- Data -----------------------------------------------------------------------------------------


def damaged(folder: Path, damage: str) -> Path:
    """Break one of the four files; the path of it."""
    path = folder / "t10k-images-idx3-ubyte"
    content = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(content[:-1])
        case "truncated gzip":
            path.write_bytes(gzip.compress(content)[:-9])
        case "wrong magic":
            path.write_bytes(b"\x00\x00\x0d" + content[3:])
        case "wrong count":
            path.write_bytes(content[:4] + (49).to_bytes(4, "big") + content[8:-30])
    return path


@pytest.mark.parametrize(
    "damage", ["missing", "truncated", "truncated gzip", "wrong magic", "wrong count"]
)
@pytest.mark.parametrize("command", ["train", "data"])
def test_damaged_files(cli: Cli, tmp_path: Path, idx_dir: Path, command: str, damage: str) -> None:
    folder = tmp_path / "data"
    shutil.copytree(idx_dir, folder)
    path = damaged(folder, damage)
    words = SMALL if command == "train" else ()
    done = cli(command, *words, "--data-dir", folder, "--json")
    assert_refused(done, code=4, kind="DataError", words=["t10k-", str(path.parent)])
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def test_other_data_than_the_mnist_that_was_asked_for(
    cli: Cli, tmp_path: Path, idx_dir: Path
) -> None:
    done = cli(*NUMPY, "--dataset", "mnist", "--data-dir", idx_dir, "--json")
    words = ["other data than MNIST", "digest", "--dataset auto"]
    assert_refused(done, code=4, kind="DataError", words=words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_folders_that_are_no_run(cli: Cli, tmp_path: Path, command: str) -> None:
    (tmp_path / "empty").mkdir()
    for folder, words in (
        ("./empty", ["run.json", "not a run folder"]),
        ("./none", ["no such run"]),
    ):
        sides = ["numpy", folder] if command == "compare" else [folder]
        done = cli(command, *sides, "--json")
        assert_refused(done, code=4, kind="RunFolderError", words=[folder[2:], *words])
    assert [entry.name for entry in tmp_path.iterdir()] == ["empty"]


# --- Output ---------------------------------------------------------------------------------------


def test_a_reader_that_leaves_is_not_a_difference(idx_dir: Path) -> None:
    """Exit code 1 would say that two runs differ."""
    command = [sys.executable, "-m", "mnist_mlp", "data", "--data-dir", str(idx_dir)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 141, "128 + SIGPIPE, as a shell says it of other programs"
    assert "error" not in done.stderr
