"""Telling a gradient that a user's own lines clipped."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mnist_mlp.reference import Array


def shortened(taken: Mapping[str, Array], left: Mapping[str, Array]) -> bool:
    """Whether a gradient was clipped by a user's own lines: nowhere longer, nowhere turned."""
    return all(
        bool(np.all((np.abs(taken[n]) <= np.abs(g) * (1 + 1e-6)) & (taken[n] * g >= 0)))
        for n, g in left.items()
        if n in taken
    )
