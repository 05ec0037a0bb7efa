"""Send the values of each epoch to logs for TensorBoard and MLflow.

All backends use the same tags, so that a viewer shows their runs in the same plots. The libraries
that write logs import torch if it is installed. So each log has its own process
(`mnist_mlp.logs.child`), which receives one line per epoch. If a log fails, a message says so, and
the run goes on.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mnist_mlp.contract import EpochRecord, Plan
from mnist_mlp.errors import SetupError
from mnist_mlp.run.history import HistoryRow
from mnist_mlp.training import Observer
from mnist_mlp.worker.parent import Opened, Worker, isolated

PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}
"""Kinds of logs, and the package that writes each."""

PATIENCE_S = 60.0
"""How long to wait until a log accepts a line or is finished, in seconds. MLflow may have to reach
a slow server."""


def check_installed(kinds: Sequence[str]) -> None:
    """Raise `SetupError`, with the command to run, if the package of a log is missing."""
    for kind in kinds:
        if not find_spec(PACKAGES[kind]):
            raise SetupError(
                f"--log {kind} needs {PACKAGES[kind]}, not installed here: "
                f"run pip install 'mnist-mlp[{kind}]'"
            )


@contextmanager
def logged(kinds: Sequence[str], *, label: str) -> Iterator[Observer]:
    """An observer that writes logs of one run during the block.

    TensorBoard's events go to `tensorboard` in the run folder. MLflow's run goes to the place that
    `MLFLOW_TRACKING_URI` names.
    """
    with ExitStack() as stack:
        writers: list[_Writer] = []

        def opened(answer: Opened, plan: Plan, folder: Path) -> None:
            about = {
                "label": label,
                "device": answer.device,
                "spec": plan.spec.model_dump(mode="json"),
            }
            writers.extend(_Writer(kind, folder, about) for kind in kinds)
            for writer in writers:
                stack.callback(writer.close)

        def epoch(row: HistoryRow) -> None:
            for writer in writers:
                writer.send({"epoch": row.epoch, "scalars": scalars(row)})

        if kinds:
            yield Observer(opened=opened, epoch=epoch, whole=stack.close)
        else:
            yield Observer()


def scalars(row: HistoryRow) -> dict[str, float]:
    """The values of an epoch by tag."""
    return {
        "loss/training": row.loss,
        "loss/validation": row.val_loss,
        "accuracy/training": row.accuracy,
        "accuracy/validation": row.val_accuracy,
        "seconds/epoch": row.seconds,
    }


class _Writer:
    """The process of one log, as the parent sees it."""

    def __init__(self, kind: str, out: Path, about: dict[str, Any]) -> None:
        self.kind = kind
        self._late = ""
        self._process = subprocess.Popen(
            isolated("mnist_mlp.logs.child", kind, str(out)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C stops the parent only, which then closes the log
        )
        self.send(about)

    def send(self, message: dict[str, Any]) -> None:
        if self._late:
            return
        if not self._reads():
            self._late = f"it accepted nothing for {PATIENCE_S:.0f} s"
            self._process.kill()
            return
        with suppress(BrokenPipeError):  # the process has died, and `close` will report it
            print(json.dumps(message), file=self._process.stdin, flush=True)

    def _reads(self) -> bool:
        """Whether the pipe has room for a line, or gets it in time."""
        assert self._process.stdin is not None
        if not hasattr(select, "poll"):  # Windows cannot ask a pipe
            return True
        return bool(select.select((), (self._process.stdin,), (), PATIENCE_S)[1])

    def close(self) -> None:
        try:
            _, text = self._process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._late = f"it was not finished within {PATIENCE_S:.0f} s"
            self._process.kill()
            _, text = self._process.communicate()
        if self._process.returncode:
            last = self._late or (text.strip().splitlines() or ["no message"])[-1]
            print(
                f"the {self.kind} log is incomplete, the run itself is not affected: {last}",
                file=sys.stderr,
            )


def together(*observers: Observer) -> Observer:
    """One observer that passes everything on to several observers, in their order."""

    def starting(worker: Worker) -> None:
        for observer in observers:
            observer.starting(worker)

    def opened(answer: Opened, plan: Plan, folder: Path) -> None:
        for observer in observers:
            observer.opened(answer, plan, folder)

    def step(number: int) -> None:
        for observer in observers:
            observer.step(number)

    def epoch(row: HistoryRow) -> None:
        for observer in observers:
            observer.epoch(row)

    def fallback(reason: str) -> None:
        for observer in observers:
            observer.fallback(reason)

    def note(text: str) -> None:
        for observer in observers:
            observer.note(text)

    def reported(record: EpochRecord) -> None:
        for observer in observers:
            observer.reported(record)

    def whole() -> None:
        for observer in observers:
            observer.whole()

    return Observer(
        starting=starting,
        opened=opened,
        step=step,
        epoch=epoch,
        fallback=fallback,
        note=note,
        reported=reported,
        whole=whole,
    )
