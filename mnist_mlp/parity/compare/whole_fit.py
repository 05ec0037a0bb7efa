"""Judge a backend's whole `fit`, and find faults that its judged steps cannot show.

`step` and `fit` are different code in a backend, so a fault may be in only one of them. A fast path
may skip the last batch, for example, or visit the rows in another order. The weights after the
first and the second epoch are compared with the float64 reference. How far a correct run may be
away from it is measured: the NumPy reference makes the same run in the precision of the
specification. That run is called `honest` here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnist_mlp.contract import EpochRecord, State, TrainingData
from mnist_mlp.parity.causes import order
from mnist_mlp.parity.causes.metrics import EpochMeasures
from mnist_mlp.parity.compare.proof import in_float64
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place, Side
from mnist_mlp.parity.steps import drift
from mnist_mlp.parity.steps.trajectory import Batches, ReferenceRun
from mnist_mlp.plan import Ids, Plan
from mnist_mlp.reference import Tensors, is_kernel
from mnist_mlp.spec import activation_parts

EPOCHS = 2
"""The second epoch shows faults of a new epoch, such as an order that is not drawn anew."""

CALM = 200.0
"""Drift of the kernels, in roundings, above which one correct run cannot predict another.

Some hundred steps add up to ten roundings. A network that amplifies rounding errors has thousands
at the end of an epoch.
"""

SHARE_LIMIT = 3e-6
"""Largest allowed overshoot of the weight change (see `share`).

Rounding gives up to 1e-7, and a learning rate that is 1.00001 times too large gives 1e-5.
"""

RATE_GUESSES = 4
"""Number of learning rates tried for an epoch whose weights moved too far or not far enough."""


@dataclass(frozen=True, eq=False)
class FirstEpochs:
    """The first epochs of the reference: `exact` in float64, `honest` in the run's precision."""

    plan: Plan
    data: TrainingData
    exact: Mapping[int, State]
    honest: Mapping[int, State]
    counted: Sequence[EpochMeasures]
    honest_counted: Sequence[EpochMeasures]

    @property
    def epochs(self) -> int:
        """Number of these epochs."""
        return min(EPOCHS, self.plan.spec.training.epochs)


def first_epochs(exact: ReferenceRun) -> FirstEpochs:
    """The first epochs of the exact run, together with an honest run."""
    plan, data = exact.plan, exact.data
    ends = first_ends(plan)
    honest = drift.honest_run(plan, data)
    return FirstEpochs(
        plan=plan,
        data=data,
        exact=_states_at(exact, ends),
        honest=_states_at(honest, ends),
        counted=[_counted(batches) for batches in exact.epochs(len(ends))],
        honest_counted=[_counted(batches) for batches in honest.epochs(len(ends))],
    )


def first_ends(plan: Plan) -> dict[int, int]:
    """The step after each of the first epochs, by epoch."""
    count = min(EPOCHS, plan.spec.training.epochs)
    return {epoch: epoch * plan.steps_per_epoch + 1 for epoch in range(1, count + 1)}


def later_ends(records: Sequence[EpochRecord], plan: Plan) -> dict[int, State]:
    """A run's states after the epochs that the reference does not judge as a whole, by epoch."""
    return {
        record.epoch: State(record.epoch * plan.steps_per_epoch, record.weights, record.slots or {})
        for record in records
        if record.epoch > EPOCHS
    }


def _states_at(run: ReferenceRun, ends: Mapping[int, int]) -> dict[int, State]:
    """The states after each of the first epochs, by epoch."""
    states = run.states(ends.values())
    return {epoch: states[end] for epoch, end in ends.items()}


KINKED = ("leaky_relu", "relu", "selu")
"""Activations with a kink: there, a rounding can change the slope and so cause a jump."""


def is_calm(first: FirstEpochs) -> bool:
    """Whether rounding errors stay small through the first epochs."""
    spec = first.plan.spec
    if spec.training.precision == "float64":
        return True
    if any(activation_parts(name)[0] in KINKED for name in spec.model.activations[:-1]):
        return False
    eps = float(np.finfo(spec.training.precision).eps)
    return all(
        drift.rms(first.honest[epoch].weights[name] - w) <= CALM * eps * drift.rms(w)
        for epoch, state in first.exact.items()
        for name, w in state.weights.items()
        if is_kernel(name)
    )


def in_double(first: FirstEpochs) -> FirstEpochs:
    """The same epochs in float64."""
    double = in_float64(first.plan)
    training = double.spec.training.model_copy(update={"epochs": first.epochs})
    plan = replace(double, spec=double.spec.model_copy(update={"training": training}))
    return first_epochs(ReferenceRun(plan, first.data))


def _counted(batches: Batches) -> EpochMeasures:
    return EpochMeasures(batches.losses, batches.rows, batches.correct)


def distance(got: Tensors, first: FirstEpochs, epoch: int) -> float:
    """Distance from the exact weights relative to that of the honest run; of the worst tensor."""
    return drift.distance(
        got,
        first.exact[epoch].weights,
        first.honest[epoch].weights,
        precision=first.plan.spec.training.precision,
    )


def share(got: Tensors, first: FirstEpochs, epoch: int) -> float:
    """Relative overshoot of the weight change since the initial weights; 0 is exact.

    It is the error projected on the exact change. Roundings point in all directions and nearly
    cancel in it, while a wrong learning rate adds up.
    """
    top = bottom = 0.0
    for name, w in first.exact[epoch].weights.items():
        way = np.asarray(w, np.float64) - first.plan.initial_weights[name]
        top += float(((np.asarray(got[name], np.float64) - w) * way).sum())
        bottom += float((way * way).sum())
    return top / bottom if bottom else 0.0


def is_off(got: Tensors, first: FirstEpochs, epoch: int) -> bool:
    """Whether the weights after an epoch are further off than those of a correct run can be."""
    return not _off(got, first, epoch) <= 1


def _off(got: Tensors, first: FirstEpochs, epoch: int) -> float:
    """The error of the weights after an epoch, as a share of what a correct run may have."""
    # One honest run shows the size of the overshoot by rounding; another run may have several times
    # as much, so ten times are allowed.
    honest = abs(share(first.honest[epoch].weights, first, epoch))
    along = abs(share(got, first, epoch)) / (SHARE_LIMIT + 10 * honest)
    away = distance(got, first, epoch) / drift.LIMIT
    return along if along > away else away  # NaN in either is off


def margin(records: Sequence[EpochRecord], first: FirstEpochs) -> float | None:
    """The largest error of the weights in the first epochs, as a share of what is allowed."""
    return max((_off(r.weights, first, r.epoch) for r in records[: first.epochs]), default=None)


def fit_breaks(records: Sequence[EpochRecord], first: FirstEpochs, *, side: Side) -> list[Break]:
    """The first epoch whose weights are wrong, as a break with its cause; at most one."""
    for record in records[: first.epochs]:
        if is_off(record.weights, first, record.epoch):
            return [_explained(record, first, side)]
    return []


def _explained(record: EpochRecord, first: FirstEpochs, side: Side) -> Break:
    plan, epoch = first.plan, record.epoch
    size = distance(record.weights, first, epoch)
    for cause, positions in order.alternatives(plan, epoch):
        if not is_off(record.weights, _with_order(first, epoch, positions), epoch):
            start = (epoch - 1) * plan.steps_per_epoch + 1
            dropped = cause.name == "last_batch_dropped"
            step = epoch * plan.steps_per_epoch if dropped else start
            place = Place(epoch=epoch, step=step, tensor="ids")
            return Break(side=side, rung="order", place=place, size=size, cause=cause)
    cause = _other_rate(record, first) or Cause(
        UNKNOWN,
        f"the weights after epoch {epoch} of fit are {size:.3g} times further from the exact ones "
        f"than those of a correct run, though every judged step is clean",
    )
    place = Place(epoch=epoch, tensor="weights")
    return Break(side=side, rung="trajectory", place=place, size=size, cause=cause)


def _with_order(first: FirstEpochs, epoch: int, positions: Ids) -> FirstEpochs:
    """Both reference runs with another order of the rows in one epoch."""

    def chosen(number: int) -> Ids:
        return positions if number == epoch else first.plan.order(number)

    steps = (epoch - 1) * first.plan.steps_per_epoch
    last = steps + -(-len(positions) // first.plan.spec.training.batch_size)
    return _again(first, first.plan, epoch, last=last, order=chosen)


def _again(
    first: FirstEpochs,
    plan: Plan,
    epoch: int,
    *,
    last: int,
    order: Callable[[int], Ids] | None = None,
) -> FirstEpochs:
    """Compute both reference runs anew up to step `last`.

    The honest run too, since its distance depends on the steps it has taken.
    """
    exact = ReferenceRun(plan, first.data, order=order).states([last + 1])
    honest = drift.honest_run(plan, first.data, order=order).states([last + 1])
    return replace(
        first,
        exact={**first.exact, epoch: exact[last + 1]},
        honest={**first.honest, epoch: honest[last + 1]},
    )


def _other_rate(record: EpochRecord, first: FirstEpochs) -> Cause | None:
    """Find another learning rate that reproduces the epoch, by the secant method.

    The weight change is not proportional to the rate, since the gradients change on the way. So one
    guess is not enough.
    """
    optimizer = first.plan.spec.optimizer
    if optimizer.schedule:
        return None  # there is more than one rate to find
    before, slope, factor = share(record.weights, first, record.epoch), 1.0, 1.0
    for _ in range(RATE_GUESSES):
        guess = factor + before / slope
        # Six digits, since users write learning rates with few digits.
        rate = float(f"{optimizer.learning_rate * guess:.6g}")
        guess = rate / optimizer.learning_rate
        if not 0.2 < guess < 5 or guess == factor:
            return None
        other = optimizer.model_copy(update={"learning_rate": rate})
        plan = replace(first.plan, spec=first.plan.spec.model_copy(update={"optimizer": other}))
        changed = _again(first, plan, record.epoch, last=record.epoch * plan.steps_per_epoch)
        if not is_off(record.weights, changed, record.epoch):
            return Cause(
                "learning_rate", f"{rate:g} instead of {optimizer.learning_rate:g}, in fit"
            )
        after = share(record.weights, changed, record.epoch)
        slope, before, factor = (before - after) / (guess - factor), after, guess
        if slope <= 0:
            return None
    return None
