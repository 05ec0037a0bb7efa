"""A backend's whole `fit`, judged: what its judged steps cannot show.

`step` and `fit` are two ways through a backend, and a fault may sit in one of them: a fast path
that skips the last batch, or walks through the rows in another order. The weights after the first
and the second epoch are held against the float64 reference. How far an honest run may be away by
then is not guessed: the NumPy reference makes the same run in the precision of the specification.
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
from mnist_mlp.parity.steps.drift import one_ulp_away
from mnist_mlp.parity.steps.trajectory import Batches, Trajectory, run_reference
from mnist_mlp.plan import Ids, Plan
from mnist_mlp.reference import Tensors, is_kernel
from mnist_mlp.spec import activation_parts

EPOCHS = 2
CALM = 200.0
"""Roundings that the kernels of an honest run may be away while one run still tells of others: some
hundred steps add up to ten, a network in which they grow is at thousands by the end of an epoch."""

SHARE_LIMIT = 3e-6
"""How much too far along the way an epoch may lead: rounding gives up to 1e-7, a learning rate
1.00001 times too large 1e-5."""

RATE_GUESSES = 4
"""Learning rates that are tried for an epoch that came too far, or not far enough."""


@dataclass(frozen=True, eq=False)
class FirstEpochs:
    """The reference's first epochs, exactly and in the precision of the specification."""

    plan: Plan
    data: TrainingData
    exact: Mapping[int, State]
    honest: Mapping[int, State]
    counted: Sequence[EpochMeasures]
    honest_counted: Sequence[EpochMeasures]

    @property
    def epochs(self) -> int:
        """How many there are."""
        return min(EPOCHS, self.plan.spec.training.epochs)


def first_epochs(plan: Plan, data: TrainingData, trajectory: Trajectory) -> FirstEpochs:
    """Take the exact run from a trajectory that reaches far enough, and make the other one."""
    count = min(EPOCHS, plan.spec.training.epochs)
    ends = [epoch * plan.steps_per_epoch + 1 for epoch in range(1, count + 1)]
    honest = _honest(plan, data, before=ends)
    return FirstEpochs(
        plan=plan,
        data=data,
        exact={epoch: trajectory.states[end] for epoch, end in enumerate(ends, 1)},
        honest={epoch: honest.states[end] for epoch, end in enumerate(ends, 1)},
        counted=[_counted(batches) for batches in trajectory.epochs[:count]],
        honest_counted=[_counted(batches) for batches in honest.epochs[:count]],
    )


def _honest(
    plan: Plan,
    data: TrainingData,
    *,
    before: Sequence[int],
    order: Callable[[int], Ids] | None = None,
) -> Trajectory:
    """A run that only rounds in another way; in float64 it starts a last digit away."""
    precision = plan.spec.training.precision
    start = one_ulp_away(plan, draw=0) if precision == "float64" else plan
    return run_reference(start, data, before=before, dtype=precision, order=order)


KINKED = ("leaky_relu", "relu", "selu")
"""A rounding that puts one value on the other side of a kink makes a jump, now and then."""


def is_calm(first: FirstEpochs) -> bool:
    """Whether roundings stay roundings through the first epochs."""
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
    """The same epochs in float64, and no others."""
    double = in_float64(first.plan)
    training = double.spec.training.model_copy(update={"epochs": first.epochs})
    plan = replace(double, spec=double.spec.model_copy(update={"training": training}))
    ends = [epoch * plan.steps_per_epoch + 1 for epoch in range(1, first.epochs + 1)]
    return first_epochs(plan, first.data, run_reference(plan, first.data, before=ends))


def _counted(batches: Batches) -> EpochMeasures:
    return EpochMeasures(batches.losses, batches.rows, batches.correct)


def distance(got: Tensors, first: FirstEpochs, epoch: int) -> float:
    """How many times further from the exact weights than the honest run, worst tensor."""
    return drift.distance(
        got,
        first.exact[epoch].weights,
        first.honest[epoch].weights,
        precision=first.plan.spec.training.precision,
    )


def share(got: Tensors, first: FirstEpochs, epoch: int) -> float:
    """The part of the way from the initial weights that a side went too far: 0 if it is right."""
    top = bottom = 0.0
    for name, w in first.exact[epoch].weights.items():
        way = np.asarray(w, np.float64) - first.plan.initial_weights[name]
        top += float(((np.asarray(got[name], np.float64) - w) * way).sum())
        bottom += float((way * way).sum())
    return top / bottom if bottom else 0.0


def is_off(got: Tensors, first: FirstEpochs, epoch: int) -> bool:
    """Whether weights after an epoch are not those of an honest run."""
    return not _off(got, first, epoch) <= 1


def _off(got: Tensors, first: FirstEpochs, epoch: int) -> float:
    """How far off weights after an epoch are, as a share of what an honest run may be."""
    honest = abs(share(first.honest[epoch].weights, first, epoch))
    along = abs(share(got, first, epoch)) / (SHARE_LIMIT + 10 * honest)
    away = distance(got, first, epoch) / drift.LIMIT
    return along if along > away else away  # NaN in either is off


def margin(records: Sequence[EpochRecord], first: FirstEpochs) -> float | None:
    """The furthest that the first epochs' weights are off, as a share of what an honest run may."""
    return max((_off(r.weights, first, r.epoch) for r in records[: first.epochs]), default=None)


def fit_breaks(records: Sequence[EpochRecord], first: FirstEpochs, *, side: Side) -> list[Break]:
    """The first of the first epochs whose weights are off, with its cause."""
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
        f"weights after epoch {epoch} of fit are {size:.3g} times further from the exact ones than "
        f"an honest run's, though every judged step is clean",
    )
    place = Place(epoch=epoch, tensor="weights")
    return Break(side=side, rung="trajectory", place=place, size=size, cause=cause)


def _with_order(first: FirstEpochs, epoch: int, positions: Ids) -> FirstEpochs:
    """Both runs with another order in one epoch."""

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
    """Both runs anew, up to a step: how far an honest one may be away depends on the way."""
    exact = run_reference(plan, first.data, before=[last + 1], order=order).states
    honest = _honest(plan, first.data, before=[last + 1], order=order).states
    return replace(
        first,
        exact={**first.exact, epoch: exact[last + 1]},
        honest={**first.honest, epoch: honest[last + 1]},
    )


def _other_rate(record: EpochRecord, first: FirstEpochs) -> Cause | None:
    """Another learning rate that reproduces the epoch, by the secant method: how far training
    comes is not proportional to the rate, since gradients change on the way."""
    optimizer = first.plan.spec.optimizer
    if optimizer.schedule:
        return None
    before, slope, factor = share(record.weights, first, record.epoch), 1.0, 1.0
    for _ in range(RATE_GUESSES):
        guess = factor + before / slope
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
