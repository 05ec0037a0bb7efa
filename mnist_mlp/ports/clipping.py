"""Recognise a gradient that was clipped by a user's own code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mnist_mlp.reference import Array


def if_other(taken: Mapping[str, Array], left: Mapping[str, Array]) -> Mapping[str, Array]:
    """`taken`, or nothing where it is the same as what the backward pass left."""
    same = all(np.array_equal(g, left[name]) for name, g in taken.items() if name in left)
    return {} if same else taken


def shortened(taken: Mapping[str, Array], left: Mapping[str, Array]) -> bool:
    """Whether `taken`, the optimizer's gradient, may be a clipped `left`, the backward pass's.

    Clipping only shrinks components: none becomes larger, and none changes its sign.
    """
    # Clipping by norm multiplies by a rounded factor; 1e-6 allows for several float32 roundings.
    return all(
        bool(np.all((np.abs(taken[n]) <= np.abs(g) * (1 + 1e-6)) & (taken[n] * g >= 0)))
        for n, g in left.items()
        if n in taken
    )
