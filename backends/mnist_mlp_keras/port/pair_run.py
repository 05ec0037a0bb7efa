"""One `fit` of a Keras model as a side of a pair, with every step recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.clipping import if_other
from mnist_mlp.ports.draws import Draw
from mnist_mlp.ports.inputs import Inputs, each
from mnist_mlp.ports.pair import PairJob, PairLayer, PairStep, changed_since, tensor_name
from mnist_mlp.ports.parts import draws_of, joined, joined_draws, joined_result
from mnist_mlp.ports.trials import mends_of_layers
from mnist_mlp.ports.unlabelled import batch_of
from mnist_mlp.ports.update_rules import Settings
from mnist_mlp.ports.user_code import user_errors
from mnist_mlp.reference import Array, Tensors
from mnist_mlp_keras.engine import (
    dense,
    exact_scalars,
    generated,
    gradients_going_on,
    is_sparse,
    planned_dataset,
    watched_gradients,
)
from mnist_mlp_keras.port import pair_output_losses
from mnist_mlp_keras.port.load import (
    Given,
)
from mnist_mlp_keras.port.pair_constraints import constrain, held_back
from mnist_mlp_keras.port.pair_draws import Draws
from mnist_mlp_keras.port.pair_layers import from_canonical, to_canonical
from mnist_mlp_keras.port.pair_losses import WatchedLoss
from mnist_mlp_keras.port.pair_mends import moves_otherwise, train
from mnist_mlp_keras.port.pair_observer import Observer
from mnist_mlp_keras.port.pair_optimizers import Experiment, by_tensor
from mnist_mlp_keras.port.pair_schedules import (
    SETTLED,
    exact,
    schedule_of,
)
from mnist_mlp_keras.port.pair_schedules import followed as once_an_epoch
from mnist_mlp_keras.port.recorder import innermost
from mnist_mlp_keras.port.run import as_one_step, passed_on, plain_numbers
from mnist_mlp_keras.port.state import number


class RunSide(Protocol):
    """What a run needs of the side that it is of."""

    path: Path
    given: Given
    observer: Observer | None
    parts: int
    losses: tuple[PairLayer, ...]
    loss_place: int | None
    precision: str

    @property
    def validates(self) -> bool:
        """Whether `fit` is given validation data."""
        ...

    @property
    def writes_rates(self) -> bool:
        """Whether the user's code sets learning rates."""
        ...

    def fed(self, x: Inputs) -> Inputs:
        """Rows as the model is fed with them."""
        ...


class PairRun(keras.callbacks.Callback):
    """One `fit` of a model, with every step recorded; the last of its callbacks."""

    def __init__(self, side: RunSide, model: Any, job: PairJob) -> None:
        super().__init__()
        self.side, self.fitted, self.job = side, model, job
        self.steps: list[PairStep] = []
        self.logs: list[dict[str, float]] = []
        known = side.observer
        self.known = Observer.like(known, model) if known is not None else None
        self.observer = Observer(model)
        self.parts = side.parts
        self._part = 0
        """Which of the batches of a step has begun, from 1: an update may be made of several."""
        self._earlier: list[_Part] = []
        self._draws = Draws(())
        self._loss = float("nan")
        self._waiting: list[list[Any]] = []
        """Gradients of the batches before it."""
        self._open: ExitStack | None = None
        self._pending = False
        self.repeated_rows: list[str] = []
        self._settings: dict[str, Settings] = {}
        self._applied: Tensors = {}
        self._moved: Tensors = {}
        self.predictions: Any = None
        """What the losses of the last step got."""
        place = len(known.layers) if known is not None else 0
        self._of_losses = {
            number - place: mends
            for number, mends in mends_of_layers(job.mends).items()
            if known is not None and number >= place
        }
        with user_errors(side.path):
            self.callbacks = passed_on(side.given.fit)["callbacks"]
        # Where there are several losses, each has a place of its own.
        here = None if side.losses else side.loss_place
        on_loss = [m for m in job.mends if m.layer == here is not None]
        self.losses = WatchedLoss(on_loss, self._penalty)
        self._experiment = Experiment(
            job.optimizer_mends, epoch_steps=job.rows.steps, callbacks=once_an_epoch(self.callbacks)
        )
        self.take_charge(innermost(model.optimizer))
        if known is not None:
            leaves = self.observer.leaves
            numbers = [known.of_leaf.get(leaf) for leaf in range(len(leaves))]
            train(leaves, numbers, job.mends)

    def _penalty(self, factors: Mapping[int, float]) -> Any:
        """The sum of squares of some layers' kernels, by number, times a factor each."""
        known = self.known or self.observer
        kernels = {number: known.tensors[tensor_name(number, "kernel")][0] for number in factors}
        return sum(
            factor * keras.ops.sum(keras.ops.square(kernels[number]))
            for number, factor in factors.items()
        )

    def take_charge(self, optimizer: Any) -> None:
        """Of the optimizer that makes the updates."""
        self.optimizer = optimizer
        if optimizer is None:
            return
        # Its accumulators would keep what is exchanged: the mean is taken here (`_mean`).
        optimizer.gradient_accumulation_steps = None
        schedule = schedule_of(self.fitted)
        if schedule is not None and self.side.precision == "float64":
            exact(schedule)

    def fit(self) -> None:
        """Run it.

        Raises
        ------
        UserCodeError
            The user's code raised.
        """
        model, side, rows = self.fitted, self.side, self.job.rows
        options = passed_on(side.given.fit)
        acting = [each for each in self.callbacks if not isinstance(each, SETTLED)]
        options["callbacks"] = [_First(self), *acting, self]
        own_apply = self.optimizer.apply
        before = model.run_eagerly
        with user_errors(side.path), as_one_step(model), exact_scalars():
            # The average of the weights is laid over them when `fit` ends.
            self.optimizer.finalize_variable_values = lambda *_: None
            model.run_eagerly, model.train_function = True, None
            self.optimizer.apply = self._applying(own_apply)
            orders = np.tile(np.arange(rows.count), (self.job.epochs, 1))
            if self.job.validation is not None and side.validates:
                options["validation_data"] = (
                    self._planned(orders[:1])
                    if not rows.by_batch
                    else self._in_batches(1, weighted=False)
                )
            try:
                with watched_gradients(self.taken):
                    model.fit(
                        self._planned(orders, weights=self._weights)
                        if self.parts == 1 and not rows.by_batch
                        else self._in_batches(self.job.epochs),
                        epochs=self.job.epochs,
                        steps_per_epoch=rows.steps * self.parts,
                        shuffle=False,
                        verbose=0,
                        **options,
                    )
            finally:
                if self._open is not None:
                    self._open.close()
                del self.optimizer.apply, self.optimizer.finalize_variable_values
                model.run_eagerly, model.train_function = before, None
                model.test_function = None
            self._close()

    def _planned(self, orders: Array, *, weights: Array | None = None) -> Any:
        """The batches of all epochs, each of `batch_size` rows but perhaps the last."""
        rows, fed = self.job.rows, self.side.fed
        y = None if rows.unlabelled else fed(rows.y)
        planned = planned_dataset(
            fed(rows.x), y, orders, batch_size=rows.batch_size, weights=weights
        )
        if not rows.unlabelled:
            return planned
        return planned.map(lambda x: batch_of(rows.unlabelled, x))

    def _in_batches(self, epochs: int, *, weighted: bool = True) -> Any:
        """The batches of all epochs, where several make one update, or not all are equally long."""
        rows, fed = self.job.rows, self.side.fed
        x, y = fed(rows.x), fed(rows.y)
        batches = []
        for ids in rows.batches(self.parts):
            if rows.unlabelled:
                batches.append(batch_of(rows.unlabelled, rows.batch(ids, x)))
                continue
            chosen = np.array(ids)
            batch = [rows.batch(ids, x), each(lambda a: a[chosen], y)]  # noqa: B023
            if weighted and self._weights is not None:
                batch.append(self._weights[chosen])
            batches.append(tuple(batch))
        return generated(lambda: iter(batches * epochs), any_size=2 if rows.by_batch else 1)

    @property
    def _weights(self) -> Array | None:
        """Those of single rows; with weights of classes, `fit` makes them itself."""
        weights = self.job.rows.weights
        if weights is None or self.side.given.fit.get("class_weight") is not None:
            return None
        return np.asarray(self.side.fed(weights))

    @property
    def _rows(self) -> int:
        """How many the step has."""
        return len(self.job.rows.rows_of(len(self.steps)))

    def enter(self) -> None:
        """Before a batch, and before any callback of the user's."""
        if 0 < self._part < self.parts:
            self._part += 1
            here = _Part(self.observer, self._draws.seen, self._left_here(), self._loss)
            self._earlier.append(here)
            self._unseen += self._draws.unseen
        else:
            self._begin()
        self.observer = Observer(self.fitted, self.job.mends)
        draws, unseen = draws_of(self._forced.draws, self._part - 1, self.parts, self._rows)
        self._unseen += unseen
        self._draws = Draws(draws)
        self._loss, self._raw = float("nan"), dict[int, Any]()
        self._open = ExitStack()
        self._open.enter_context(self.observer.watching(self._draws))
        self._open.enter_context(self.losses.watching())
        self._open.enter_context(
            pair_output_losses.watching(self.fitted, self._keep_predictions, self._of_losses)
        )
        if any(mend.field == "attached" for mend in self.job.mends):
            self._open.enter_context(gradients_going_on())

    def _begin(self) -> None:
        """Begin a step with the first of its parts."""
        self._close()
        forced = self.job.forced_at(len(self.steps))
        if self.known is not None:
            self.known.write(forced.weights)
        self._before = self.known.read() if self.known is not None else {}
        self._forced = forced
        self._settings, self._applied, self._moved = {}, {}, {}
        self._part, self._earlier, self._waiting = 1, [], []
        self._unseen: tuple[str, ...] = ()

    def _keep_predictions(self, predictions: Any) -> None:
        self.predictions = predictions

    @property
    def exchanges_early(self) -> bool:
        """Whether the user's own code stands between the gradients and the update."""
        return type(self.fitted).train_step is not keras.Model.train_step

    def taken(
        self, target: Any, sources: Sequence[Any], gradients: Sequence[Any]
    ) -> Sequence[Any] | None:
        """A tape has given gradients: others, with which the user's own code goes on, if any."""
        if self._open is None or self._raw:
            return None
        self._gradients(target, sources, gradients)
        if not self.exchanges_early:
            return None
        names = self._names()
        return [
            gradient
            if is_sparse(gradient)
            else self._replaced(gradient, source, names.get(id(source), ()))
            for source, gradient in zip(sources, gradients, strict=True)
        ]

    def _at_update(self, gradient: Any, variable: Any, names: Sequence[str]) -> Any:
        """What an optimizer is given: what the user's own code has made of exchanged gradients,
        unless an experiment undoes its clipping."""
        raw = self._raw.get(id(variable), self._raw.get(id(variable.value)))
        if self.exchanges_early and not is_sparse(raw) and "clip" not in self._experiment.changes:
            return gradient
        return self._replaced(gradient, variable, names)

    def _gradients(self, target: Any, sources: Sequence[Any], gradients: Sequence[Any]) -> None:
        self._loss = float(np.sum(number(target)))
        for source, gradient in zip(sources, gradients, strict=True):
            if gradient is not None:
                self._raw[id(source)] = gradient

    def _applying(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """The optimizer's `apply` with the gradients that are given, perhaps by another rule."""

        def apply(gradients: Any, trainable_variables: Any = None) -> Any:
            known, optimizer = self.known or self.observer, self.optimizer
            if self._part < self.parts:
                self._waiting.append([None if g is None else dense(g) for g in gradients])
                return
            variables = trainable_variables or optimizer._trainable_variables
            names = self._names()
            if not optimizer.built:
                optimizer.build(variables)
            if not self.steps:
                self._try_sparsely(gradients, variables)
            # Some optimizers take the occurrences of a row one by one, which is told apart.
            gradients = self._mean([None if g is None else dense(g) for g in gradients])
            self._experiment.before_step(optimizer, len(self.steps))
            if not self._settings:
                self._settings = by_tensor(optimizer, names)
                self._applied = if_other(self._taken(gradients, variables), self._left())
            replaced = [
                self._at_update(g, v, names.get(id(v), ()))
                for g, v in zip(gradients, variables, strict=True)
            ]
            held = held_back(variables)
            try:
                if not self._experiment.by_rule:
                    own(replaced, trainable_variables)
                else:
                    taken, before = self._taken(replaced, variables), known.read()
                    known.write(
                        self._experiment.applied(optimizer, len(self.steps), before, taken, names)
                    )
                if self.known is not None:
                    self._moved = self.known.read()
            finally:
                constrain(held)

        return apply

    def _mean(self, gradients: list[Any]) -> list[Any]:
        """The gradients of all parts, as the optimizer takes them: Keras's own rule."""
        if len(self._waiting) != self.parts - 1:
            raise UsageError(
                f"{self.side.path}: it does not call its optimizer once for each batch, and that "
                f"accumulates their gradients, which check cannot judge."
            )
        several = [*self._waiting, gradients]
        return [
            None if any(g is None for g in parts) else sum(parts[1:], parts[0]) / self.parts
            for parts in zip(*several, strict=True)
        ]

    def _try_sparsely(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Note which embeddings move otherwise by sparse gradients than by the same ones, dense."""
        observer = self.known or self.observer
        names = {
            id(v): layer.name for v, layer, _ in observer.tensors.values() if layer is not None
        }
        for gradient, variable in zip(gradients, variables, strict=True):
            if is_sparse(gradient) and moves_otherwise(self.optimizer, gradient, variable):
                self.repeated_rows.append(names.get(id(variable), variable.path))

    def _names(self) -> dict[int, tuple[str, ...]]:
        """Canonical names by variable: of a GRU's two biases in one, there are two."""
        found: dict[int, tuple[str, ...]] = {}
        for name, (variable, _, _) in (self.known or self.observer).tensors.items():
            found[id(variable)] = (*found.get(id(variable), ()), name)
            found[id(variable.value)] = found[id(variable)]
        return found

    def _taken(self, gradients: Sequence[Any], variables: Sequence[Any]) -> dict[str, Array]:
        """The gradients of variables, by canonical name."""
        names = self._names()
        return {
            name: self._canonical(name, g)
            for g, v in zip(gradients, variables, strict=True)
            if g is not None
            for name in names.get(id(v), ())
        }

    def _replaced(self, gradient: Any, variable: Any, names: Sequence[str]) -> Any:
        """The gradient that is given for a variable, or its own."""
        given = self._forced.gradients
        names = [name for name in names if name in given]
        if gradient is None or not names:
            return gradient
        value = number(gradient).copy()
        for name in names:
            _, layer, role = (self.known or self.observer).tensors[name]
            value = from_canonical(layer, role, np.asarray(given[name]), value)
        return keras.ops.convert_to_tensor(value, dtype=variable.dtype)

    def _left(self) -> dict[str, Array]:
        """The gradients that the backward passes left: their mean over the parts of a step."""
        lefts: list[Tensors] = [*(part.gradients for part in self._earlier), self._left_here()]
        shared = [name for name in lefts[-1] if all(name in left for left in lefts)]
        return {name: sum((x[name] for x in lefts[1:]), lefts[0][name]) / self.parts
                for name in shared}  # fmt: skip

    def _left_here(self) -> dict[str, Array]:
        """Those of the last batch."""
        found = {}
        for name, (variable, _, _) in (self.known or self.observer).tensors.items():
            raw = self._raw.get(id(variable), self._raw.get(id(variable.value)))
            if raw is not None:
                found[name] = self._canonical(name, raw)
        return found

    def _canonical(self, name: str, gradient: Any) -> Array:
        _, layer, role = (self.known or self.observer).tensors[name]
        return to_canonical(layer, role, number(dense(gradient))).copy()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """The step is over; callbacks may still change weights before the next one."""
        del batch, logs
        if self._open is not None:
            self._open.close()
            self._open = None
        if self._part < self.parts:
            return
        self._twice()
        if self._moved and self.known is not None:
            self.known.write(self.job.constrained(self._moved))
        self._pending = True

    def validate(self) -> None:
        """Before a validation, and before any callback of the user's in it."""
        if self.known is not None:
            self._trained = self.known.read()
            self.known.write(self.job.validated_with(len(self.logs)))

    def on_test_end(self, logs: Any = None) -> None:
        """The end of `fit`'s validation: training goes on with its own weights."""
        del logs
        if self.known is not None:
            self.known.write(self._trained)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep what is reported of the epoch."""
        del epoch
        self.logs.append(plain_numbers(logs or {}))

    def _twice(self) -> None:
        """Let a bias move twice as far, as two biases that are added do."""
        for mend in self.job.mends:
            if mend.field == "twice" and self.known is not None and mend.layer is not None:
                name = tensor_name(mend.layer, mend.value)
                moved = 2 * self.known.read()[name] - self._before[name]
                self.known.write({name: moved})

    def _close(self) -> None:
        if not self._pending:
            return
        self._pending = False
        known, seen = self.known or self.observer, self.observer
        after = known.read()
        observers = [*(part.observer for part in self._earlier), seen]
        size = self._rows // self.parts
        drawn = [*(part.draws for part in self._earlier), self._draws.seen]
        draws, unseen = joined_draws(drawn, size)
        self.steps.append(
            PairStep(
                inputs=joined([x.inputs for x in observers], size),
                outputs=joined([x.outputs for x in observers], size),
                loss=sum([part.loss for part in self._earlier], self._loss) / self.parts,
                before=self._before,
                gradients=self._left(),
                after=after,
                moved=changed_since(self._moved, after),
                draws=draws,
                applied=self._applied,
                optimizer=self._settings,
                rough=tuple(seen.rough),
                unseen=(*self._unseen, *self._draws.unseen, *unseen),
                later=seen.later if self.parts == 1 else {},
                result=joined_result([x.result for x in observers], size),
            )
        )


@dataclass(frozen=True, eq=False)
class _Part:
    """What a batch has left, of several that make one update."""

    observer: Observer
    draws: Sequence[Draw]
    gradients: Tensors
    loss: float


class _First(keras.callbacks.Callback):
    """The first of all callbacks, as the run is the last."""

    def __init__(self, run: PairRun) -> None:
        super().__init__()
        self.run = run

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Let the run begin a step."""
        del batch, logs
        self.run.enter()

    def on_test_begin(self, logs: Any = None) -> None:
        """Let the run begin a validation."""
        del logs
        self.run.validate()
