"""Runs that end early, and output folders that cannot be used: exit codes, status, files left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from mnist_mlp.errors import RunFolderError, SetupError
from mnist_mlp.run.files import write_atomically
from mnist_mlp.run.folder import Run

Cli = Callable[..., CompletedProcess[str]]

SMALL = ("--set", "model.layer_sizes=[30,9,4]", "--batch-size", "32", "--progress", "none")


def status_of(run: Path) -> str:
    return str(json.loads((run / "run.json").read_text())["status"])


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- Stopped from outside -------------------------------------------------------------------------


@contextmanager
def training(
    folder: Path, data: Path, *, backend: str = "SlowBackend", until: str = "run/history.csv"
) -> Iterator[subprocess.Popen[str]]:
    """A run of 15 s or more in `folder/run`, as a terminal starts it; when a file appears."""
    # Where the tests run as a shell's background job, Ctrl-C would be ignored by inheritance.
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mnist_mlp.cli import main\n"
        "main(sys.argv[1:])"
    )
    words = ["--backend", f"faulty_backends:{backend}", "--epochs", "60", "--json", *SMALL]
    command = [sys.executable, "-c", script, *words, "--data-dir", str(data), "--out", "run"]
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            end = time.monotonic() + 30
            while not (folder / until).exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < end
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "code", "kind"),
    [(signal.SIGINT, 130, "InterruptedRun"), (signal.SIGTERM, 143, "TerminatedRun")],
)
def test_a_signal_ends_a_run_at_once(
    tmp_path: Path, idx_dir: Path, number: signal.Signals, code: int, kind: str
) -> None:
    folder = tmp_path / "run"
    with training(tmp_path, idx_dir) as process:
        assert status_of(folder) == "running"
        answer = stopped(process, number)
    assert process.returncode == code
    assert (answer["exit_code"], answer["error"]["kind"]) == (code, kind)
    assert status_of(folder) == "interrupted"
    with pytest.raises(RunFolderError, match="marked 'interrupted'"):
        Run(folder)
    record = json.loads((folder / "run.json").read_text())
    assert record["error"] == answer["error"]["message"]
    assert len(Run(folder, complete=False).history) >= 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_framework_starts(
    tmp_path: Path, idx_dir: Path, number: signal.Signals, code: int
) -> None:
    """Which takes seconds, and no folder is begun then."""
    with training(tmp_path, idx_dir, backend="DeafBackend", until="deaf.pid") as process:
        answer = stopped(process, number)
    assert process.returncode == answer["exit_code"] == code
    assert [path.name for path in tmp_path.iterdir()] == ["deaf.pid"]


def stopped(process: subprocess.Popen[str], number: signal.Signals) -> Any:
    """What a run says when a signal ends it: within 2 s, and with its worker."""
    children = children_of(process.pid)
    assert children
    start = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as Ctrl-C does it, to the whole group
    else:
        process.send_signal(number)
    stdout, stderr = process.communicate(timeout=10)
    assert time.monotonic() - start < 2
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert "Traceback" not in stderr
    return json.loads(stdout)


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def test_a_killed_run_never_looks_finished(
    tmp_path: Path, idx_dir: Path, cli: Cli, no_figures: None
) -> None:
    folder = tmp_path / "run"
    with training(tmp_path, idx_dir) as process:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert status_of(folder) == "running"
    words = ("--backend", "numpy", "--epochs", 2, *SMALL, "--data-dir", idx_dir, "--out", folder)
    assert cli("evaluate", folder).returncode == 4
    refused = cli(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "already holds a run; add --overwrite" in refused.stderr
    (folder / "mine.txt").write_text("kept")
    assert cli(*words, "--overwrite").returncode == 0
    assert len(Run(folder).history) == 2
    assert (folder / "mine.txt").read_text() == "kept"


def test_a_run_that_fails_over_a_finished_one_lies_beside_it(
    tmp_path: Path, idx_dir: Path, cli: Cli, no_figures: None
) -> None:
    words = ("--epochs", 1, *SMALL, "--data-dir", idx_dir, "--out", tmp_path / "run")
    assert cli("--backend", "numpy", *words).returncode == 0
    assert status_of(tmp_path / "run") == "complete"
    broken = cli("--backend", "faulty_backends:RaisingBackend", *words, "--overwrite")
    assert broken.returncode == 3
    assert "no kernel for this device" in broken.stderr
    assert status_of(tmp_path / "run") == "complete"
    (beside,) = tmp_path.glob(".run.new-*")
    assert status_of(beside) == "failed"
    left = {path.name for path in beside.iterdir()}
    assert left == {"run.json", "initial_weights.safetensors", "order.npz"}


# --- Divergence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("--learning-rate", "1e30", "--epochs", "3"), r"at step \d \(epoch 1\), in the "),
        # One update: the loss before it and the weights after it are finite, the rest is not.
        (
            ("--learning-rate", "1e25", "--epochs", "1", "--batch-size", "250"),
            "first value that is not finite is in the logits of the test rows",
        ),
    ],
)
@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_a_diverged_run(
    tmp_path: Path, idx_dir: Path, cli: Cli, words: tuple[str, ...], place: str, activation: str
) -> None:
    folder = tmp_path / "run"
    activations = f'model.activations=["{activation}","softmax"]'
    words = ("--backend", "numpy", "--set", activations, *SMALL, *words)
    done = cli(*words, "--data-dir", idx_dir, "--out", folder, "--json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["error"]["kind"] == "DivergedError"
    assert "training diverged" in done.stderr
    assert "lower optimizer.learning_rate" in done.stderr
    assert re.search(place, done.stderr)
    assert status_of(folder) == "failed"
    assert not (folder / "report.txt").exists()


def test_a_loss_that_is_absurd_though_finite_is_told(
    tmp_path: Path, idx_dir: Path, cli: Cli, no_figures: None
) -> None:
    words = ("--backend", "numpy", *SMALL, "--epochs", "3", "--data-dir", idx_dir)
    relu = ("--set", 'model.activations=["relu","softmax"]')
    wild = cli(*words, *relu, "--learning-rate", "1e6", "--out", tmp_path / "wild")
    assert wild.returncode == 0
    assert re.search(
        r"^warning: the loss is .* after epoch 3 .*far above the 1.39 of a uniform guess: lower",
        wild.stderr,
        re.M,
    )
    tame = cli(*words, *relu, "--out", tmp_path / "tame")
    assert "warning" not in tame.stderr


# --- Output folders that cannot be used -----------------------------------------------------------


@pytest.fixture
def train(cli: Cli, idx_dir: Path, no_figures: None) -> Callable[[Path], CompletedProcess[str]]:
    def call(out: Path) -> CompletedProcess[str]:
        words = ("--backend", "numpy", "--epochs", 1, *SMALL, "--data-dir", idx_dir, "--json")
        done = cli(*words, "--out", out)
        assert "Traceback" not in done.stderr
        if done.returncode:
            assert json.loads(done.stdout)["exit_code"] == done.returncode
        return done

    return call


def test_a_folder_that_holds_something_else(tmp_path: Path, train: Any) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("mine")
    before = content_of(tmp_path)
    done = train(folder)
    assert done.returncode == 2
    assert "is not empty and holds no run" in done.stderr
    assert content_of(tmp_path) == before
    (folder / "chapter.tex").unlink()
    assert train(folder).returncode == 0


def test_a_file_in_the_folder_s_place(tmp_path: Path, train: Any) -> None:
    (tmp_path / "file").write_text("mine")
    before = content_of(tmp_path)
    done = train(tmp_path / "file")
    assert done.returncode == 2
    assert "is a file; name a folder" in done.stderr
    assert content_of(tmp_path) == before


def test_folders_that_cannot_be_made(tmp_path: Path, train: Any) -> None:
    """Ways that stop the administrator, too."""
    (tmp_path / "file").write_text("mine")
    before = content_of(tmp_path)
    for out in (
        tmp_path / "file" / "below" / "run",
        Path("/proc/nowhere/run"),
        tmp_path / ("n" * 300),
    ):
        done = train(out)
        assert done.returncode == 3, out
        assert str(out) in done.stderr
        assert "choose another" in done.stderr
        assert content_of(tmp_path) == before
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SetupError, match=r"run\.json: No space left on device"):
        write_atomically(path, b"new")
    assert content_of(tmp_path) == {path: b"old"}
