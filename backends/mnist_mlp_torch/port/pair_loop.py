"""A user's own training loop in torch as one side of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader

from mnist_mlp.errors import UsageError, UserCodeError
from mnist_mlp.ports.lines import note
from mnist_mlp.ports.pair import PairJob
from mnist_mlp.reference import Array
from mnist_mlp_torch.port.load import seed_everything
from mnist_mlp_torch.port.loop import Drive, refusal
from mnist_mlp_torch.port.pair import PairRun, TorchSide
from mnist_mlp_torch.port.pair_inputs import Fed
from mnist_mlp_torch.port.pair_observer import default_type
from mnist_mlp_torch.port.pair_schedules import rates

CHANGED_MEANWHILE = "modified by an inplace operation"
"""What torch says where weights were used, as for a penalty, before those of the judged step were
set: they are set when the loop calls its model."""


class LoopSide(TorchSide):
    """The loop of a user's script."""

    def run_of(self, module: Any, job: PairJob) -> PairRun:
        """One run of the script, yet to be begun."""
        return _LoopRun(self, module, job)

    def remember(self, rows: Any, inputs: Sequence[Any]) -> None:
        """What the loop has called its module with, for rows that it was given."""
        self._rows, self._inputs = rows, inputs

    def module_input(self, rows: Any) -> Any:
        """As the loop does it, which may scale and reshape its batches.

        Raises
        ------
        UsageError
            The loop was not run on these rows.
        """
        if not np.array_equal(rows, self._rows) or not all(
            isinstance(x, Tensor) for x in self._inputs
        ):
            raise UsageError(f"{self.given.path}: what its loop makes of these rows is not known")
        return torch.cat(list(self._inputs))

    def rates(self, at: Sequence[int], *, interval: str | None = None) -> dict[str, Array]:
        """See `PairSide.rates`: one rate, unless own code changes it (`PairFacts.own_rates`)."""
        with default_type(self.dtype):
            run = _LoopRun(self, self._module(seed=0), PairJob(self.rows, 1))
            run.fit(one_batch=True)
        return rates(run.optimizer, (), at, self.length, interval)


@dataclass
class LoopTrainer:
    """What a loop has of a `Trainer`."""

    optimizers: list[Any]
    lr_scheduler_configs: tuple[Any, ...] = ()
    gradient_clip_val: float | None = None


@dataclass(frozen=True)
class LoopSchedule:
    """A scheduler of a loop; what it is given, only the loop knows."""

    scheduler: Any
    monitor: str = ""

    @property
    def reduce_on_plateau(self) -> bool:
        """Whether it follows a loss."""
        return isinstance(self.scheduler, ReduceLROnPlateau)


class _LoopRun(PairRun):
    """One run of a script, up to the last judged step of its loop."""

    side: LoopSide

    accumulated = 1

    by_hand = True

    @property
    def optimizer(self) -> Any:
        """The one that makes the judged updates."""
        return self._optimizers[0]

    def fit(self, *, one_batch: bool = False) -> None:
        """Run it.

        Raises
        ------
        UserCodeError
            The user's code raised.
        """
        rows, loop = self.job.rows, self.side.given.loop
        if loop is not None and loop.loader is None and not isinstance(rows.y, np.ndarray):
            reason = "it makes its batches itself, and the data have several targets"
            raise UsageError(refusal(self.side.given.path, reason))
        loader = DataLoader(Fed(rows, self.side.tensor), batch_size=rows.batch_size, shuffle=False)
        epoch = [tuple(batch) for batch in loader]
        epochs = [epoch[:1]] if one_batch else [epoch] * self.job.epochs
        if self._drive(epochs) < sum(map(len, epochs)):
            # Its own epochs are fewer: all batches in one.
            self.steps.clear()
            self._drive([[batch for each in epochs for batch in each]])

    def _drive(self, epochs: Sequence[Sequence[tuple[Any, ...]]]) -> int:
        script, loop = self.side.given.script, self.side.given.loop
        assert script is not None
        assert loop is not None
        drive = Drive(
            loop,
            epochs,
            on_step=lambda module, optimizers: self._step(module, optimizers, drive),
            on_gradients=self._gradients,
            on_end=self._end,
        )
        hooks = (
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        )
        seed_everything(0)
        try:
            script.run(drive.watching)
        except UserCodeError as error:
            if CHANGED_MEANWHILE not in str(error):
                raise
            raise UsageError(
                refusal(
                    self.side.given.path, "it uses the model's weights before it calls the model"
                )
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
            if self._open is not None:
                self._open.close()
        self.schedulers = list(map(LoopSchedule, drive.made.schedulers))
        self.side.remember(self.job.rows.x, drive.inputs[: self.job.rows.steps])
        return drive.steps

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        if any(optimizer is known for known in self._optimizers):
            note("step")
            self._experiment.set_arguments(optimizer)

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        if any(optimizer is known for known in self._optimizers):
            self._note_settings()

    def _step(self, module: Any, optimizers: list[Any], drive: Drive) -> None:
        if drive.steps == 1:
            self.module = module
            self._unfreeze(module)
            self._take_charge(module, LoopTrainer(optimizers))
        for mend in self.job.loop_mends:
            if mend.field == "training_mode":
                module.train()
            else:
                for parameter in module.parameters():
                    parameter.grad = None
        self._enter(None, module)
        if drive.targets is not None:
            assert self._open is not None
            self._open.enter_context(drive.targets)

    def _end(self) -> None:
        if self._open is None:
            return
        self._leave(None, self.module)
        self._close()
        self._open = None
