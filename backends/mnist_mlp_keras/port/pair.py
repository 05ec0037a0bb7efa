"""A Keras model as one side of a pair: real training steps in float64, every stage recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state  # they have no public names
from keras.src.utils import rng_utils

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.inputs import Inputs, each
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.ports.pair import RESULT, ClassWeights, PairFacts, PairJob, PairLayer, PairStep
from mnist_mlp.ports.pair_rows import PairRows, RunLength, WholeRun
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.reported import Reports
from mnist_mlp.ports.trials import distinct_draws, first_that_runs
from mnist_mlp.ports.user_code import path_of, user_errors
from mnist_mlp.reference import Array, Tensors
from mnist_mlp_keras.engine import (
    eager_functions,
    exact_scalars,
    forget_seed,
    seeded,
)
from mnist_mlp_keras.port import free, pair_output_losses
from mnist_mlp_keras.port.lines import roles
from mnist_mlp_keras.port.load import (
    ONE_HOT_LOSSES,
    Given,
    is_callable,
    loss_name,
    named_loss,
    one_hot,
    shaped,
    wanted_shape,
)
from mnist_mlp_keras.port.own_data import own_data
from mnist_mlp_keras.port.pair_constraints import constraints_of
from mnist_mlp_keras.port.pair_draws import Draws, draw_otherwise
from mnist_mlp_keras.port.pair_layers import LOSSES, loss_settings
from mnist_mlp_keras.port.pair_losses import CalledLoss
from mnist_mlp_keras.port.pair_observer import Observer, default_type
from mnist_mlp_keras.port.pair_passed import passed_by
from mnist_mlp_keras.port.pair_reported import meant_by
from mnist_mlp_keras.port.pair_run import PairRun
from mnist_mlp_keras.port.pair_schedules import (
    HARMLESS,
    SETTLED,
    described,
    early_stopping_of,
    plateau_of,
    rates,
    schedule_of,
)
from mnist_mlp_keras.port.pair_schedules import followed as once_an_epoch
from mnist_mlp_keras.port.recorder import innermost
from mnist_mlp_keras.port.scripts import found_in

DRAW_S = 1.0
"""Seconds for making models for their initial weights; a pair is an answer in seconds."""


class KerasSide:
    """The model of a user's file."""

    loss_place: int | None = None
    """The number of the loss, behind those of the layers."""

    parts = 1
    """Batches whose gradients make one update."""

    def __init__(self, target: str, given: Given) -> None:
        self.target = target
        self.path = path_of(target)
        self.given = given
        self._evaluations = 0

    def _loaded(self) -> Given:
        with user_errors(self.path):
            return Given(found_in(self.target), target=self.target)

    # --- Before anything is run -------------------------------------------------------------------

    def brought(
        self,
        images: Array,
        labels: Array,
        *,
        targets: int | None = None,
        weighted: bool = False,
    ) -> PairBrought:
        """See `PairSide.brought`; Keras has targets and weights in places of their own."""
        del targets, weighted
        given, fit = self.given, self.given.fit
        self._planned = images, labels
        with user_errors(self.path):
            own = own_data(
                given, rows=len(labels), fed=lambda: self._for_loader(given), ragged=True
            )
            self._know_parts()
        return PairBrought(
            own=own,
            batch_size=fit.get("batch_size"),
            epochs=fit.get("epochs"),
            shuffle=fit.get("shuffle"),
            options={
                key: str(value)
                for key, value in fit.items()
                if isinstance(value, bool | int | float | str) and key not in ("batch_size",)
            },
            left_out=(
                *(("what the loop does after its first two epochs",) if given.loop else ()),
                *getattr(given.found, "others", ()),
            ),
            accumulated=self.parts,
        )

    def _for_loader(self, given: Given) -> tuple[Array, Array]:
        """The plan's training rows, as a model wants them."""
        images, labels = self._planned
        model = given.first()
        x = shaped(images, wanted_shape(model, images.shape[1:]))
        y = labels.astype(np.int64)
        return x, one_hot(y, int(y.max()) + 1) if loss_name(model) in ONE_HOT_LOSSES else y

    def open(
        self, candidates: Sequence[PairRows], *, precision: str, length: RunLength
    ) -> PairFacts:
        """See `PairSide.open`."""
        self.length = length
        self.precision = precision
        with default_type(precision):
            self.given = self._loaded()
            with user_errors(self.path):
                self._know_parts()
            return first_that_runs(candidates, self._looked)

    def _know_parts(self) -> None:
        optimizer = innermost(self.given.first().optimizer)
        self.parts = getattr(optimizer, "gradient_accumulation_steps", None) or 1

    def _looked(self, rows: PairRows, chosen: int) -> PairFacts:
        with user_errors(self.path):
            model = self.given.first()
            self.rows = rows
            self._build(model)
            self.given.remember()
        self.observer: Observer | None = None  # the layers are numbered by this step
        self.losses: tuple[PairLayer, ...] = ()
        run = self.ran(PairJob(rows.first(rows.batch_size), epochs=1))
        observer = self.observer = run.observer
        self.loss_place = len(observer.layers)
        self.losses = pair_output_losses.losses_of(
            run.fitted, self.loss_place, run.predictions, observer.head_of
        )
        own = observer.take_own(run.fitted)
        return PairFacts(
            framework="keras",
            layers=tuple(observer.layers),
            chosen=chosen,
            loss=(None if self.losses else _loss(run.fitted, run.losses.called, self.loss_place)),
            losses=self.losses,
            targets=pair_output_losses.targets_of(run.fitted, rows.y),
            own=own,
            repeated=tuple(observer.repeated),
            penalties=observer.penalties,
            class_weights=class_weights_of(self.given.fit),
            constraints=constraints_of(observer.tensors),
            repeated_rows=tuple(run.repeated_rows),
            schedules=tuple(described(run.fitted, run.callbacks)),
            accumulated=run.parts,
            rest="later" if run.parts > 1 else "",
            plateau=plateau_of(run.callbacks),
            trainer_given=bool(self.given.fit) and self.given.loop is None,
            early_stopping=early_stopping_of(run.callbacks),
            open_questions=tuple(_open_questions(run)),
            lines=_lines(run, self.given.loader),
            own_rates=self.writes_rates,
            shapes=observer.shapes,
            passed=tuple(passed_by(observer)),
            loop=self.given.loop is not None,
        )

    @property
    def writes_rates(self) -> bool:
        """Whether a script sets learning rates itself."""
        return False

    def ran(self, job: PairJob) -> PairRun:
        """One run of the model."""
        run = PairRun(self, self._model(), job)
        run.fit()
        return run

    def _build(self, model: Any) -> None:
        if not model.built and is_callable(model):
            with eager_functions():
                model(self.rows.first(1).x)

    def _model(self) -> Any:
        """One in its first state, built."""
        with user_errors(self.path):
            model = self.given.fresh()
            self._build(model)
        return model

    def draws(self) -> tuple[Tensors, ...]:
        """See `PairSide.draws`."""
        known = self.observer
        assert known is not None

        def drawn(seed: int) -> Tensors:
            with default_type(self.precision), user_errors(self.path):
                model = self.given.drawn(seed)
                self._build(model)
            return Observer.like(known, model).read()

        before = rng_utils.get_random_seed()
        try:
            if self.given.maker is None:
                return (drawn(0),)
            return distinct_draws(drawn, seconds=DRAW_S)
        finally:  # a seed that was set would make Keras repeat its shuffles
            if before is None:
                global_state.set_global_attribute(rng_utils.GLOBAL_RANDOM_SEED, None)
                forget_seed()
            else:
                keras.utils.set_random_seed(before)

    # --- Judged training --------------------------------------------------------------------------

    def fit(self, job: PairJob) -> tuple[PairStep, ...]:
        """See `PairSide.fit`."""
        with default_type(self.precision):
            run = self.ran(job)
        self._reports = Reports(tuple(run.logs), meant_by(run.fitted))
        return tuple(run.steps)

    def reported(self) -> Reports:
        """See `PairSide.reported`."""
        return self._reports

    @property
    def validates(self) -> bool:
        """Whether the user's `fit` validates; without its arguments it may."""
        keys = ("validation_data", "validation_split")
        return not self.given.fit or any(self.given.fit.get(key) is not None for key in keys)

    def rates(self, at: Sequence[int], *, interval: str | None = None) -> dict[str, Array]:
        """See `PairSide.rates`."""
        with default_type(self.precision):
            run = PairRun(self, self._model(), PairJob(self.rows, 1))
            with user_errors(self.path), exact_scalars():
                return rates(run.fitted, run.callbacks, at, self.length, interval)

    def predict(self, weights: Tensors, x: Inputs) -> Mapping[int, Array]:
        """See `PairSide.predict`."""
        assert self.observer is not None
        with default_type(self.precision):
            model = self._model()
            if not is_callable(model):
                raise UsageError(f"{self.path}: it has no call, so nothing evaluates it")
            self._evaluations += 1
            draw_otherwise(model, self._evaluations)
            observer = Observer.like(self.observer, model)
            observer.write(weights)
            options = {"training": False} if model._call_has_training_arg else {}
            drawn = seeded(self._evaluations)
            watched = exact_scalars(), eager_functions(), observer.watching(Draws())
            with user_errors(self.path), drawn, watched[0], watched[1], watched[2]:
                model(self.module_input(x), **options)
        heads = {loss.behind for loss in self.losses if loss.behind is not None}
        whole = {} if observer.result is None else {RESULT: observer.result}
        last = {max(observer.inputs)} if observer.inputs else set()
        return whole | {number: observer.outputs[number] for number in heads or last}

    def train(self, run: WholeRun, on_epoch: free.OnEpoch) -> None:
        """See `PairSide.train`."""
        with default_type("float32"):
            keras.utils.set_random_seed(0)
            given = self._loaded()
            with user_errors(self.path):
                self.train_freely(given, run, on_epoch)

    def train_freely(self, given: Given, run: WholeRun, on_epoch: free.OnEpoch) -> None:
        """Train what was loaded anew."""
        free.fit(given, run, on_epoch, lambda: self._for_loader(given))

    def module_input(self, x: Inputs) -> Any:
        """What the model is called with for rows."""
        return self.fed(x)

    def fed(self, x: Inputs) -> Inputs:
        """Rows in the run's precision; whole numbers stay such."""
        fed: Inputs = each(lambda a: a.astype(self.precision) if a.dtype.kind == "f" else a, x)
        return fed


def class_weights_of(fit: Mapping[str, Any]) -> ClassWeights | None:
    """Those that `fit` is given."""
    given = fit.get("class_weight")
    if not isinstance(given, Mapping):
        return None
    return ClassWeights(tuple(sorted((int(k), float(v)) for k, v in given.items())))


def _loss(model: Any, called: CalledLoss | None, place: int) -> PairLayer | None:
    """The loss that was compiled, or that the user's own step calls."""
    name, loss, arguments = loss_name(model), model.loss, dict[str, Any]()
    if name not in LOSSES and called is not None:
        loss, arguments = called.loss, dict(called.arguments)
        name = named_loss(loss)
    kind = LOSSES.get(name)
    if kind is None:
        return None
    if called is not None and called.loss is not loss and called.arguments:
        arguments = dict(called.arguments)  # of a function, which a loop calls
    settings = loss_settings(kind, loss, arguments)
    return PairLayer(place, name, kind, settings)


def _lines(run: PairRun, loader: Any) -> dict[str, UserLine]:
    found = roles(run.fitted, run.callbacks, loader)
    called = run.losses.called
    if called is not None and called.line is not None and loss_name(run.fitted) not in LOSSES:
        found["loss"] = called.line
    return found


def _open_questions(run: PairRun) -> Iterator[str]:
    """What short epochs don't show: what happens at steps or losses far from the start."""
    if run.side.writes_rates:
        yield "the learning rates that the script sets after the first steps"
    rate = run.optimizer._learning_rate
    if not isinstance(rate, keras.Variable) and schedule_of(run.fitted) is None:
        yield "the learning rate, which is a function, after the first steps"
    if run.parts > 1 and schedule_of(run.fitted) is not None:
        yield "the schedule, which Keras asks by batches and not by updates where it accumulates"
    if getattr(run.optimizer, "use_ema", False):
        yield "the average of the weights (use_ema)"
    for callback in run.callbacks:
        names = [base.__name__ for base in type(callback).__mro__]
        known = isinstance(callback, SETTLED) or callback in once_an_epoch(run.callbacks)
        if not known and not any(name in HARMLESS for name in names):
            yield f"the callback {type(callback).__name__} after the first steps"
