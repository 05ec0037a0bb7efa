"""Logs for viewers: the same tags and numbers from every backend, and a run that needs none."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnist_mlp.logs import parent
from mnist_mlp.logs.child import flat
from mnist_mlp.run.folder import Run

Cli = Callable[..., CompletedProcess[str]]

SMALL = (
    "--set", "model.layer_sizes=[30,9,4]", "--epochs", "2", "--batch-size", "32",
)  # fmt: skip


READ_EVENTS = """
import json, struct, sys
from pathlib import Path
from tensorboardX.proto.event_pb2 import Event

content, found = Path(sys.argv[1]).read_bytes(), {}
while content:  # records: length, crc, bytes, crc
    (length,) = struct.unpack("<Q", content[:8])
    event = Event.FromString(content[12 : 12 + length])
    content = content[16 + length :]
    for value in event.summary.value:
        if value.HasField("simple_value"):
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
print(json.dumps(found))
"""


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tags of an event file, each with its steps and values.

    Read in a process of its own: tensorboardX imports torch where there is one.
    """
    (file,) = (folder / "tensorboard").iterdir()
    command = [sys.executable, "-c", READ_EVENTS, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {tag: [(s, v) for s, v in points] for tag, points in json.loads(done.stdout).items()}


def test_every_backend_writes_the_same_tags(
    cli: Cli, idx_dir: Path, tmp_path: Path, no_figures: None
) -> None:
    done = cli(
        "compare", "numpy", "numpy", *SMALL, "--data-dir", idx_dir, "--out", "both",
        "--log", "tensorboard", "--static",
    )  # fmt: skip
    assert done.returncode in (0, 6), done.stderr
    first, second = (scalars(tmp_path / "both" / name) for name in ("numpy", "numpy-2"))
    assert first.keys() == second.keys()
    assert first["loss/training"] == second["loss/training"]
    history = Run(tmp_path / "both/numpy").history
    told = [(row.epoch, row.val_accuracy) for row in history]
    assert first["accuracy/validation"] == [(e, pytest.approx(v, rel=1e-6)) for e, v in told]
    assert len(told) == 2


def test_a_run_trained_anew_has_one_log(
    cli: Cli, idx_dir: Path, tmp_path: Path, no_figures: None
) -> None:
    words = ("--backend", "numpy", *SMALL, "--data-dir", idx_dir, "--out", "mine", "--overwrite")
    for _ in range(2):
        assert cli(*words, "--log", "tensorboard").returncode == 0
    assert len(scalars(tmp_path / "mine")["loss/training"]) == 2
    assert cli(*words).returncode == 0
    assert not (tmp_path / "mine/tensorboard").exists()


def test_a_log_that_fails_is_told_and_the_run_goes_on(
    cli: Cli,
    idx_dir: Path,
    tmp_path: Path,
    no_figures: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = tmp_path / "broken" / "tensorboardX"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('no space left')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    done = cli(
        "--backend", "numpy", *SMALL, "--data-dir", idx_dir, "--out", "mine",
        "--log", "tensorboard",
    )  # fmt: skip
    assert done.returncode == 0
    assert "the tensorboard log is incomplete, " in done.stderr
    assert ": RuntimeError: no space left" in done.stderr
    assert Run(tmp_path / "mine").record.status == "complete"


def test_a_log_that_is_stopped_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its pipe is full after some hundred epochs, and nobody reads."""
    monkeypatch.setattr(parent, "PATIENCE_S", 0.3)
    monkeypatch.setattr(
        parent, "isolated", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"]
    )
    writer = parent._Writer("tensorboard", tmp_path, {"label": "x"})
    start = time.monotonic()
    for epoch in range(1000):
        writer.send({"epoch": epoch, "scalars": {"loss": 0.5, "filler": "x" * 200}})
    writer.close()
    assert time.monotonic() - start < 5
    assert "log is incomplete, the run itself is not affected: it accepted nothing for 0 s" in (
        capsys.readouterr().err
    )


def test_a_missing_library_is_told_before_anything_starts(
    cli: Cli, idx_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parent.PACKAGES, "tensorboard", "no_such_library")
    done = cli("--backend", "numpy", "--data-dir", idx_dir, "--out", "x", "--log", "tensorboard")
    assert done.returncode == 3
    assert "run pip install 'mnist-mlp[tensorboard]'" in done.stderr
    assert not (tmp_path / "x").exists()


def test_parameters_are_leaves() -> None:
    assert flat({"a": {"b": 1, "c": [2, 3]}, "d": "x"}) == {"a.b": 1, "a.c": "[2, 3]", "d": "x"}
