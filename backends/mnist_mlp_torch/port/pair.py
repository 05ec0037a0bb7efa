"""A torch module as one side of a pair: real training steps in float64, every stage recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_mlp.contract import Runtime
from mnist_mlp.errors import UsageError
from mnist_mlp.ports.batch_keys import BatchKeys
from mnist_mlp.ports.inputs import Inputs, arrays_of, each
from mnist_mlp.ports.loop_code import leaves_early
from mnist_mlp.ports.pair import RESULT, PairFacts, PairJob, PairStep
from mnist_mlp.ports.pair_rows import PairRows, RunLength, WholeRun
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.reported import Reports
from mnist_mlp.ports.trials import distinct_draws, first_that_runs
from mnist_mlp.ports.user_code import user_errors
from mnist_mlp.reference import Array, Tensors
from mnist_mlp_torch.port import free
from mnist_mlp_torch.port.lines import roles
from mnist_mlp_torch.port.load import (
    Given,
    left_out,
    load,
    not_judged,
    overrides,
    own_callbacks,
    seed_everything,
)
from mnist_mlp_torch.port.own_data import batch_size_of, own_data
from mnist_mlp_torch.port.pair_inputs import called, keys_of_step, takes_dictionary
from mnist_mlp_torch.port.pair_observer import Observer, copied, default_type
from mnist_mlp_torch.port.pair_passed import passed_by
from mnist_mlp_torch.port.pair_run import PairRun, RatesRun, accumulated_of
from mnist_mlp_torch.port.pair_schedules import (
    HARMLESS,
    SETTLED,
    described,
    early_stopping_of,
    plateau_of,
)

DRAW_S = 1.0
"""Seconds for making models for their initial weights; a pair is an answer in seconds."""

TYPES = {"float32": torch.float32, "float64": torch.float64}


class TorchSide:
    """The module of a user's file."""

    def __init__(self, given: Given, runtime: Runtime) -> None:
        self.target = given.target
        self.runtime = runtime
        self.given = given
        self._evaluations = 0
        self.keys: BatchKeys | None = None
        """By which its step reads a batch, where only that is known."""

    # --- Before anything is run -------------------------------------------------------------------

    validation_weighted = False
    """Whether the user's own loader for validation gives weights of rows."""

    def brought(
        self,
        images: Array,
        labels: Array,
        *,
        targets: int | None = None,
        weighted: bool = False,
    ) -> PairBrought:
        """See `PairSide.brought`."""
        del images, labels  # a loader takes nothing in torch
        given = self.given
        own = own_data(given, several=True, targets=targets, weighted=weighted)
        validation = own.validation if own is not None else None
        self.validation_weighted = validation is not None and validation.weights is not None
        return PairBrought(
            own=own,
            batch_size=None if callable(given.loader) else batch_size_of(given.loader),
            epochs=given.loop.epochs if given.loop else given.trainer.get("max_epochs"),
            options={k: str(v) for k, v in given.trainer.items() if k != "callbacks"},
            left_out=_left_out(given),
            not_judged=not_judged(given),
            accumulated=accumulated_of(given),
        )

    def open(
        self, candidates: Sequence[PairRows], *, precision: str, length: RunLength
    ) -> PairFacts:
        """See `PairSide.open`."""
        self.length = length
        self.dtype = TYPES[precision]
        with default_type(self.dtype):
            self.given = load(self.target)
            if self.given.loop is None and self.given.loader is None:
                self.keys = keys_of_step(self._module(seed=0))
            return first_that_runs(candidates, self._looked)

    def in_form(self, rows: PairRows) -> PairRows:
        """As a step reads its batches, where no loader says it."""
        if rows.keys is not None or self.keys is None or not isinstance(rows.x, np.ndarray):
            return rows
        return replace(rows, keys=self.keys)

    def run_of(self, module: Any, job: PairJob) -> PairRun:
        """One run of a module, yet to be begun."""
        return PairRun(self, module, job)

    def _looked(self, rows: PairRows, number: int) -> PairFacts:
        module = self._module(seed=0)
        self.rows = self.in_form(rows)
        self.observer: Observer | None = None  # the layers are numbered by this step
        run = self.run_of(module, PairJob(rows, epochs=1))
        run.fit(one_batch=True)
        observer = run.observer
        self.observer = observer
        own = observer.take_own(module)
        losses = observer.losses.weighed(times=run.parts)
        return PairFacts(
            framework="torch",
            layers=tuple(observer.layers),
            chosen=number,
            loss=losses[-1] if losses else None,
            losses=losses if len(losses) > 1 else (),
            targets=observer.losses.targets_among(arrays_of(rows.first(rows.batch_size).y), losses)
            if len(losses) > 1
            else (),
            own=own,
            repeated=tuple(observer.repeated),
            unregistered=tuple(observer.unregistered),
            class_weights=observer.losses.class_weights,
            schedules=tuple(map(described, run.schedules)),
            asks_length=run.asks_length,
            shapes=observer.shapes,
            passed=tuple(passed_by(observer)),
            own_rates=bool(run.asked_by_own_code) or run.writes_rates,
            accumulated=run.parts,
            rest=run.rest[0],
            rest_weights=run.rest[1],
            plateau=plateau_of(run.schedulers),
            trainer_given=bool(self.given.trainer),
            early_stopping=early_stopping_of(own_callbacks(self.given)),
            open_questions=tuple(_open_questions(run, own_callbacks(self.given))),
            loop=self.given.loop is not None,
            lines=roles(
                run.made_by,
                losses[-1].line if losses else None,
                self.given.trainer,
            ),
        )

    def _module(self, *, seed: int) -> Any:
        with default_type(self.dtype):
            module = self.given.fresh(seed=seed)
        double = any(p.dtype is torch.float64 for p in module.parameters())
        self._fed_type = torch.float64 if double else self.dtype
        return module.double() if self.dtype is torch.float64 else module

    def draws(self) -> tuple[Tensors, ...]:
        """See `PairSide.draws`."""
        if _is_lazy(self._module(seed=0)):
            return ()
        if not self.given.repeatable:
            return (self._drawn(0),)
        return distinct_draws(self._drawn, seconds=DRAW_S)

    def _drawn(self, seed: int) -> Tensors:
        assert self.observer is not None
        with default_type(self.dtype):
            return self.observer.read(self.given.drawn(seed=seed))

    # --- Judged training --------------------------------------------------------------------------

    def fit(self, job: PairJob) -> tuple[PairStep, ...]:
        """See `PairSide.fit`."""
        with default_type(self.dtype):
            run = self.run_of(self._module(seed=0), job)
            run.fit()
        self._reports = run.reported.reports
        return tuple(run.steps)

    def reported(self) -> Reports:
        """See `PairSide.reported`; a loop reports nothing."""
        return self._reports

    def rates(self, at: Sequence[int], *, interval: str | None = None) -> dict[str, Array]:
        """See `PairSide.rates`."""
        with default_type(self.dtype):
            run = RatesRun(self, self._module(seed=0), PairJob(self.rows, 1))
            run.at, run.interval = at, interval
            run.fit(one_batch=True)
        return run.found

    def predict(self, weights: Tensors, x: Inputs) -> Mapping[int, Array]:
        """See `PairSide.predict`."""
        assert self.observer is not None
        module = self._module(seed=0)
        if self.given.loop is None and not overrides(module, "forward"):
            raise UsageError(f"{self.given.path}: it has no forward, so nothing evaluates it")
        batch = self.module_input(x)
        keys = self.rows.keys
        named = dict(keys.named(batch)) if keys is not None and takes_dictionary(module) else {}
        if _is_lazy(module):
            called(module, each(lambda rows: rows[:2], batch))
        self.observer.write(module, weights)
        module.eval()
        self._evaluations += 1  # so that what is random is so in each of them
        seed_everything(self._evaluations)
        observer = Observer(module, self.observer)
        watched = default_type(self.dtype), torch.no_grad(), observer.watching()
        with user_errors(self.given.path), watched[0], watched[1], watched[2]:
            called(module, batch) if not named else module(named)
        # Where a training step takes losses between its layers, these have other numbers here.
        numbers = observer.numbers_of(self.observer)
        whole = {} if observer.result is None else {RESULT: copied(observer.result)}
        if not observer.inputs:
            return whole
        heads = {x.behind for x in self.observer.losses.weighed() if x.behind is not None}
        if len(heads) < 2:
            last = max(observer.inputs)
            known = [number for number, here in numbers.items() if here == last]
            return whole | {known[0] if known else last: observer.outputs[last]}
        return whole | {n: observer.outputs[numbers[n]] for n in heads if n in numbers}

    def train(self, run: WholeRun, on_epoch: free.OnEpoch) -> None:
        """See `PairSide.train`."""
        with default_type(torch.float32):
            seed_everything(0)
            self.train_freely(load(self.target), run, on_epoch)

    def train_freely(self, given: Given, run: WholeRun, on_epoch: free.OnEpoch) -> None:
        """Train what was loaded anew."""
        free.fit(given, self.runtime, run, on_epoch)

    def module_input(self, rows: Any) -> Any:
        """What the module is called with for rows."""
        return each(self.tensor, rows)

    def tensor(self, rows: Array) -> Tensor:
        """Rows as a tensor of the run's type, or of the module's own where that is more exact;
        whole numbers stay such."""
        made = torch.from_numpy(np.ascontiguousarray(rows))
        return made.to(self._fed_type) if made.is_floating_point() else made


def _is_lazy(module: Any) -> bool:
    """Whether a module has weights that are made only when it is first called."""
    return any(isinstance(p, torch.nn.UninitializedParameter) for p in module.parameters())


def _left_out(given: Given) -> tuple[str, ...]:
    rest = ("what the loop does after its first two epochs",) if given.loop is not None else ()
    return (*left_out(given), *rest)


def _open_questions(run: PairRun, callbacks: Sequence[Any]) -> Iterator[str]:
    """What short epochs don't show: what happens at steps or losses far from the start."""
    for config in run.asked_by_own_code:
        yield f"the schedule {type(config.scheduler).__name__}, asked by own code"
    if run.asks_length:
        yield "the schedule, which asks how long the run is: data or epochs are not given"
    if run.side.given.loop is not None and leaves_early(run.side.given.script_text):
        yield "which batches of an epoch are trained on: a break may leave the loop over them"
    if run.writes_rates:
        yield "what the script writes into param_groups after the first steps"
    for callback in callbacks:
        names = [base.__name__ for base in type(callback).__mro__]
        if not any(word in name for name in names for word in (*HARMLESS, *SETTLED)):
            yield f"the callback {type(callback).__name__} after the first steps"
