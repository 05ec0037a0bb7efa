"""Train on several devices with Lightning's DDP, in one process for each: a *rank*.

Every rank has a copy of the network and computes its share of each batch (`contract.share`).
torch's `DistributedDataParallel` then averages the gradients over the ranks, and each rank makes
the same update. That average is not the mean over the batch if the shares are unequal. So each rank
takes the *sum* of its rows' losses, times the number of ranks, divided by the rows of the whole
batch.

Lightning starts the ranks of this machine itself (its launcher `spawn`), unless torchrun or SLURM
has started them. The worker waits meanwhile, and hands on to its parent what rank 0 reports.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from signal import SIGKILL
from tempfile import TemporaryDirectory
from threading import Thread
from time import monotonic
from typing import Any

import lightning as L  # noqa: N812
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from torch.nn import functional

from mnist_mlp.contract import EpochRecord, Fallback, Plan, Progress, Runtime, State, TrainingData
from mnist_mlp.errors import BackendError
from mnist_mlp_torch.data import PlannedData
from mnist_mlp_torch.fit import Reports, epochs_done, make_trainer
from mnist_mlp_torch.module import Perceptron
from mnist_mlp_torch.numerics import set_numerics

_PAUSE_S = 0.1
"""Seconds between two reports of a step: sending one takes longer than a small step."""


class SharedPerceptron(Perceptron):
    """A `Perceptron` that computes its share of each batch. A share may be empty."""

    def __init__(self, plan: Plan, runtime: Runtime) -> None:
        super().__init__(plan.spec)
        self.plan = plan
        self.runtime = runtime

    def setup(self, stage: str) -> None:
        """Set threads and precision, and take counters of its own, now in the rank's process."""
        del stage
        set_numerics(self.runtime.threads)
        # A tensor that is sent to a spawned process stays in memory that all of them share.
        # Lightning copies parameters, but not the states of metrics: all ranks would count in the
        # same ones.
        for metric in self.metrics:
            metric.reset()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """The loss whose gradient, averaged over the ranks, is that of the batch's mean loss."""
        x, y = batch
        logits = self(x)
        total = functional.cross_entropy(logits, y, reduction="sum")
        if len(y):
            self.train_loss.update(total.detach() / len(y), rows=len(y))
            self.train_accuracy.update(logits.detach(), y)
        return total * self.trainer.world_size / self.plan.rows_of_batch(batch_index)

    def count_validated(self, logits: Tensor, y: Tensor) -> None:
        """Add logits (n, classes) and labels (n,) of test rows to the validation metrics."""
        if len(y):
            super().count_validated(logits, y)


def fit_on_devices(
    plan: Plan,
    data: TrainingData,
    *,
    progress: Progress,
    runtime: Runtime,
    start: State | None = None,
) -> Mapping[str, Any]:
    """Train from `start`, or from the initial weights; returns facts about how it ran.

    Raises
    ------
    BackendError
        A rank failed or died. All others are ended.
    """
    module = SharedPerceptron(plan, runtime)
    module.begin(start or State(0, plan.initial_weights))
    planned = PlannedData(plan, data, done=epochs_done(module, plan))
    launcher = _launcher()
    if launcher != "lightning":
        reports = RankReports(progress)
        trainer = _trainer(plan, planned, reports, runtime, start_method="popen")
        trainer.fit(module, datamodule=planned)
        return {**reports.facts(trainer), "launcher": launcher}
    with _own_environment(), _answered(progress) as relay:
        reports = RankReports(
            Progress(epoch=relay.epoch, step=relay.step, fallback=relay.fallback), relay
        )
        trainer = _trainer(plan, planned, reports, runtime, start_method="spawn")
        try:
            trainer.fit(module, datamodule=planned)
        except (ProcessExitedException, ProcessRaisedException) as error:
            raise BackendError(_how_it_ended(error, ranks=runtime.devices.ranks)) from None
    return {**relay.ran, "launcher": launcher}


def _launcher() -> str:
    """Who starts the ranks. torchrun goes first, since it can be used within a job of SLURM."""
    if TorchElasticEnvironment.detect():
        return "torchrun"
    return "slurm" if SLURMEnvironment.detect() else "lightning"


def _trainer(
    plan: Plan, planned: PlannedData, reports: Reports, runtime: Runtime, *, start_method: Any
) -> L.Trainer:
    return make_trainer(
        plan,
        reports,
        runtime,
        done=planned.done,
        strategy=DDPStrategy(start_method=start_method),
        use_distributed_sampler=False,  # the plan hands out the shares; Lightning's repeats rows
    )


class RankReports(Reports):
    """`Reports`, with the facts of the run sent to the worker at the end of training."""

    def __init__(self, progress: Progress, relay: Relay | None = None) -> None:
        super().__init__(progress)
        self.relay = relay

    def facts(self, trainer: L.Trainer) -> dict[str, Any]:
        """How the run was made: counted here, asked of torch."""
        return {
            "steps_per_call": round(trainer.global_step / self.calls, 2),
            "ranks": torch.distributed.get_world_size(),
            "process_group": torch.distributed.get_backend(),
        }

    def on_train_end(self, trainer: L.Trainer, pl_module: Perceptron) -> None:
        """Tell the worker, which has another copy of the trainer, how the run was made."""
        del pl_module
        if self.relay is not None and trainer.is_global_zero:
            self.relay.end(self.facts(trainer))


class Relay:
    """What rank 0 reports, sent to the worker by a pipe.

    Attributes
    ----------
    ran : dict
        In the worker: the facts of the run, once it has ended.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ran: dict[str, Any] = {}
        self._last = 0.0

    def epoch(self, record: EpochRecord) -> bool:
        """Report an epoch; returns whether training has to stop after it."""
        self.connection.send(record)
        stop: bool = self.connection.recv()
        return stop

    def step(self, step: int) -> None:
        """Report a step, now and then."""
        if monotonic() - self._last > _PAUSE_S:
            self._last = monotonic()
            self.connection.send(step)

    def fallback(self, fallback: Fallback) -> None:
        """Report that training goes on without the fast path."""
        self.connection.send(fallback)

    def end(self, facts: dict[str, Any]) -> None:
        """Report how the run was made."""
        self.connection.send(facts)


@contextmanager
def _answered(progress: Progress) -> Iterator[Relay]:
    """A relay whose reports are handed on to `progress`, by a thread of this process."""
    ours, theirs = Pipe()
    relay = Relay(theirs)

    def answer() -> None:
        while True:
            try:
                content = ours.recv()
            except EOFError:
                return
            if isinstance(content, EpochRecord):
                ours.send(bool(progress.epoch(content)))
            elif isinstance(content, Fallback):
                progress.fallback(content)
            elif isinstance(content, dict):
                relay.ran = content
            else:
                progress.step(content)

    thread = Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        theirs.close()  # the ranks have ended, so this was the last copy: the thread ends too
        thread.join()
        ours.close()


@contextmanager
def _own_environment() -> Iterator[None]:
    """Undo what Lightning sets for its ranks, such as the port at which they met.

    The ranks' temporary files are removed: Lightning leaves an empty folder for each run.
    """
    before = dict(os.environ)
    with TemporaryDirectory(prefix="mnist_mlp-ranks-") as folder:
        os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _how_it_ended(error: ProcessExitedException | ProcessRaisedException, *, ranks: int) -> str:
    rank = f"rank {error.error_index} of {ranks} (process {error.error_pid})"
    if isinstance(error, ProcessRaisedException):
        last = str(error).strip().splitlines()[-1]
        return f"{rank} failed, and all ranks were ended: {last}"
    how = f"exit code {error.exit_code}"
    if error.exit_code < 0:
        how = f"killed by {error.signal_name}"
        if error.exit_code == -SIGKILL:
            how += ", as happens when memory runs out"
    return f"{rank} died ({how}), and all ranks were ended"
