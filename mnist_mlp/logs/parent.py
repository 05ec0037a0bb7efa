"""Logs for other programs' viewers: the same tags from every backend, so that runs overlie.

The libraries that write them import torch where they find it, so each works in a process of its
own (`mnist_mlp.logs.child`), which is sent one line an epoch. A log is no part of the run: when it
fails, that is said, and the run goes on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mnist_mlp.contract import Plan
from mnist_mlp.errors import SetupError
from mnist_mlp.run.folder import HistoryRow
from mnist_mlp.training import Observer
from mnist_mlp.worker.parent import Opened

PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}
"""Kinds of logs, and what writes them."""

PATIENCE_S = 60.0


def check_installed(kinds: Sequence[str]) -> None:
    """`SetupError` with the command to run where a library is missing."""
    for kind in kinds:
        if not find_spec(PACKAGES[kind]):
            raise SetupError(
                f"--log {kind} needs {PACKAGES[kind]}, not installed here: "
                f"run pip install 'mnist-mlp[{kind}]'"
            )


@contextmanager
def logged(kinds: Sequence[str], *, out: Path, label: str) -> Iterator[Observer]:
    """An observer that writes logs of one run while the block lasts.

    TensorBoard's events go to `out`/tensorboard; MLflow's run to where `MLFLOW_TRACKING_URI` says.
    """
    with ExitStack() as stack:
        writers: list[_Writer] = []

        def opened(answer: Opened, plan: Plan) -> None:
            # Not before: the folder is emptied of an earlier run only now.
            about = {
                "label": label,
                "device": answer.device,
                "spec": plan.spec.model_dump(mode="json"),
            }
            writers.extend(_Writer(kind, out, about) for kind in kinds)
            for writer in writers:
                stack.callback(writer.close)

        def epoch(row: HistoryRow) -> None:
            for writer in writers:
                writer.send({"epoch": row.epoch, "scalars": scalars(row)})

        yield Observer(opened=opened, epoch=epoch) if kinds else Observer()


def scalars(row: HistoryRow) -> dict[str, float]:
    """An epoch's numbers by tag."""
    return {
        "loss/training": row.loss,
        "loss/validation": row.val_loss,
        "accuracy/training": row.accuracy,
        "accuracy/validation": row.val_accuracy,
        "seconds/epoch": row.seconds,
    }


class _Writer:
    """One log's process, seen from here."""

    def __init__(self, kind: str, out: Path, about: dict[str, Any]) -> None:
        self.kind = kind
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mnist_mlp.logs.child", kind, str(out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the parent alone; the log is still closed
        )
        self.send(about)

    def send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: `close` tells
            print(json.dumps(message), file=self._process.stdin, flush=True)

    def close(self) -> None:
        try:
            _, told = self._process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, told = self._process.communicate()
        if self._process.returncode:
            last = (told.strip().splitlines() or ["no message"])[-1]
            print(f"the {self.kind} log is not complete: {last}", file=sys.stderr)


def together(*observers: Observer) -> Observer:
    """Everything told to several observers."""

    def opened(answer: Opened, plan: Plan) -> None:
        for observer in observers:
            observer.opened(answer, plan)

    def step(number: int) -> None:
        for observer in observers:
            observer.step(number)

    def epoch(row: HistoryRow) -> None:
        for observer in observers:
            observer.epoch(row)

    def fallback(reason: str) -> None:
        for observer in observers:
            observer.fallback(reason)

    return Observer(opened=opened, step=step, epoch=epoch, fallback=fallback)
