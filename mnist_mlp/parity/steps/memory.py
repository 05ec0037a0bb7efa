"""An optimizer's memory before a judged step: the shared one, or the side's own.

Where a side keeps its memory where the specification's can be set (torch's `momentum_buffer`,
Keras's variables), it is the shared one. A port with an optimizer of its own keeps it where nobody
can tell; then the memory is read off what the side did before: a velocity off its last move,
Adam's moments off its gradients since step 1. So each update is still judged from the stage before
it on the same side, and what a side remembers wrongly, it remembers for one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mnist_mlp.parity.steps.moment import Doubles, Moment, doubles
from mnist_mlp.reference import Array, clip_by_global_norm, update
from mnist_mlp.spec import OptimizerSpec


@dataclass(frozen=True, eq=False)
class Memory:
    """`slots` by name and tensor; `terms` that reading them off adds to the new weights' own."""

    slots: Mapping[str, Doubles]
    terms: Mapping[str, Array] = field(default_factory=dict)


def is_own(moment: Moment) -> bool:
    """Whether a side's memory is its own affair: none of it was found."""
    slots = moment.now.shared.slots
    return bool(slots) and not any(moment.now.record.state.slots.get(slot) for slot in slots)


def memory_of(optimizer: OptimizerSpec, moment: Moment) -> Memory | None:
    """What a step starts from; None where that cannot be known."""
    if moment.step <= 1 or not is_own(moment):
        return Memory(moment.slots)
    if optimizer.name == "adam":
        return _moments(optimizer, moment)
    return _velocity(optimizer, moment) if moment.before else None


def _velocity(optimizer: OptimizerSpec, moment: Moment) -> Memory:
    """A step is `lr * v`, Nesterov's `lr * (d + momentum * v)`: so the last one tells `v`."""
    last = moment.before[-1]
    rate, now = optimizer.rate_at(last.step), optimizer.rate_at(moment.step)
    old, new = doubles(last.shared.weights), doubles(last.record.state.weights)
    clipped = clip_by_global_norm(doubles(last.record.gradient), optimizer.clip_norm)
    velocity: Doubles = {}
    terms: Doubles = {}
    for name, w in old.items():
        moved = (w - new[name]) / rate
        if optimizer.nesterov:
            d = clipped[name] + optimizer.weight_decay * w
            moved = (moved - d) / optimizer.momentum
        velocity[name] = moved
        # The last move was rounded as the weights were, and comes back with the factor momentum;
        # Nesterov's enters the new step with that factor twice, but was divided by it first.
        terms[name] = now / rate * (np.abs(w) + np.abs(new[name]))
    return Memory({"velocity": velocity}, terms)


def _moments(optimizer: OptimizerSpec, moment: Moment) -> Memory | None:
    """From the side's own gradients, if all of them since step 1 were seen."""
    if [step.step for step in moment.before] != list(range(1, moment.step)):
        return None
    first = moment.before[0]
    slots = {slot: doubles(tensors) for slot, tensors in first.shared.slots.items()}
    for step in moment.before:
        _, slots = update(
            optimizer,
            weights=doubles(step.shared.weights),
            slots=slots,
            gradient=doubles(step.record.gradient),
            step=step.step,
        )
    return Memory(slots)
