"""Rows of different lengths: texts and series, and how each side makes those of a batch equally
long.

A row is (steps, ...). Steps that are padding hold one value in all of their numbers, and stand in
front of the others or behind them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.reference import Array

Lengths = NDArray[np.int64]

MOST_VALUES = 3
"""Values that are tried for the padding: those that most rows begin or end with."""


NEARLY = 2
"""Steps that lengths may be wrong by, and still be such."""


@dataclass(frozen=True, eq=False)
class Padding:
    """How a side pads its rows.

    Parameters
    ----------
    lengths : int64 (m,)
        Steps of each row that are no padding; at least 1.
    value : float
        What fills the others.
    in_front : bool
        Whether these come first.
    width : int
        Steps of a row with its padding; of the longest row where batches differ.
    by_batch : bool
        Whether each batch is padded to its own longest row.
    parts : tuple of int
        The places of what has these steps, among several inputs.
    """

    lengths: Lengths
    value: float
    in_front: bool
    width: int
    by_batch: bool
    parts: tuple[int, ...] = (0,)

    def of(self, rows: Any) -> Padding:
        """That of some of the rows."""
        return replace(self, lengths=self.lengths[rows])

    @property
    def steps(self) -> int:
        """Steps of a batch of these rows."""
        return int(self.lengths.max(initial=1)) if self.by_batch else self.width

    def cut(self, x: Array) -> Array:
        """Rows (m, width, ...) as one batch has them."""
        steps = self.steps
        return x[:, x.shape[1] - steps :] if self.in_front else x[:, :steps]

    @property
    def alike(self) -> tuple[int, bool]:
        """Two batches of the same rows stand at the same places if this is equal."""
        return self.steps, self.in_front

    @property
    def told(self) -> str:
        """In words."""
        where = "in front" if self.in_front else "at the end"
        to = "each batch to its own longest row" if self.by_batch else f"all to {self.width} steps"
        return f"{to}, {where}"


def padded_steps(x: Array, value: float, *, in_front: bool) -> Lengths:
    """How many steps of rows (n, steps, ...) are padding, from one end on; int64 (n,)."""
    if not x.size:
        return np.zeros(len(x), np.int64)
    here = (x.reshape(len(x), x.shape[1], -1) == value).all(axis=2)
    run = np.cumprod(here if in_front else here[:, ::-1], axis=1)
    return run.sum(axis=1).astype(np.int64)


def told_by(batches: Sequence[Array]) -> tuple[float, bool, int]:
    """The value that batches (n, steps, ...) are padded with, whether in front, and for how many
    steps that speaks; 0 where nothing does.

    What every row of a batch begins or ends with is no padding, as the marks of a text's start and
    end are none: the longest row of a batch has none.
    """
    best = (0.0, False, 0)
    for in_front in (False, True):
        edges = [_edges(x, in_front=in_front) for x in batches if x.size]
        if not edges:
            return best
        values, counts = np.unique(np.concatenate(edges), return_counts=True)
        for value in values[np.argsort(-counts, kind="stable")][:MOST_VALUES]:
            runs = [padded_steps(x, value, in_front=in_front) for x in batches if x.size]
            score = sum(int((run - run.min()).sum()) for run in runs)
            if score > best[2]:
                best = float(value), in_front, score
    return best


def _edges(x: Array, *, in_front: bool) -> Array:
    """The first or last steps of rows, those of which all numbers are one."""
    steps = x.reshape(len(x), x.shape[1], -1)[:, 0 if in_front else -1]
    return steps[(steps == steps[:, :1]).all(axis=1), 0].astype(np.float64)


def lengths_of(x: Array, value: float, *, in_front: bool) -> Lengths:
    """Steps of rows (n, steps, ...) that are no padding, int64 (n,), at least 1."""
    return np.maximum(x.shape[1] - padded_steps(x, value, in_front=in_front), 1)


def places(lengths: Lengths, steps: int, width: int, *, in_front: bool) -> tuple[Array, Array]:
    """Where the first `steps` steps of rows stand among `width`, int64 (n, steps), and which of
    them there are, bool (n, steps)."""
    begin = width - lengths if in_front else np.zeros_like(lengths)
    at = np.arange(steps)[None] + begin[:, None]
    return np.clip(at, 0, max(width - 1, 0)), np.arange(steps)[None] < lengths[:, None]


def unpadded(
    x: Array, lengths: Lengths, *, in_front: bool, steps: int | None = None, fill: float = 0
) -> Array:
    """Rows (n, width, ...) as (n, steps, ...), each beginning at its first step that is no padding;
    `fill` is behind it. By default, there are as many steps as the longest row has."""
    steps = int(lengths.max(initial=1)) if steps is None else steps
    at, there = places(lengths, steps, x.shape[1], in_front=in_front)
    rest = (1,) * (x.ndim - 2)
    taken = np.take_along_axis(x, at.reshape(*at.shape, *rest), axis=1)
    made: Array = np.where(there.reshape(*there.shape, *rest), taken, np.asarray(fill, x.dtype))
    return made


def padded(x: Array, padding: Padding, *, fill: float | None = None) -> Array:
    """What `unpadded` gave (n, steps, ...), padded as a side does it, (n, width, ...)."""
    made = np.full(
        (len(x), padding.width, *x.shape[2:]), padding.value if fill is None else fill, x.dtype
    )
    steps = min(x.shape[1], padding.width)
    at, there = places(padding.lengths, steps, padding.width, in_front=padding.in_front)
    rows = np.broadcast_to(np.arange(len(x))[:, None], at.shape)
    made[rows[there], at[there]] = x[:, :steps][there]
    return made


def lengths_behind(parts: Sequence[Array]) -> bool:
    """Whether a flat batch ends with the lengths of its rows, and has the targets before them."""
    return _are_lengths(parts[-1], parts[:-1]) and not _are_lengths(parts[-2], parts[:-2])


def _are_lengths(of: Array, among: Sequence[Array]) -> bool:
    """Whether whole numbers (n,) say how many steps of some rows (n, steps, ...) are no padding, or
    nearly so."""
    if of.ndim != 1 or of.dtype.kind not in "iu" or not len(of):
        return False
    for x in among:
        if x.ndim < 2 or len(x) != len(of):
            continue
        value, in_front, score = told_by([x])
        if score and np.abs(lengths_of(x, value, in_front=in_front) - of).max() <= NEARLY:
            return True
    return False


# --- Numbers of two sides, step by step -----------------------------------------------------------


def without_padding(
    a: Array, b: Array, of_a: Padding, of_b: Padding, *, backwards: bool = False
) -> Iterator[tuple[Array, Array]]:
    """What two layers have of the same rows, (n, steps, ...) without padding, for all axes that may
    be the steps; nothing where none may.

    Rows come first, or, in torch, behind the steps. What goes `backwards` through its rows has what
    stands behind them in front.
    """
    for x in _by_steps(a, of_a.steps, len(of_a.lengths)):
        for y in _by_steps(b, of_b.steps, len(of_b.lengths)):
            if sorted(x.shape[2:]) == sorted(y.shape[2:]):
                yield (
                    unpadded(x, of_a.lengths, in_front=of_a.in_front != backwards),
                    unpadded(y, of_b.lengths, in_front=of_b.in_front != backwards),
                )


def _by_steps(x: Array, steps: int, rows: int) -> Iterator[Array]:
    for axis in range(1, x.ndim):
        if x.shape[axis] == steps and len(x) == rows:
            yield np.moveaxis(x, axis, 1)
    if x.ndim > 1 and x.shape[:2] == (steps, rows):
        yield x.swapaxes(0, 1)


def moved(
    keep: Array, of_a: Padding, of_b: Padding, *, fill: float, steps_first: bool = True
) -> Array:
    """Random numbers that side a drew for each step, (n, steps, ...), for the steps of side b;
    others as they are. Padding gets `fill`.

    Where two axes are as long as the steps, it is the first one if `steps_first`, else unknown.
    """
    axes = [axis for axis in range(1, keep.ndim) if keep.shape[axis] == of_a.steps]
    known = len(axes) == 1 or (axes and steps_first)
    if of_a.alike == of_b.alike or keep.ndim < 3 or not known or len(keep) != len(of_a.lengths):
        return keep
    bare = unpadded(np.moveaxis(keep, axes[0], 1), of_a.lengths, in_front=of_a.in_front)
    wide = replace(of_b, width=of_b.steps)
    return np.moveaxis(padded(bare, wide, fill=fill), 1, axes[0])
