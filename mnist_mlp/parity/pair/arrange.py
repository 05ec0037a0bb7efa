"""The same numbers in the layouts of two frameworks: which axis is which."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from math import prod

import numpy as np

from mnist_mlp.reference import Array

MOST_AXES = 5
"""Of (rows, three axes of space, channels)."""


def layouts(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Orders of the axes of one row, the likeliest first: as it is, channels first or last."""
    n = len(shape)
    axes = tuple(range(n))
    likely = [axes, (n - 1, *axes[:-1]), (*axes[1:], 0)] if n else [axes]
    yield from dict.fromkeys([*likely, *permutations(axes)] if n < MOST_AXES else likely)


def laid_like(b: Array, a: Array) -> Array | None:
    """`b` in the layout of `a`, rows first in `a`; None if it cannot be.

    In sequences, `b` may have the steps first and the rows second. Of several layouts that fit the
    shape, the one is taken in which the numbers are nearest.
    """
    if b.size != a.size or not b.ndim or not a.ndim:
        return None
    if b.ndim > 1 and a.shape == (b.shape[1], b.shape[0], *b.shape[2:]):
        turned = b.swapaxes(0, 1)
        if a.shape != b.shape or _apart(turned, a) < _apart(b, a):
            return turned
    if len(a) != len(b):
        return None
    found = [
        b.transpose(0, *(axis + 1 for axis in order))
        for order in layouts(b.shape[1:])
        if tuple(b.shape[1:][axis] for axis in order) == a.shape[1:]
    ]
    if not found:
        squeezed_a, squeezed_b = _squeezed(a), _squeezed(b)
        if (squeezed_a.shape, squeezed_b.shape) == (a.shape, b.shape):
            return None
        inner = laid_like(squeezed_b, squeezed_a)
        return None if inner is None else inner.reshape(a.shape)
    return min(found, key=lambda each: _apart(each, a)) if len(found) > 1 else found[0]


def _squeezed(x: Array) -> Array:
    """Without axes of length 1: (n, c, 1, 1) holds what (n, c) does."""
    return x.reshape(len(x), *(n for n in x.shape[1:] if n != 1))


def _apart(b: Array, a: Array) -> float:
    return float(np.abs(b - a).sum())


def flattened_by_channels(shape: tuple[int, ...]) -> Array:
    """Positions, in features flattened as (space, channels), of those flattened as (channels,
    space); `shape` is (*space, channels)."""
    places = np.arange(prod(shape)).reshape(shape)
    return np.moveaxis(places, -1, 0).ravel()
