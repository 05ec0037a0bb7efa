"""The original's rows, moved by less than rounding so that both models get the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from mnist_mlp.parity.check.pair_pixels import PIXELS
from mnist_mlp.parity.pair.arrange import laid_like
from mnist_mlp.parity.pair.judge import LIMITS
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.ports.pair import PairStep
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.reference import Array

MOST_PADS = 8
"""Rows and columns of padding that are looked for."""

AFFINE = 1e-9
"""How far from scaled by a constant numbers may be, as a share of their range, in float64."""


def as_the_port_sees(rows: PairRows, run: PairRun, own: Sequence[PairStep]) -> Array | None:
    """The original's rows (m, ...), moved so that its first layer gets the port's numbers.

    The two may scale the same rows at different places: one before float32, the other in the model
    or in its loop. Here, in float64, they then differ by float32's rounding. None where they don't
    differ, or by more, or where the original's model does more to its rows than to scale them.
    """
    if not isinstance(rows.x, np.ndarray) or not run.weights.pairs:  # several inputs, or no layer
        return None
    pair, ours, theirs = run.weights.pairs[0], [], []
    for a, b in zip(run.steps_a[: rows.steps], own, strict=False):
        got = b.inputs.get(pair.b.number)
        ours.append(a.inputs[pair.a.number])
        laid = None if got is None else laid_like(got, ours[-1])
        if laid is None:
            return None
        theirs.append(laid)
    if len({x.shape[1:] for x in ours}) > 1:  # batches of different lengths
        return None
    got_a, got_b = np.concatenate(ours), np.concatenate(theirs)
    inner = _within_zeros(got_a, rows.x.shape)
    if inner is not None:
        got_a, got_b = got_a[inner], got_b[inner]
    apart = float(np.abs(got_b - got_a).max()) / float(np.ptp(got_a) or 1.0)
    if rows.x.size != got_a.size or not LIMITS["forward"] < apart <= PIXELS:
        return None
    return moved_rows(rows.x, got_a, got_b)


def _within_zeros(x: Array, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """Where rows of a smaller shape stand in what pads them with zeros; None if they don't."""
    rest = [m - n for m, n in zip(x.shape, shape, strict=False)]
    if x.ndim != len(shape) or min(rest) < 0 or not 0 < max(rest) <= MOST_PADS:
        return None
    for start in product(*(range(n + 1) for n in rest)):
        inner = tuple(slice(i, i + n) for i, n in zip(start, shape, strict=True))
        if np.count_nonzero(x[inner]) == np.count_nonzero(x):
            return inner
    return None


def moved_rows(x: Array, made: Array, wanted: Array) -> Array | None:
    """Rows of which a model makes `wanted`, where it makes `made` of `x` by scaling each number.

    None if it does more than that.
    """
    before, after, aim = (each.reshape(len(x), -1) for each in (x, made, wanted))
    from_x, from_made = before - before.mean(axis=0), after - after.mean(axis=0)
    spread = (from_x**2).sum(axis=0)
    same = spread == 0  # a feature that is the same in all rows
    slope = (from_x * from_made).sum(axis=0) / np.where(same, 1.0, spread)
    stuck = (slope == 0) & np.any(after != aim, axis=0)
    if stuck.any() or np.abs(from_made - slope * from_x).max() > AFFINE * np.ptp(made):
        return None
    moved: Array = before + (aim - after) / np.where(slope == 0, 1.0, slope)
    return moved.reshape(x.shape)
