"""Training steps whose L2 penalties are taken for the weight decay that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mnist_mlp.ports.pair import Mend, PairStep
from mnist_mlp.reference import Tensors

Penalties = Mapping[str, float]
"""The factor of `sum(w**2)` in the loss, by tensor, in a side's own names."""


def without(steps: Sequence[PairStep], penalties: Penalties) -> tuple[PairStep, ...]:
    """Steps whose penalties are a decay."""
    return tuple(_without(step, penalties) for step in steps)


def _without(step: PairStep, penalties: Penalties) -> PairStep:
    acting = {name: c for name, c in penalties.items() if name in step.before}
    paid = sum(c * float(np.sum(step.before[name] ** 2)) for name, c in acting.items())
    optimizer = dict(step.optimizer)
    gradients, applied = (
        {n: g - 2 * acting[n] * step.before[n] if n in acting else g for n, g in found.items()}
        for found in (step.gradients, step.applied)
    )
    for name, settings in step.optimizer.items():
        decay = 2 * acting.get(name, 0.0)
        optimizer[name] = {**settings, "weight_decay": decay, "decoupled": False}
    return replace(
        step, loss=step.loss - paid, gradients=gradients, applied=applied, optimizer=optimizer
    )


def with_penalties(gradients: Tensors, weights: Tensors, penalties: Penalties) -> Tensors:
    """Gradients that have the penalties in them."""
    return {
        name: g + 2 * penalties[name] * weights[name] if name in penalties else g
        for name, g in gradients.items()
    }


def change_decay(mends: Sequence[Mend]) -> bool:
    """Whether an experiment has another decay, which then takes the place of the penalties."""
    return any(mend.layer is None and mend.field in ("weight_decay", "decoupled") for mend in mends)
