"""How a user's own code clips or scales gradients, told by what the optimizer took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mnist_mlp.ports.update_rules import Settings
from mnist_mlp.reference import Array, Tensors

SLACK = {"keras": 0.0, "torch": 1e-6}
"""What each framework's own clipping adds to a norm that it divides by."""

ALIKE = 1e-9
"""Relative difference of two ratios that are the same: each is of two rounded numbers."""


def clipping_of(
    gradients: Sequence[Tensors], applied: Sequence[Tensors], framework: str
) -> dict[str, Any]:
    """How a user's own code clipped, told by what the optimizer took; empty if it did not, or in
    no way that has a name."""
    if scaling_of(gradients, applied) is not None:
        return {}
    for given, taken in zip(gradients, applied, strict=True):
        names = [n for n in given if n in taken and taken[n].shape == given[n].shape]
        ratios = {n: _ratio(given[n], taken[n]) for n in names if np.any(given[n])}
        if not ratios or all(r is not None and abs(r - 1) <= ALIKE for r in ratios.values()):
            continue
        known = [r for r in ratios.values() if r is not None]
        if len(known) < len(ratios):
            at = max(float(np.abs(taken[n]).max()) for n in ratios)
            same = all(
                np.allclose(np.clip(given[n], -at, at), taken[n], rtol=ALIKE, atol=0)
                for n in ratios
            )
            return {"clip": "value", "clip_at": at} if same else {}
        if max(known) - min(known) <= ALIKE:
            norm, slack = _norm(given[n] for n in names), SLACK[framework]
            at = _norm(taken[n] for n in names) * (norm + slack) / norm
            return {"clip": "global", "clip_at": at, "clip_slack": slack}
        slack = SLACK[framework]
        limits = [
            _norm([taken[n]]) * (_norm([given[n]]) + slack) / _norm([given[n]])
            for n, ratio in ratios.items()
            if ratio is not None and abs(ratio - 1) > ALIKE
        ]
        return {"clip": "tensor", "clip_at": max(limits), "clip_slack": slack}
    return {}


def scaling_of(gradients: Sequence[Tensors], applied: Sequence[Tensors]) -> float | None:
    """The one number by which a user's own code multiplies the gradients of every step; no clipping
    has the same for all. None if it does not, or if there is one step only."""
    found = []
    for given, taken in zip(gradients, applied, strict=True):
        names = [n for n in given if n in taken and taken[n].shape == given[n].shape]
        found += [_ratio(given[n], taken[n]) for n in names if np.any(given[n])]
        if not names:
            return None
    known = [ratio for ratio in found if ratio is not None]
    same = bool(known) and len(known) == len(found) and max(known) - min(known) <= ALIKE
    return known[0] if same and len(gradients) > 1 and abs(known[0] - 1) > ALIKE else None


def _ratio(given: Array, taken: Array) -> float | None:
    """By what a tensor was multiplied; None if not all of it by one number."""
    ratio = float(np.vdot(taken, given) / np.vdot(given, given))
    apart = float(np.abs(taken - ratio * given).max())
    return ratio if apart <= ALIKE * float(np.abs(given).max()) else None


def _norm(arrays: Iterable[Array]) -> float:
    return float(np.sqrt(sum(float(np.vdot(g, g)) for g in arrays)))


def with_clipping(settings: Settings, measured: Mapping[str, Any]) -> Settings:
    """With clipping that no setting tells of."""
    return {**settings, **measured} if settings and not settings["clip"] else settings
