"""What a model is fed, in a judged run and in a whole one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mnist_mlp.ports.batch_keys import BatchKeys
from mnist_mlp.ports.inputs import Inputs, arrays_of, count_of, each
from mnist_mlp.ports.padding import Padding
from mnist_mlp.reference import Array


@dataclass(frozen=True, eq=False)
class PairRows:
    """What a model is fed: rows `x` (m, ...) and targets `y` (m, ...), in the form that it takes.

    Several inputs, or several targets, are a tuple or dictionary of arrays; torch's loaders may
    give all of them in one `flat` tuple, or in a dictionary, by `keys`. `weights` (m,) are those of
    single rows, the third part of a batch. An epoch is these rows in
    their order, `batch_size` at a time; the last batch may be smaller. Where a side accumulates the
    gradients of several batches, `batch_size` are the rows of one update, which are cut into
    those. Of rows of different lengths, `padding` says how they are padded; `batch` cuts them.
    `flat_order` are the places of inputs and targets in a `flat` batch that has them mixed.
    `unlabelled` says how batches are given that have no targets (see `OwnData`); `y` is `x` then.
    """

    x: Inputs
    y: Inputs
    batch_size: int
    flat: bool = False
    keys: BatchKeys | None = None
    weights: Array | None = None
    padding: Padding | None = None
    flat_order: tuple[int, ...] = ()
    unlabelled: str = ""

    @property
    def count(self) -> int:
        """Rows of an epoch."""
        return count_of(self.y)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self.count // self.batch_size)

    def batches(self, parts: int = 1) -> list[list[int]]:
        """The rows of each batch that a model gets, where so many of them make one update."""
        found = []
        for start in range(0, self.count, self.batch_size):
            rows = range(start, min(start + self.batch_size, self.count))
            found += [part.tolist() for part in np.array_split(np.array(rows), parts)]
        return found

    def rows_of(self, step: int) -> range:
        """The rows of an update, from 0, in whatever epoch it is."""
        start = step % self.steps * self.batch_size
        return range(start, min(start + self.batch_size, self.count))

    def first(self, rows: int) -> PairRows:
        """The first so many rows."""
        return self.part(slice(rows))

    def part(self, rows: slice) -> PairRows:
        """Some of the rows."""
        x, y = (each(lambda a: a[rows], given) for given in (self.x, self.y))
        weights = None if self.weights is None else self.weights[rows]
        padding = None if self.padding is None else self.padding.of(rows)
        return replace(self, x=x, y=y, weights=weights, padding=padding)

    @property
    def by_batch(self) -> bool:
        """Whether batches are of different lengths."""
        return self.padding is not None and self.padding.by_batch

    @property
    def as_one(self) -> Inputs:
        """All rows, as one batch of them would be."""
        found: Inputs = self.batch(range(self.count)) if self.by_batch else self.x
        return found

    def batch(self, ids: Sequence[int], x: Any = None) -> Any:
        """The inputs of one batch, as long as its longest row; `x` may be them in another form."""
        chosen = list(ids)
        taken = each(lambda a: a[chosen], self.x if x is None else x)
        if self.padding is None or not self.padding.by_batch:
            return taken
        padding = self.padding.of(chosen)
        arrays = [
            padding.cut(a) if k in padding.parts else a for k, a in enumerate(arrays_of(taken))
        ]
        if isinstance(taken, Mapping):
            return dict(zip(sorted(taken), arrays, strict=True))
        return tuple(arrays) if isinstance(taken, tuple) else arrays[0]


@dataclass(frozen=True)
class RunLength:
    """How long the run is that a user means: its epochs, and the updates of each.

    It is `guessed` where neither side says so by its data and its epochs.
    """

    epochs: int
    steps: int
    guessed: bool = False


@dataclass(frozen=True, eq=False)
class WholeRun:
    """A training run as its user means it, of which nothing is set and nothing recorded.

    Parameters
    ----------
    epochs : int or None
        None where only the end of a user's own loop tells.
    steps : int or None
        Updates of an epoch, which a loop does not tell by itself.
    rows, held_out : PairRows or None
        Training and validation rows for a model that brings no data.
    """

    epochs: int | None
    steps: int | None = None
    rows: PairRows | None = None
    held_out: PairRows | None = None
