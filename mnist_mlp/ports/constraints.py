"""Constraints on weights, which change them after every update, in one convention.

Tensors are in canonical layout, which is Keras's; so is the axis of a norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_mlp.reference import Array

NORMS = ("max_norm", "unit_norm", "min_max_norm")

NAMES = {
    "max_norm": "MaxNorm",
    "unit_norm": "UnitNorm",
    "min_max_norm": "MinMaxNorm",
    "non_neg": "NonNeg",
}
"""Kinds whose rule is written down here, with Keras's names."""


@dataclass(frozen=True)
class Constraint:
    """What is done to a tensor after its update; a `kind` that is not in `NAMES` is only known to
    do something.

    Weights are scaled to a norm between `low` and `high`, of which `rate` says how much of the way.
    Keras adds `epsilon` to the norm that it divides by. With `renorm`, a norm within the limit
    stays as it is, as in `torch.renorm`; in Keras it is multiplied by norm / (norm + epsilon).
    """

    kind: str
    axis: tuple[int, ...] = (0,)
    low: float = 0.0
    high: float = 1.0
    rate: float = 1.0
    epsilon: float = 1e-7
    renorm: bool = False

    @property
    def known(self) -> bool:
        """Whether its rule is."""
        return self.kind in NAMES

    def __str__(self) -> str:
        name = NAMES.get(self.kind, self.kind)
        if self.kind not in NORMS:
            return name
        axis = self.axis[0] if len(self.axis) == 1 else list(self.axis)
        said = [f"axis {axis}"]
        if self.kind == "max_norm":
            said = [f"{self.high:.6g}", *said]
        elif self.kind == "min_max_norm":
            said = [f"{self.low:.6g}", f"{self.high:.6g}", *said]
            said += [f"rate {self.rate:.6g}"] if self.rate != 1 else []
        return f"{name}({', '.join(said)})"


def constrained(w: Array, by: Constraint) -> Array:
    """Weights after a constraint whose kind is known."""
    if by.kind == "non_neg":
        return np.maximum(w, 0.0)
    norms = np.sqrt(np.sum(np.square(w), axis=by.axis, keepdims=True))
    wanted = {
        "max_norm": np.clip(norms, 0.0, by.high),
        "unit_norm": np.ones_like(norms),
        "min_max_norm": by.rate * np.clip(norms, by.low, by.high) + (1 - by.rate) * norms,
    }[by.kind]
    factor = wanted / (by.epsilon + norms)
    if by.renorm:
        factor = np.where(norms > by.high, factor, 1.0)
    made: Array = w * factor
    return made
