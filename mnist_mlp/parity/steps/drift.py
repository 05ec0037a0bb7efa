"""Distance of weights from those of the reference after steps that were not judged.

How far a correct run may be away by then is measured: the NumPy reference makes the same run in the
precision of the specification. That run is called `honest`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mnist_mlp.contract import TrainingData
from mnist_mlp.parity.steps.trajectory import ReferenceRun
from mnist_mlp.plan import Ids, Plan, stream
from mnist_mlp.reference import Array, Tensors

LIMIT = 30.0
"""A side may be this many times further away than the NumPy run (RMS, worst tensor)."""

DOUBLE = 1e-10
"""Absolute distance that two float64 runs of the same algorithm may always have."""


def distance(got: Tensors, exact: Tensors, honest: Tensors, *, precision: str) -> float:
    """Distance from the exact weights relative to that of the honest run; of the worst tensor.

    Infinite if a weight is not finite.
    """
    # The honest run may be equal to the exact one by luck, so a quarter of a rounding is the least
    # unit of distance.
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


def honest_run(
    plan: Plan, data: TrainingData, *, order: Callable[[int], Ids] | None = None
) -> ReferenceRun:
    """A correct run with other roundings. In float64 its initial weights are one ulp away."""
    precision = plan.spec.training.precision
    start = one_ulp_away(plan, draw=0) if precision == "float64" else plan
    return ReferenceRun(start, data, dtype=precision, order=order)


def one_ulp_away(plan: Plan, *, draw: int) -> Plan:
    """The plan with each initial weight moved by one ulp, up or down at random by `draw`."""
    moved: dict[str, Any] = {}
    for number, (name, tensor) in enumerate(sorted(plan.initial_weights.items())):
        up = stream(plan.spec.seed, 2, draw, number).integers(0, 2, tensor.shape).astype(bool)
        target = np.where(up, np.inf, -np.inf).astype(tensor.dtype)
        moved[name] = np.nextafter(tensor, target)
    return replace(plan, initial_weights=moved)


def largest_gap(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    """The largest absolute difference between two sets of tensors."""
    return max(float(np.abs(a[n].astype(np.float64) - b[n]).max()) for n in a)
