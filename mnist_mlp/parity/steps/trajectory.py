"""The training run of the reference, and the states from which both sides start their steps."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_mlp import reference
from mnist_mlp.contract import State, TrainingData
from mnist_mlp.plan import Ids, Plan
from mnist_mlp.reference import Array


@dataclass(frozen=True, eq=False)
class Batches:
    """Mean loss, rows and correct predictions of each batch of an epoch, before its update."""

    losses: NDArray[np.float64]
    rows: NDArray[np.int64]
    correct: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A reference run.

    `states` maps each requested step to the state before it, in the precision of the specification.
    `epochs` holds the batches of each epoch that was completed.
    """

    states: dict[int, State] = field(default_factory=dict)
    epochs: list[Batches] = field(default_factory=list)


def batch_of(plan: Plan, data: TrainingData, step: int) -> tuple[Array, Array]:
    """Images uint8 (n, inputs) and labels (n,) of a step; steps count from 1."""
    epoch, position = divmod(step - 1, plan.steps_per_epoch)
    size = plan.spec.training.batch_size
    rows = plan.order(epoch + 1)[position * size : (position + 1) * size]
    return data.train_images[rows], data.train_labels[rows]


def one_blas_thread() -> AbstractContextManager[object]:
    """Context in which NumPy computes matrix products on one thread.

    On a busy machine its threads wait actively for each other and compete with other processes.
    The same work then takes ten times as long.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def run_reference(
    plan: Plan,
    data: TrainingData,
    *,
    before: Collection[int],
    dtype: Any = np.float64,
    start: State | None = None,
    order: Callable[[int], Ids] | None = None,
) -> Trajectory:
    """Train the reference up to the last requested step; keep the states before these steps.

    Parameters
    ----------
    before : steps, counted from 1
        The number after the last step requests the final state.
    dtype : NumPy dtype
        Arithmetic of the run, float64 for the arbiter. The states always have the precision of the
        specification.
    start : State, optional
        State to start from, after a whole number of epochs; by default the initial weights.
    order : callable, optional
        Returns the positions of the rows for an epoch, in place of the plan's order.
    """
    result = Trajectory()
    state = start or State(0, plan.initial_weights)
    weights = {name: w.astype(dtype) for name, w in state.weights.items()}
    slots = {
        slot: {name: t.astype(dtype) for name, t in tensors.items()}
        for slot, tensors in state.slots.items()
    } or reference.initial_slots(plan.spec.optimizer, weights)
    wanted, last, step = set(before), max(before, default=0), state.step
    size = plan.spec.training.batch_size
    # The caller reports a run that diverges, so NumPy's warnings are turned off.
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        for epoch in range(step // plan.steps_per_epoch + 1, plan.spec.training.epochs + 2):
            seen: list[tuple[float, int, int]] = []
            positions = (order or plan.order)(epoch)
            for start_row in range(0, len(positions), size):
                step += 1
                if step in wanted:
                    now = State(step - 1, weights, slots)
                    result.states[step] = rounded(now, plan.spec.training.precision)
                if step >= last:
                    return result
                rows = positions[start_row : start_row + size]
                labels = data.train_labels[rows]
                x = reference.scale_pixels(data.train_images[rows], dtype=dtype)
                passed = reference.forward(weights, plan.spec.model.activations, x)
                losses = reference.sample_losses(passed.logits, labels)
                right = int((passed.logits.argmax(axis=1) == labels).sum())
                seen.append((float(losses.mean()), len(labels), right))
                gradient = reference.backward(weights, x, labels, passed)
                weights, slots = reference.update(
                    plan.spec.optimizer, weights=weights, slots=slots, gradient=gradient, step=step
                )
            loss, rows_seen, correct = zip(*seen, strict=True)
            result.epochs.append(Batches(np.array(loss), np.array(rows_seen), np.array(correct)))
    return result


def rounded(state: State, precision: str) -> State:
    """The same state, rounded to a precision."""
    return State(
        step=state.step,
        weights={name: w.astype(precision) for name, w in state.weights.items()},
        slots={
            slot: {name: t.astype(precision) for name, t in tensors.items()}
            for slot, tensors in state.slots.items()
        },
    )
