"""Collect the rows that a user's code gives, each once, and what stands beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b
from math import prod

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.inputs import Inputs, Part, apart, arrays_of, side_by_side
from mnist_mlp.ports.padding import Padding
from mnist_mlp.ports.protocol import OwnPass, Rows
from mnist_mlp.ports.ragged import ONE_LENGTH, RaggedRows
from mnist_mlp.reference import Array

Positions = NDArray[np.int64]

MOST_LEVELS = 256
"""Most distinct values of compressed rows, because a uint8 index has 256 values."""


class RowTable:
    """Numbers rows in the order in which they come; equal rows get the same number.

    With `ragged`, batches may be padded to different lengths (`padding` then says how); rows that
    differ in that only are equal.
    """

    def __init__(self, *, ragged: bool = False) -> None:
        self.shape: tuple[int, ...] = ()
        self._numbers: dict[bytes, int] = {}
        self._parts: list[Array] = []
        self._may_differ = ragged
        self._shapes: list[tuple[int, ...]] = []
        self._types: list[str] = []
        self._ragged: RaggedRows | None = None

    def add(self, given: Inputs) -> Positions:
        """Add rows (n, ...), of several inputs beside each other, and return their numbers, int64
        (n,).

        Raises
        ------
        UsageError
            The rows have another length than the rows before.
        """
        parts = [np.asarray(part) for part in arrays_of(given)]
        shapes = [part.shape[1:] for part in parts]
        if self._ragged is None and self._parts and shapes != self._shapes:
            self._begin_ragged(parts)
        if self._ragged is not None:
            return self._ragged.add(parts)
        x = np.asarray(side_by_side(given))
        rows = np.ascontiguousarray(x.reshape(len(x), -1))
        if rows.dtype == bool:
            rows = rows.astype(np.uint8)
        if not self._parts:
            self.shape, self._shapes = x.shape[1:], shapes
            self._types = [str(part.dtype) for part in parts]
        numbers = np.empty(len(rows), np.int64)
        new = []
        for at, row in enumerate(rows):
            key = digest(row)  # the row itself as a key would be a second copy in memory
            if key not in self._numbers:
                self._numbers[key] = len(self._numbers)
                new.append(at)
            numbers[at] = self._numbers[key]
        if new:
            self._parts.append(rows[new])
        return numbers

    def _begin_ragged(self, parts: Sequence[Array]) -> None:
        """Go on with rows of different lengths; those before keep their numbers."""
        widths = [sum(map(prod, (part.shape[1:] for part in parts))), self._parts[0].shape[1]]
        alike = len(parts) == len(self._shapes) and all(
            len(part.shape[1:]) == len(shape)
            for part, shape in zip(parts, self._shapes, strict=False)
        )
        if not self._may_differ or not alike:
            raise UsageError(
                f"a batch of the data has rows of {widths[0]} values, but the rows before had "
                f"{widths[1]}: all rows must have the same length. If they are texts "
                f"or series, {ONE_LENGTH}"
            )
        known = [
            Part("", shape, kind) for shape, kind in zip(self._shapes, self._types, strict=True)
        ]
        before = [list(arrays_of(apart(table, known))) for table in self._parts]
        self._ragged = RaggedRows([*before, parts])
        self._parts = self._parts[:1]

    @property
    def padding(self) -> Padding | None:
        """How batches of different lengths were padded."""
        return None if self._ragged is None else self._ragged.padding()

    def parts(self, given: Sequence[Part]) -> tuple[Part, ...]:
        """The parts of a first batch, of several inputs, as long as the longest."""
        if self._ragged is None:
            return tuple(given)
        tables = self._ragged.tables() if given else ()
        return tuple(
            replace(part, shape=table.shape[1:]) for part, table in zip(given, tables, strict=True)
        )

    def rows(self) -> Rows:
        """All rows, compressed."""
        if self._ragged is None:
            return packed(self._parts)
        tables = self._ragged.tables()
        self.shape = tables[0].shape[1:]
        return packed([np.concatenate([t.reshape(len(t), -1) for t in tables], axis=1)])


def digest(row: Array) -> bytes:
    """A key for what a row holds."""
    return blake2b(row.data, digest_size=16).digest()


def packed(parts: Sequence[Array]) -> Rows:
    """Join parts (n, inputs); if there are at most `MOST_LEVELS` values, as indices into them."""
    if not parts:
        return Rows(np.zeros((0, 0)))
    if parts[0].dtype == np.uint8:
        return Rows(np.concatenate(parts))
    levels = np.unique(parts[0])
    for part in parts:
        if len(levels) > MOST_LEVELS:
            return Rows(np.concatenate(parts))
        known = levels[np.searchsorted(levels, part).clip(max=len(levels) - 1)] == part
        if not known.all():
            levels = np.union1d(levels, part[~known])
    if len(levels) > MOST_LEVELS:
        return Rows(np.concatenate(parts))
    codes = [np.searchsorted(levels, part).astype(np.uint8) for part in parts]
    return Rows(np.concatenate(codes), levels)


def targets_of(labels: Array) -> Array:
    """Classes, int64 (n,), of integer or one-hot labels; other labels as float64 (n, k)."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1:
        classes = labels.argmax(axis=1)
        if np.array_equal(labels, np.eye(labels.shape[1])[classes]):
            return classes.astype(np.int64)
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] <= 1 and np.array_equal(flat, np.round(flat)):
        return flat.ravel().astype(np.int64)
    return flat.astype(np.float64)


def side_by_side_targets(targets: Sequence[Array]) -> tuple[Array, tuple[int, ...]]:
    """Several targets in one table, float64 (n, k), and how many columns each has there."""
    made = [targets_of(each).astype(np.float64).reshape(len(each), -1) for each in targets]
    return np.concatenate(made, axis=1), tuple(each.shape[1] for each in made)


def read_pass(batches: Iterable[tuple[Inputs, Inputs, Array | None]], table: RowTable) -> OwnPass:
    """Read batches of inputs, labels and optional sample weights; the pass may be empty.

    Raises
    ------
    UsageError
        Batches have rows, or targets, of different lengths that cannot be judged.
    """
    ids, targets, weights = [], [], []
    several = False
    for x, y, w in batches:
        ids.append(table.add(x))
        several = not isinstance(y, np.ndarray)
        targets.append([np.asarray(part) for part in arrays_of(y)])
        counts = {part.shape[:1] for part in targets[-1]} - {(len(ids[-1]),)}
        if counts:
            raise UsageError(
                f"a batch of the data has {len(ids[-1])} rows, and targets of shape "
                f"{targets[-1][0].shape}. If the steps of its texts come first, as pad_sequence "
                f"has them by default, let the rows come first (batch_first=True)"
            )
        weights.append(np.ones(len(ids[-1])) if w is None else np.ravel(w).astype(np.float64))
    if not ids:
        return OwnPass((), np.zeros(0, np.int64))
    together = np.concatenate(weights)
    for several_of_one in zip(*targets, strict=True):
        if len({part.shape[1:] for part in several_of_one}) > 1:
            raise UsageError(
                "the data have targets of different lengths, one for each step of a text or "
                f"series: {ONE_LENGTH}"
            )
    parts = [np.concatenate(part) for part in zip(*targets, strict=True)]
    read, widths = side_by_side_targets(parts) if several else (targets_of(parts[0]), ())
    return OwnPass(
        tuple(ids),
        read,
        together if np.ptp(together) else None,  # equal weights do not change the mean
        widths,
    )
