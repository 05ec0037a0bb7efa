"""How far weights are from the reference's, where steps in between were not judged.

How far an honest run may be away by then is not guessed: the NumPy reference makes the same run in
the precision of the specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mnist_mlp.plan import Plan, stream
from mnist_mlp.reference import Array, Tensors

LIMIT = 30.0
"""How many times further than the NumPy run (root mean square, worst tensor) a side may be."""

DOUBLE = 1e-10
"""Absolute: what two float64 runs of one algorithm may be apart in any case."""


def distance(got: Tensors, exact: Tensors, honest: Tensors, *, precision: str) -> float:
    """How many times further from the exact weights than the honest run, worst tensor; infinite
    where weights are not finite."""
    floor = 0.25 * float(np.finfo(precision).eps)
    least = DOUBLE / LIMIT if precision == "float64" else 1e-300
    ratios = []
    for name, w in exact.items():
        scale = max(rms(honest[name] - w), floor * rms(w), least)
        ratios.append(rms(np.asarray(got[name], np.float64) - w) / scale)
    return max(ratios) if np.isfinite(ratios).all() else np.inf


def rms(array: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.asarray(array, np.float64) ** 2)))


def one_ulp_away(plan: Plan, *, draw: int) -> Plan:
    """The plan with every initial weight moved to one of its two neighbours, drawn by `draw`."""
    moved: dict[str, Any] = {}
    for number, (name, tensor) in enumerate(sorted(plan.initial_weights.items())):
        up = stream(plan.spec.seed, 2, draw, number).integers(0, 2, tensor.shape).astype(bool)
        target = np.where(up, np.inf, -np.inf).astype(tensor.dtype)
        moved[name] = np.nextafter(tensor, target)
    return replace(plan, initial_weights=moved)


def largest_gap(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    """Largest absolute difference of two sets of tensors."""
    return max(float(np.abs(a[n].astype(np.float64) - b[n]).max()) for n in a)
