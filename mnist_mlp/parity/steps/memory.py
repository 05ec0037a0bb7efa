"""The optimizer's state ("memory") before a judged step: the shared one, or the side's own.

If the state of a side can be set (torch's `momentum_buffer`, Keras's variables), it is set to the
shared one. A port with an optimizer of its own keeps its state in an unknown place. Then the state
is computed from what the side did before: the velocity from its last step, Adam's moments from all
gradients since step 1. So each update is still judged from the stage before it on the same side,
and a wrong state affects one step only.
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
    """`slots` by name and tensor. `terms` is the rounding error of computing them from weights."""

    slots: Mapping[str, Doubles]
    terms: Mapping[str, Array] = field(default_factory=dict)


def is_own(moment: Moment) -> bool:
    """Whether a side keeps its optimizer state in an unknown place: none of its slots was found."""
    slots = moment.now.shared.slots
    return bool(slots) and not any(moment.now.record.state.slots.get(slot) for slot in slots)


def memory_of(optimizer: OptimizerSpec, moment: Moment) -> Memory | None:
    """The optimizer's state before a step; None if it cannot be known."""
    if moment.step <= 1 or not is_own(moment):
        return Memory(moment.slots)
    if optimizer.name == "adam":
        return _moments(optimizer, moment)
    return _velocity(optimizer, moment) if moment.before else None


def _velocity(optimizer: OptimizerSpec, moment: Moment) -> Memory:
    """The velocity, computed from the last step.

    That step was `lr * v`; with Nesterov it was `lr * (d + momentum * v)`.
    """
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
        # The last move has the rounding error of the weights, and enters the new step multiplied
        # by momentum (at most 1). With Nesterov it is multiplied twice, but was divided once.
        terms[name] = now / rate * (np.abs(w) + np.abs(new[name]))
    return Memory({"velocity": velocity}, terms)


def _moments(optimizer: OptimizerSpec, moment: Moment) -> Memory | None:
    """Adam's moments, from the side's own gradients; None unless all steps since 1 were judged."""
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
