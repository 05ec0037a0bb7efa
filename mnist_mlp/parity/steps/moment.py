"""A judged step together with the steps of the same side just before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnist_mlp.parity.findings import JudgedStep
from mnist_mlp.reference import Array, Tensors

Doubles = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Moment:
    """A judged step and the steps of the same side before it in its window, oldest first."""

    now: JudgedStep
    before: Sequence[JudgedStep] = ()

    @property
    def weights(self) -> Doubles:
        """The shared weights in float64."""
        return doubles(self.now.shared.weights)

    @property
    def slots(self) -> dict[str, Doubles]:
        """The shared optimizer state in float64."""
        return {slot: doubles(tensors) for slot, tensors in self.now.shared.slots.items()}

    @property
    def gradient(self) -> Doubles:
        """The side's own gradient in float64."""
        return doubles(self.now.record.gradient)

    @property
    def step(self) -> int:
        """The step's number, from 1."""
        return self.now.step


def doubles(tensors: Tensors) -> Doubles:
    """Copies in float64."""
    return {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}
