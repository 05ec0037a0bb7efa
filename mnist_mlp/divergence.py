"""Where a training run that ended in NaN or infinity went wrong, and runs that nearly did.

A framework reports an epoch at a time, and by then NaN is everywhere. So the NumPy reference makes
the same run again, in the same precision, and the first number that is not finite is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import log

import numpy as np

from mnist_mlp import reference
from mnist_mlp.contract import State, TrainingData
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import DivergedError
from mnist_mlp.parity.steps.sampling import place
from mnist_mlp.parity.steps.trajectory import batch_of, run_reference
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.reference import Array
from mnist_mlp.run.folder import HistoryRow
from mnist_mlp.spec import Spec

EXPLODED = 100.0
"""A loss this many times that of a uniform guess is no loss of a network that learns: its logits
are hundreds apart, and most of them wrong."""


@contextmanager
def telling_where(spec: Spec, dataset: Dataset | Callable[[], Dataset]) -> Iterator[None]:
    """Add epoch, step and tensor to a `DivergedError` of a training run."""
    try:
        yield
    except DivergedError as error:
        rows = dataset() if callable(dataset) else dataset
        plan = make_plan(spec, rows)
        error.args = (f"{error}\n{where(plan, training_data(plan, rows))}",)
        raise


def where(plan: Plan, data: TrainingData) -> str:
    """The first number that is not finite when the reference makes the run, in words."""
    dtype = plan.spec.training.precision
    end = plan.steps_per_epoch * plan.spec.training.epochs + 1
    with np.errstate(all="ignore"):
        losses = run_reference(plan, data, before=[end], dtype=dtype).epochs
        wrong = np.flatnonzero(~np.isfinite(np.concatenate([epoch.losses for epoch in losses])))
        # The loss may be the first to go, or the first to show what the update before it did.
        last = int(wrong[0]) + 1 if wrong.size else end - 1
        steps = range(max(last - 1, 1), last + 1)
        states = run_reference(plan, data, before=[*steps, end], dtype=dtype).states
        for step in steps:
            tensor = next(_not_finite(plan, data, states[step], step), "")
            if tensor:
                epoch, _ = place(plan, step)
                return (
                    f"first at step {step} (epoch {epoch}), in {tensor}, as NumPy repeats the run"
                )
        x = reference.scale_pixels(data.test_images, dtype=dtype)
        final = reference.forward(states[end].weights, plan.spec.model.activations, x)
        if _strange(final.logits):
            return "first in the logits of the test rows, as NumPy repeats the run"
    return "NumPy makes the same run without NaN or infinity: look for a fault of the backend"


def _not_finite(plan: Plan, data: TrainingData, state: State, step: int) -> Iterator[str]:
    """Tensors of a step that are not finite, in the order in which they are computed."""
    dtype = plan.spec.training.precision
    images, labels = batch_of(plan, data, step)
    x = reference.scale_pixels(images, dtype=dtype)
    passed = reference.forward(state.weights, plan.spec.model.activations, x)
    for layer, z in enumerate(passed.pre_activations):
        if _strange(z):
            yield f"the output of layer {layer}"
    if _strange(reference.sample_losses(passed.logits, labels)):
        yield "the loss"
    gradient = reference.backward(state.weights, x, labels, passed)
    yield from (f"the gradient of {name}" for name, g in gradient.items() if _strange(g))
    weights, _ = reference.update(
        plan.spec.optimizer,
        weights=state.weights,
        slots=state.slots or reference.initial_slots(plan.spec.optimizer, state.weights),
        gradient=gradient,
        step=step,
    )
    yield from (f"{name} after the update" for name, w in weights.items() if _strange(w))


def _strange(array: Array) -> bool:
    return not np.isfinite(array).all()


def exploded(history: Sequence[HistoryRow], *, classes: int) -> str:
    """What to say of a run that stayed finite and learned nothing, its loss being absurd; or ""."""
    if not history:
        return ""
    first, last = history[0], history[-1]
    guess = log(classes)
    if not max(last.loss, last.val_loss) > EXPLODED * guess:
        return ""
    return (
        f"the loss is {last.loss:.3g} after epoch {last.epoch} ({first.loss:.3g} after epoch "
        f"{first.epoch}), where guessing costs {guess:.2f}: lower optimizer.learning_rate"
    )
