"""Batches that a training loop makes itself, recorded while it runs for a few of its epochs.

An epoch ends in front of a batch all of whose rows have come before. Batches of texts may be padded
to different lengths: rows are then compared without their padding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from mnist_mlp.ports.padding import lengths_of, told_by, unpadded
from mnist_mlp.reference import Array

EPOCHS = 3
LEAST = 2
"""Epochs of which the order in each can be told; with fewer, the data are not known."""

LONGEST_S = 10.0
"""Time for running the loop itself."""


class Recording:
    """The batches of a loop's first epochs; iterated once for each of them, as a loader is."""

    def __init__(self) -> None:
        self.epochs: list[list[Any]] = []
        self.whole = False
        """Whether the last of them is known to be whole."""
        self._rows: set[bytes] = set()
        self._given: list[Array] = []
        """What the batches of the last epoch were made of."""
        self._padding: tuple[float, bool] | None = None
        self._start: float | None = None
        self._next = 0

    def add(self, x: Array, batch: Any) -> bool:
        """One more batch, of the rows `x` (n, ...); whether it is enough, or took too long.

        The time begins with the first batch: what a script does before is no part of its loop.
        """
        self._start = self._start or time.perf_counter()
        if self._padding is None and any(x.shape[1:] != other.shape[1:] for other in self._given):
            self._padding = told_by([*self._given, x])[:2]
            self._rows = {row for other in self._given for row in self._contents(other)}
        rows = self._contents(x)
        if self._rows.issuperset(rows) or not self.epochs:  # data may have a row twice
            if len(self.epochs) == EPOCHS:
                self.whole = True
                return True
            self.epochs.append([])
            self._rows.clear()
            self._given.clear()
        self._rows |= set(rows)
        self._given.append(x)
        self.epochs[-1].append(batch)
        return time.perf_counter() - self._start > LONGEST_S

    def _contents(self, x: Array) -> list[bytes]:
        """What each row holds, without padding where batches are of different lengths."""
        if self._padding is None or x.ndim < 2:
            return [row.tobytes() for row in x]
        value, in_front = self._padding
        lengths = lengths_of(x, value, in_front=in_front)
        bare = unpadded(x, lengths, in_front=in_front)
        return [row[:n].tobytes() for row, n in zip(bare, lengths.tolist(), strict=True)]

    def close(self, *, ended: bool) -> None:
        """No batch comes any more; `ended` says that the loop has come to its end."""
        if not (ended or self.whole):
            self.epochs.pop()

    @property
    def known(self) -> bool:
        """Whether there are enough epochs to compare."""
        return len(self.epochs) >= LEAST

    def __iter__(self) -> Iterator[Any]:
        self._next += 1
        return iter(self.epochs[(self._next - 1) % len(self.epochs)])

    def __len__(self) -> int:
        return len(self.epochs[0])
