"""One `Trainer.fit` of a module as a side of a pair, with every step recorded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader

from mnist_mlp.contract import Runtime
from mnist_mlp.errors import UsageError
from mnist_mlp.ports.clipping import if_other
from mnist_mlp.ports.inputs import arrays_of
from mnist_mlp.ports.lines import note
from mnist_mlp.ports.loop_code import writes_rates
from mnist_mlp.ports.pair import PairJob, PairStep, changed_since
from mnist_mlp.ports.pair_rows import PairRows, RunLength
from mnist_mlp.ports.parts import draws_of, joined, joined_draws, joined_result
from mnist_mlp.ports.recurrent import KINDS as RECURRENT
from mnist_mlp.ports.update_rules import Settings
from mnist_mlp.ports.user_code import user_errors
from mnist_mlp.reference import Array, Tensors
from mnist_mlp_torch.port.load import (
    Given,
    make_trainer,
)
from mnist_mlp_torch.port.pair_draws import Draws
from mnist_mlp_torch.port.pair_inputs import Fed
from mnist_mlp_torch.port.pair_observer import Observer, copied
from mnist_mlp_torch.port.pair_optimizers import Experiment, by_tensor, clipping_of
from mnist_mlp_torch.port.pair_reported import Reported
from mnist_mlp_torch.port.pair_schedules import (
    SETTLED,
    rates,
)
from mnist_mlp_torch.port.plain import Plain


class RunSide(Protocol):
    """What a run needs of the side that it is of."""

    given: Given
    runtime: Runtime
    observer: Observer | None
    dtype: torch.dtype
    length: RunLength
    validation_weighted: bool

    def in_form(self, rows: PairRows) -> PairRows:
        """Rows in the form that the module's step takes."""
        ...

    def tensor(self, rows: Array) -> Tensor:
        """Rows as the module is fed with them."""
        ...


_WHOLE: dict[str, Any] = {
    "limit_train_batches": 1.0,
    "max_steps": -1,
    "overfit_batches": 0.0,
    "val_check_interval": 1.0,
}
"""Arguments of a trainer that would cut these short epochs short; they are judged with the data."""


class PairRun:
    """One `Trainer.fit` of a module, with every step recorded.

    A step is an update. It may have several `parts`, batches whose gradients are accumulated.
    """

    rest: tuple[str, tuple[float, ...]] = ("update", ())
    """What becomes of batches at an epoch's end that are too few for an update: its own rule."""

    def __init__(self, side: RunSide, module: Any, job: PairJob) -> None:
        self.side, self.module = side, module
        self.job = replace(job, rows=side.in_form(job.rows))
        if isinstance(module, Plain) and self.job.rows.flat:
            module.inputs = len(arrays_of(self.job.rows.x))
        self.steps: list[PairStep] = []
        self.schedulers: list[Any] = []
        self.asks_length = False
        self.observer = Observer(module)
        self.reported = Reported(module)
        self.parts = accumulated_of(side.given)
        self._part = 0
        """Which of them has begun, from 1."""
        self._earlier: list[Observer] = []
        """Those of the same step before it."""
        self._open: ExitStack | None = None
        self._taken: Tensors | None = None
        self._closing: dict[str, Any] | None = None
        self._unfreeze(module)
        self._settings: dict[str, Settings] = {}
        self._applied: Tensors = {}
        self._moved: Tensors = {}
        self._optimizers: list[Any] = []

    def _unfreeze(self, module: Any) -> None:
        for mend in self.job.mends:
            if mend.field in ("trained", "frozen") and self.side.observer is not None:
                self.side.observer.train(module, mend)

    def fit(self, *, one_batch: bool = False) -> None:
        """Run it.

        Raises
        ------
        UserCodeError
            The user's code raised.
        """
        # In float32 the user's own precision stays: that is what tells 16-bit arithmetic.
        double = {"precision": "64-true"} if self.side.dtype is torch.float64 else {}
        trainer = make_trainer(
            self.side.given,
            self.module,
            self.side.runtime,
            epochs=self.job.epochs,
            first={
                "on_train_start": self._start,
                "on_train_epoch_start": lambda trainer, _: self.reported.close(trainer),
                "on_train_batch_start": self._enter,
                "on_validation_start": self._validate,
                "on_train_epoch_end": lambda *_: self.reported.batches_end(),
                "on_after_backward": lambda *_: self._after_backward(),
            },
            last={
                "on_train_batch_end": self._leave,
                "on_validation_end": self._validated,
                "on_train_epoch_end": self._stop,
                "on_train_end": self._finish,
            },
            one_batch=one_batch,
            without=SETTLED,
            **_WHOLE,
            **double,
            # A schedule may ask how long the run is. This one is stopped after the job's epochs.
            max_epochs=max(self.side.length.epochs, self.job.epochs),
        )
        self._pretend(trainer)
        rows = self.job.rows
        loader = DataLoader(Fed(rows, self.side.tensor), batch_sampler=rows.batches(self.parts))
        held_out = loader
        if rows.weights is not None and not self.side.validation_weighted:
            plain = Fed(replace(rows, weights=None), self.side.tensor)
            held_out = DataLoader(plain, batch_sampler=rows.batches(self.parts))
        hooks = (
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(lambda *_: self._after_update()),
        )
        try:
            with user_errors(self.side.given.path), self.reported.listening():
                trainer.fit(self.module, loader, held_out)
        finally:
            for hook in hooks:
                hook.remove()
            if self._open is not None:
                self._open.close()

    def _pretend(self, trainer: Any) -> None:
        """Let a trainer say how many updates the run that is meant has."""
        length = self.side.length

        def total(trainer: Any) -> int:
            self.asks_length = length.guessed
            return length.steps * int(trainer.max_epochs)

        own = {"estimated_stepping_batches": property(total)}
        trainer.__class__ = type("Trainer", (type(trainer),), own)

    def _validate(self, trainer: Any, module: Any) -> None:
        self.reported.batches_end()
        known = self.side.observer
        if known is not None:
            self._trained = known.read(module)
            known.write(module, self.job.validated_with(trainer.current_epoch))

    def _validated(self, trainer: Any, module: Any) -> None:
        if self.side.observer is not None:
            self.side.observer.write(module, self._trained)

    def _finish(self, trainer: Any, module: Any) -> None:
        self.reported.close(trainer)
        self._close()

    def _stop(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch + 1 >= self.job.epochs:
            trainer.should_stop = True

    @property
    def made_by(self) -> list[Any]:
        """The optimizers that make the updates."""
        return self._optimizers

    @property
    def schedules(self) -> list[Any]:
        """Those that Lightning asks, and not the user's own code."""
        return [] if self.by_hand else [c for c in self.schedulers if not c.reduce_on_plateau]

    @property
    def asked_by_own_code(self) -> list[Any]:
        """The others: nobody knows when they are asked, so that they are not run alone."""
        return self.schedulers if self.by_hand else []

    @property
    def by_hand(self) -> bool:
        """Whether the user's own code makes the updates."""
        return not self.module.automatic_optimization

    @property
    def writes_rates(self) -> bool:
        """Whether a script sets rates itself."""
        return self.side.given.loop is not None and writes_rates(self.side.given.script_text)

    def _start(self, trainer: Any, module: Any) -> None:
        self.schedulers = list(trainer.lr_scheduler_configs)
        # What follows the loss is judged by its settings: two epochs would not show it.
        trainer.strategy.lr_scheduler_configs = [
            config for config in self.schedulers if not config.reduce_on_plateau
        ]
        self._take_charge(module, trainer)

    def _take_charge(self, module: Any, trainer: Any) -> None:
        """Begin an experiment on the optimizers of a trainer, or of what stands for one."""
        known = self.side.observer
        self._names = known.names(module) if known is not None else {}
        self._clipping = clipping_of(trainer)
        self._optimizers = list(trainer.optimizers)
        self._experiment = Experiment(self.job.optimizer_mends, self._names)
        self._experiment.start(trainer, self._by_rule, self._note_moved)

    def _enter(self, trainer: Any, module: Any, *rest: Any) -> None:
        self.reported.step()
        if trainer is not None and trainer.accumulate_grad_batches != self.parts:
            self._refuse_parts()
        if 0 < self._part < self.parts:
            self._part += 1
            self._earlier.append(self.observer)
        else:
            self._begin(module)
        known, forced = self.side.observer, self._forced
        self.observer = Observer(module, known, self.job.mends, share=1 / self.parts)
        if any(mend.field == "term" for mend in self.job.mends):
            self.observer.losses.targets = list(map(self.side.tensor, self._targets()))
        draws, unseen = draws_of(forced.draws, self._part - 1, self.parts, self._rows)
        self._draws = self.observer.draws = Draws(draws)
        self._unseen += unseen
        self._open = ExitStack()
        self._open.enter_context(self._draws)
        self._open.enter_context(self.observer.watching())

    def _begin(self, module: Any) -> None:
        """Begin a step with the first of its parts."""
        self._close()
        self._part, self._earlier = 1, []
        known = self.side.observer
        forced = self.job.forced_at(len(self.steps))
        if known is not None:
            known.write(module, forced.weights)
        self._experiment.step = len(self.steps)
        self._settings, self._applied, self._moved = {}, {}, {}
        self._unseen: tuple[str, ...] = ()
        self._forced = forced
        self._taken = None
        self._stepped = False
        self._before = known.read(module) if known is not None else {}

    @property
    def _rows(self) -> int:
        """How many the step has."""
        return len(self.job.rows.rows_of(len(self.steps)))

    def _targets(self) -> list[Array]:
        """The targets of the batch that begins."""
        rows, size = self.job.rows, self._rows // self.parts
        start = rows.rows_of(len(self.steps)).start + (self._part - 1) * size
        return arrays_of(rows.part(slice(start, start + size)).y)

    def _refuse_unclear_axes(self, size: int) -> None:
        """Rows of several batches are joined; a recurrent network may have its steps first."""
        recurrent = any(layer.kind in RECURRENT for layer in self.observer.layers)
        square = any(x.shape[:2] == (size, size) for x in self.observer.outputs.values())
        if self.parts > 1 and recurrent and square:
            raise UsageError(
                f"{self.side.given.path}: its batches have as many rows as steps, {size}, so that "
                f"check cannot join those of one update.\nChange the batch size of both sides."
            )

    def _refuse_parts(self) -> NoReturn:
        raise UsageError(
            f"{self.side.given.path}: it makes an update of {self.parts} batches at first, and of "
            f"another number later, which check cannot judge.\nLet each update be made of equally "
            f"many batches."
        )

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        """Before an update; Lightning's own begins with the forward pass, in a closure."""
        self._note_step()
        self._experiment.set_arguments(optimizer)
        if self.by_hand:
            note("step")
            self._gradients()

    def _note_step(self) -> None:
        """An update is about to be made: after the last of a step's parts, and once."""
        if self.parts > 1 and (self._part < self.parts or self._stepped):
            self._refuse_parts()
        self._stepped = True

    def _after_update(self) -> None:
        self._note_settings()
        self._note_moved()

    def _note_moved(self) -> None:
        """Keep the weights as the optimizer leaves them."""
        if self.side.observer is not None:
            self._moved = self.side.observer.read(self.module)

    def _after_backward(self) -> None:
        if self._taken is not None and self.by_hand and not self._stepped:
            raise UsageError(
                f"{self.side.given.path}: its training_step calls manual_backward more than once "
                f"for an update, which check cannot judge.\nCall it once, with the sum of the "
                f"losses."
            )
        self._gradients()

    def _by_rule(self) -> None:
        """Before an update that an experiment makes, and after the optimizer's own."""
        known = self.side.observer
        if known is not None and "clip" in self._experiment.changes:  # the user's own is undone
            known.write(self.module, self._forced.gradients, gradients=True)

    def _note_settings(self) -> None:
        """Those of the step's first update, as they were in effect."""
        known = self.side.observer
        if known is None or self._settings:
            return
        self._settings = by_tensor(self._optimizers, self._names, self._clipping)
        left = {**(self._taken or {}), **self._forced.gradients}
        self._applied = if_other(known.read(self.module, gradients=True), left)

    def _gradients(self) -> None:
        """Record the gradients, and put the other side's in their place; once in a step."""
        if self._taken is not None or self._open is None:
            return
        self._open.close()
        self._unseen += self._draws.unseen
        if self._part < self.parts:
            return
        known = self.side.observer or self.observer
        self._taken = known.read(self.module, gradients=True)
        known.write(self.module, self._forced.gradients, gradients=True)

    def _leave(self, trainer: Any, module: Any, *rest: Any) -> None:
        if self._open is not None:
            self._open.close()
        if self._part < self.parts:
            return
        if self.parts > 1 and not self._stepped:
            self._refuse_parts()
        self._closing = {
            "before": self._before,
            "gradients": self._taken or {},
            "applied": self._applied,
            "optimizer": self._settings,
        }

    def _close(self) -> None:
        """End a step late: callbacks may change weights after it."""
        if self._closing is None:
            return
        known = self.side.observer or self.observer
        seen = self.observer
        if self._moved:
            known.write(self.module, self.job.constrained(self._moved))
        after = known.read(self.module)
        size = self._rows // self.parts
        observers = [*self._earlier, seen]
        self._refuse_unclear_axes(size)
        draws, unseen = joined_draws([x.draws.seen for x in observers], size)
        losses = [float("nan") if x.loss is None else x.loss for x in observers]
        self.steps.append(
            PairStep(
                inputs=joined([x.inputs for x in observers], size),
                outputs=joined([x.outputs for x in observers], size),
                loss=sum(losses),
                after=after,
                moved=changed_since(self._moved, after),
                draws=draws,
                rough=tuple(seen.rough),
                unseen=(*self._unseen, *unseen),
                later=seen.later if self.parts == 1 else {},
                result=joined_result(
                    [None if x.result is None else copied(x.result) for x in observers], size
                ),
                **self._closing,
            )
        )
        self._closing = None


class RatesRun(PairRun):
    """A run that asks its schedules how they go on, before its first step."""

    at: Sequence[int] = ()
    interval: str | None = None
    found: dict[str, Array]

    def _start(self, trainer: Any, module: Any) -> None:
        super()._start(trainer, module)
        optimizer = trainer.optimizers[0]
        self.found = rates(optimizer, self.schedules, self.at, self.side.length, self.interval)
        for config in self.schedulers:  # which may not be asked again, having come to their end
            config.interval, config.frequency = "epoch", 10**9


def accumulated_of(given: Given) -> int:
    """Batches whose gradients make one update."""
    if given.loop is not None:
        return given.loop.accumulated
    return int(given.trainer.get("accumulate_grad_batches") or 1)
