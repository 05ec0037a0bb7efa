"""Several trainings at the same time: order, failures, and signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from typing import Any, cast

import pytest

from mnist_mlp import at_once
from mnist_mlp.at_once import how_many, train_at_once
from mnist_mlp.errors import BackendError, Stop
from mnist_mlp.run.folder import Run
from mnist_mlp.worker.parent import Worker

Started = Callable[[Worker], None]


class Ending:
    """Stands for a worker: a training waits for it until it is ended, and raises the reason."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.reason: BaseException | None = None

    def end(self, reason: BaseException) -> None:
        self.reason = reason
        self.ended.set()

    def training(self, started: Started) -> Run:
        started(cast(Any, self))
        assert self.ended.wait(20)
        assert self.reason is not None
        raise self.reason


def test_runs_come_in_the_order_of_their_trainings() -> None:
    both = threading.Barrier(2, timeout=20)  # broken if they do not run at the same time
    second_is_done = threading.Event()

    def first(_: Started) -> Run:
        both.wait()
        assert second_is_done.wait(20)
        return cast(Any, "first")

    def second(_: Started) -> Run:
        both.wait()
        second_is_done.set()
        return cast(Any, "second")

    assert train_at_once([first, second], most=2) == ["first", "second"]


def test_one_at_a_time_if_there_is_room_for_one() -> None:
    running: list[int] = []

    def job(_: Started) -> Run:
        running.append(1)
        assert len(running) == 1
        running.pop()
        return cast(Any, "done")

    assert train_at_once([job] * 3, most=1) == ["done"] * 3


def test_a_training_that_fails_ends_the_others_and_is_the_one_to_be_told() -> None:
    waiting, late = Ending(), Ending()

    def fails(_: Started) -> Run:
        raise BackendError("no such luck")

    with pytest.raises(BackendError, match="no such luck") as caught:
        train_at_once([waiting.training, fails, late.training], most=2)
    assert isinstance(waiting.reason, Stop)
    assert any("another training failed" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(("number", "code"), [(SIGINT, 130), (SIGTERM, 143)])
def test_a_signal_stops_all_and_each_is_marked(
    tmp_path: Path, idx_dir: Path, number: Signals, code: int
) -> None:
    words = "compare numpy numpy --set model.layer_sizes=[30,9,4] --epochs 2000 --out both"
    with subprocess.Popen(
        [sys.executable, "-m", "mnist_mlp", *words.split(), "--data-dir", str(idx_dir), "--json"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        missing = {"numpy: epoch 2/", "numpy-2: epoch 2/"}
        if how_many(accelerator="cpu", threads=1) == 1:
            missing = {"numpy: epoch 2/"}
        while missing:
            line = process.stderr.readline()
            assert line
            missing = {beginning for beginning in missing if not line.startswith(beginning)}
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, json.loads(stdout)["exit_code"]) == (code, code)
    assert "Traceback" not in stderr
    for folder in (tmp_path / "both").iterdir():
        run = Run(folder, complete=False)
        assert run.record.status == "interrupted"
        assert f"train --resume both/{folder.name}`" in stderr
        assert len(run.history) >= 2


def test_on_a_gpu_they_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(at_once, "missing_driver", lambda: None)
    assert how_many(accelerator="gpu", threads=1) == 1
    assert how_many(accelerator="auto", threads=1) == 1
    assert how_many(accelerator="cpu", threads=1) == 8
    assert how_many(accelerator="cpu", threads=3) == 2
    assert how_many(accelerator="cpu", threads=16) == 1
    monkeypatch.setattr(at_once, "missing_driver", lambda: "no driver")
    assert how_many(accelerator="auto", threads=2) == 4
