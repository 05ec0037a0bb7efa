"""Find where a run that ended in NaN or infinity went wrong, and notice runs that nearly did.

A framework reports once per epoch, and by then NaN has spread to every tensor. So the NumPy
reference repeats the run in the same precision and finds the first value that is not finite.
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
from mnist_mlp.parity.steps.trajectory import ReferenceRun, batch_of
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.reference import Array
from mnist_mlp.run.history import HistoryRow
from mnist_mlp.spec import Spec

EXPLODED = 100.0
"""A loss more than this many times the loss of a uniform guess counts as exploded. Such a network
does not learn: its logits are hundreds apart, and most predictions are wrong."""


@contextmanager
def telling_where(spec: Spec, dataset: Dataset | Callable[[], Dataset]) -> Iterator[None]:
    """Add epoch, step and tensor to a `DivergedError` that is raised in the block."""
    try:
        yield
    except DivergedError as error:
        rows = dataset() if callable(dataset) else dataset
        plan = make_plan(spec, rows)
        error.args = (f"{error}\n{where(plan, training_data(plan, rows))}",)
        raise


def where(plan: Plan, data: TrainingData) -> str:
    """Repeat the run in NumPy and say where its first value that is not finite is."""
    dtype = plan.spec.training.precision
    epochs = plan.spec.training.epochs
    end = plan.steps_per_epoch * epochs + 1
    run = ReferenceRun(plan, data, dtype=dtype)
    with np.errstate(all="ignore"):
        losses = run.epochs(epochs)
        wrong = np.flatnonzero(~np.isfinite(np.concatenate([epoch.losses for epoch in losses])))
        # The first bad loss comes from its own step or from the update of the step before. If no
        # loss is bad, only the last update can be.
        last = int(wrong[0]) + 1 if wrong.size else end - 1
        steps = range(max(last - 1, 1), last + 1)
        states = run.states([*steps, end])
        for step in steps:
            tensor = next(_not_finite(plan, data, states[step], step), "")
            if tensor:
                epoch, _ = place(plan, step)
                return (
                    f"NumPy repeated the run: the first value that is not finite is at step {step} "
                    f"(epoch {epoch}), in {tensor}"
                )
        x = reference.scale_pixels(data.test_images, dtype=dtype)
        final = reference.forward(states[end].weights, plan.spec.model.activations, x)
        if _strange(final.logits):
            return (
                "NumPy repeated the run: the first value that is not finite is in the logits of "
                "the test rows"
            )
    return "NumPy repeated the run without NaN or infinity: the fault is probably in the backend"


def _not_finite(plan: Plan, data: TrainingData, state: State, step: int) -> Iterator[str]:
    """Names of the tensors of a step that are not finite, in the order of computation."""
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
    """A warning about a run whose loss is finite but absurdly large; "" if it is not."""
    if not history:
        return ""
    first, last = history[0], history[-1]
    guess = log(classes)
    if not max(last.loss, last.val_loss) > EXPLODED * guess:
        return ""
    return (
        f"the loss is {last.loss:.3g} after epoch {last.epoch} ({first.loss:.3g} after epoch "
        f"{first.epoch}), far above the {guess:.2f} of a uniform guess: "
        f"lower optimizer.learning_rate"
    )
