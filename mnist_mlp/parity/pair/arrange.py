"""The same numbers in the layouts of two frameworks: which axis is which."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from math import prod

import numpy as np

from mnist_mlp.reference import Array

MOST_AXES = 5
"""Of (rows, three axes of space, channels)."""

EQUAL = 1e-10
"""Relative difference of sums over equal numbers in float64, in another order."""

MOST_FEATURES = 8192

MOST_KEPT = 1024
"""Features of which each is held against each other, without and with dropout."""

MOST_WINDOWS = 4096
"""Windows of a layer's result that are looked at."""


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
    found = []
    if len(a) == len(b):
        found = [
            b.transpose(0, *(axis + 1 for axis in order))
            for order in layouts(b.shape[1:])
            if tuple(b.shape[1:][axis] for axis in order) == a.shape[1:]
        ]
    if b.ndim > 1 and a.shape == (b.shape[1], b.shape[0], *b.shape[2:]):
        found.append(b.swapaxes(0, 1))
    if not found and len(a) != len(b):
        return None
    if not found:
        squeezed_a, squeezed_b = _squeezed(a), _squeezed(b)
        if (squeezed_a.shape, squeezed_b.shape) == (a.shape, b.shape):
            return None
        inner = laid_like(squeezed_b, squeezed_a)
        return None if inner is None else inner.reshape(a.shape)
    return min(found, key=lambda each: _apart(each, a)) if len(found) > 1 else found[0]


def windows_like(b: Array, a: Array) -> tuple[Array, Array] | None:
    """The smaller of two arrays, and the window of the larger in which the numbers are nearest.

    `b` comes first, in the layout of `a`, rows first in both. One model may crop what a layer gives
    where the other's layer gives no more: the end of a causal convolution, the edge of a transposed
    one. None if neither can be a window of the other.
    """
    if b.ndim != a.ndim or len(b) != len(a) or b.ndim < 3:  # rows, space and channels
        return None
    found: list[tuple[float, int, tuple[Array, Array]]] = []
    for order in layouts(b.shape[1:]):
        laid = b.transpose(0, *(axis + 1 for axis in order))
        rest = [m - n for m, n in zip(laid.shape, a.shape, strict=True)]
        # The channels, which are the first axis of a row or the last, must be all there.
        if (rest[-1] and rest[1]) or not any(rest) or (min(rest) < 0 < max(rest)):
            continue
        large, small = (laid, a) if max(rest) > 0 else (a, laid)
        places = [range(abs(n) + 1) for n in rest]
        if prod(map(len, places)) > MOST_WINDOWS:
            continue
        for start in product(*places):
            cut = tuple(slice(i, i + n) for i, n in zip(start, small.shape, strict=True))
            pair = (large[cut], a) if large is laid else (laid, large[cut])
            found.append((_apart(*pair), len(found), pair))
    return min(found)[2] if found else None


def _squeezed(x: Array) -> Array:
    """Without axes of length 1: (n, c, 1, 1) holds what (n, c) does."""
    return x.reshape(len(x), *(n for n in x.shape[1:] if n != 1))


def _apart(b: Array, a: Array) -> float:
    return float(np.abs(b - a).sum())


def steps_like(x: Array, y: Array) -> tuple[Array, Array] | None:
    """Rows (n, features) and the nearest step of rows (n, steps, features), in the order in which
    they are given; None where the shapes are others."""
    if x.ndim < y.ndim:
        found = steps_like(y, x)
        return found and found[::-1]
    if x.ndim != 3 or y.ndim != 2 or (x.shape[0], x.shape[2]) != y.shape or not x.size:
        return None
    apart = np.abs(x - y[:, None]).max(axis=(0, 2))
    return x[:, int(np.argmin(apart))], y


def axis_of(x: Array, channels: int) -> int | None:
    """Where a batch has its channels: first after the rows, or last; None if both may be."""
    axes = {axis % x.ndim for axis in (1, -1) if x.ndim > 1 and x.shape[axis] == channels}
    return axes.pop() if len(axes) == 1 else None


def feature_order(got: Array, expected: Array, axes: tuple[int, int]) -> Array | None:
    """Positions in `expected` of the features of `got`, whose axes are `axes` of expected and got;
    None if they are not the same ones."""
    x, y = (
        np.moveaxis(side, axis, -1).reshape(-1, side.shape[axis])
        for side, axis in zip((expected, got), axes, strict=True)
    )
    if x.shape != y.shape or x.shape[1] > MOST_FEATURES:
        return None
    alike = np.ones((x.shape[1], x.shape[1]), bool)
    for power in (1, 2, 3):  # the same sums in whatever order the other axes stand
        ours, theirs = (x**power).sum(axis=0), (y**power).sum(axis=0)
        alike &= np.abs(theirs[:, None] - ours) <= EQUAL * np.abs(ours).max()
    return _one_to_one(alike)


def kept_order(got: Array, expected: Array) -> Array | None:
    """The same of features (n, m) of which some numbers are zero in either, as dropout leaves them:
    those that are not are equal."""
    if got.shape != expected.shape or got.ndim != 2 or got.shape[1] > MOST_KEPT:
        return None
    both = (got[:, :, None] != 0) & (expected[:, None, :] != 0)
    apart = np.abs(got[:, :, None] - expected[:, None, :])
    near = apart <= EQUAL * np.abs(expected).max()
    return _one_to_one((near | ~both).all(axis=0))


def _one_to_one(alike: Array) -> Array | None:
    """For each feature one that it is like, bool (n, n); none is taken twice.

    Of features that are alike, as those of units that are never active, any may be any other: those
    next to each other stay so.
    """
    n = len(alike)
    order, free = [-1] * n, np.ones(n, bool)

    def take(j: int, k: int) -> None:
        if order[j] < 0 and 0 <= k < n and free[k] and alike[j, k]:
            order[j], free[k] = k, False

    for j in range(n):
        if alike[j].sum() == 1:
            take(j, int(alike[j].argmax()))
    for j in range(1, n):
        take(j, order[j - 1] + 1 if order[j - 1] >= 0 else -1)
    for j in reversed(range(n - 1)):
        take(j, order[j + 1] - 1)
    for j in range(n):
        take(j, int((alike[j] & free).argmax()))
    return None if free.any() else np.array(order)


def flattened_by_channels(shape: tuple[int, ...]) -> Array:
    """Positions, in features flattened as (space, channels), of those flattened as (channels,
    space); `shape` is (*space, channels)."""
    places = np.arange(prod(shape)).reshape(shape)
    return np.moveaxis(places, -1, 0).ravel()
