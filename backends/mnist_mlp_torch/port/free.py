"""Training of a user's model as its user would run it: nothing is set, and only numbers are noted.

What is noted is the mean loss of each epoch, and whatever else a module logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

from mnist_mlp.contract import Runtime
from mnist_mlp.errors import UsageError
from mnist_mlp.ports.pair_rows import PairRows, WholeRun
from mnist_mlp.ports.reported import by_kind
from mnist_mlp.ports.script import Catch, patched
from mnist_mlp.ports.tally import Tally
from mnist_mlp.ports.user_code import user_errors
from mnist_mlp.reference import Array
from mnist_mlp_torch.port.load import Given, make_trainer
from mnist_mlp_torch.port.loop import Loop
from mnist_mlp_torch.port.loop_made import Made, place_of
from mnist_mlp_torch.port.own_data import Loaders, loaders_of
from mnist_mlp_torch.port.pair_inputs import Fed
from mnist_mlp_torch.port.pair_reported import Reported

OnEpoch = Callable[[Mapping[str, float]], None]


class Teller:
    """Tells each epoch's numbers of a Lightning module: hooks of callbacks around the user's."""

    def __init__(self, module: Any, on_epoch: OnEpoch) -> None:
        self.on_epoch = on_epoch
        self.reported = Reported(module)
        self._rows = 1
        self._noted = False
        self._sums = [0.0, 0]
        self.first: Mapping[str, Callable[..., Any]] = {
            "on_train_epoch_start": lambda trainer, _: self._close(trainer),
            "on_train_batch_start": self._enter,
            "on_before_backward": self._loss,
            "on_validation_start": lambda *_: self.reported.batches_end(),
            "on_train_epoch_end": lambda *_: self.reported.batches_end(),
        }
        self.last: Mapping[str, Callable[..., Any]] = {
            "on_train_end": lambda trainer, _: self._close(trainer),
        }

    def _enter(self, trainer: Any, module: Any, batch: Any, *rest: Any) -> None:
        self.reported.step()
        self._rows, self._noted = _rows_of(batch) or 1, False

    def _loss(self, trainer: Any, module: Any, loss: Tensor) -> None:
        """The first backward pass of a batch; one of several batches begins with a share."""
        if self._noted:
            return
        self._noted = True
        value = float(loss.detach().sum()) * trainer.accumulate_grad_batches
        self._sums[0] += value * self._rows
        self._sums[1] += self._rows

    def _close(self, trainer: Any) -> None:
        """Before the next epoch, or at the end: the last one has logged what it had to."""
        before = len(self.reported.epochs)
        self.reported.close(trainer)
        if len(self.reported.epochs) == before:
            return
        numbers = by_kind(self.reported.epochs[-1], self.reported.meant)
        if self._sums[1]:
            own = {"loss": self._sums[0] / self._sums[1]}
            numbers = {**own, **numbers, **own}
        self._sums = [0.0, 0]
        self.on_epoch(numbers)


def _rows_of(batch: Any) -> int | None:
    """Rows of a batch, by the first tensor in it."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else None
    parts = batch.values() if isinstance(batch, Mapping) else batch
    found = map(_rows_of, parts) if isinstance(batch, Mapping | tuple | list) else iter(())
    return next((rows for rows in found if rows is not None), None)


def fit(given: Given, runtime: Runtime, run: WholeRun, on_epoch: OnEpoch) -> None:
    """The user's own `Trainer.fit`; with the run's rows where the user gave no data."""
    module = given.fresh(seed=0)
    teller = Teller(module, on_epoch)
    with user_errors(given.path):
        train, held_out = _loaders(given, run)
        trainer = make_trainer(
            given, module, runtime, epochs=run.epochs or 1, first=teller.first, last=teller.last
        )
        with teller.reported.listening():
            trainer.fit(module, train, held_out)


def _loaders(given: Given, run: WholeRun) -> Loaders:
    make = loaders_of(given)
    own = make() if make is not None else (None, None)
    if own[0] is not None:
        return own
    if run.rows is None:
        raise UsageError(f"{given.path}: it brings no data to train on")
    train = DataLoader(Fed(run.rows, _tensor), batch_size=run.rows.batch_size, shuffle=True)
    return train, own[1] or _in_order(run.held_out)


def _in_order(rows: PairRows | None) -> Any:
    return None if rows is None else DataLoader(Fed(rows, _tensor), batch_size=rows.batch_size)


def _tensor(rows: Array) -> Tensor:
    made = torch.from_numpy(np.ascontiguousarray(rows))
    return made.float() if made.is_floating_point() else made


class LoopTeller:
    """A user's own loop, which goes on to its end."""

    def __init__(self, loop: Loop, run: WholeRun, on_epoch: OnEpoch) -> None:
        self.loop = loop
        self.tally = Tally(run, on_epoch)
        self.made = Made()

    @contextmanager
    def going_on(self, catch: Catch) -> Iterator[None]:
        """While this lasts; the script's `catch` is for its end."""
        self.tally.begin(catch)
        with ExitStack() as stack:
            stack.enter_context(self.made.watching())
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_optimizer_step_post_hook(self._step),
            ):
                stack.callback(handle.remove)
            stack.enter_context(patched(Tensor, backward=self._backward(Tensor.backward)))
            yield

    def _enter(self, module: Any, args: Any) -> None:
        ours = self.made.modules[self.loop.module : self.loop.module + 1]
        trains = torch.is_grad_enabled() is not self.loop.quiet
        if trains and place_of(module, ours) is not None and args:
            self.tally.rows(getattr(args[0], "shape", ()))

    def _backward(self, own: Callable[..., None]) -> Callable[..., None]:
        def backward(loss: Tensor, *args: Any, **options: Any) -> None:
            self.tally.loss(float(loss.detach().sum()) * self.loop.accumulated)
            own(loss, *args, **options)
            if self.loop.accumulated > 1:
                self.tally.step()  # an epoch ends after its last batch, with or without an update

        return backward

    def _step(self, optimizer: Any, *_: Any) -> None:
        ours = self.made.optimizers[self.loop.optimizer : self.loop.optimizer + 1]
        if place_of(optimizer, ours) is not None and self.loop.accumulated == 1:
            self.tally.step()
