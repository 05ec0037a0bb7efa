"""Rows whose batches are padded to different lengths, each once, without their padding."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.padding import Padding, lengths_of, padded, told_by, unpadded
from mnist_mlp.reference import Array

ONE_LENGTH = "pad all of them to one length, and not each batch by itself"
"""What to do where batches are of lengths that cannot be judged."""


class RaggedRows:
    """Numbers rows in the order in which they come; rows that differ in padding only are equal.

    Parameters
    ----------
    batches : sequence of (part, ...)
        Batches that have come already, each the arrays (n, ...) of one input or several. What they
        are padded with is told by these.
    """

    def __init__(self, batches: Sequence[Sequence[Array]]) -> None:
        shapes = [tuple(part.shape[1:] for part in batch) for batch in batches]
        first = shapes[0]
        self.parts = tuple(k for k in range(len(first)) if len({s[k] for s in shapes}) > 1)
        for each in shapes:
            self._refuse_other(first, each)
        # A mask that goes with the rows tells less of them.
        kinds = [len(np.unique(np.concatenate([b[k].ravel() for b in batches])))
                 for k in self.parts]  # fmt: skip
        self.main = self.parts[int(np.argmax(kinds))]
        self.value, self.in_front, _ = told_by([batch[self.main] for batch in batches])
        self._first = first
        self._numbers: dict[bytes, int] = {}
        self._rows: list[tuple[Array, ...]] = []
        self._lengths: list[int] = []
        self.width = 0
        for batch in batches:
            self.add(batch)

    def _refuse_other(
        self, first: Sequence[tuple[int, ...]], here: Sequence[tuple[int, ...]]
    ) -> None:
        widths = {here[k][:1] for k in self.parts}
        same = all(a[1:] == b[1:] and len(a) == len(b) for a, b in zip(first, here, strict=True))
        if len(widths) != 1 or not same or () in widths:
            raise UsageError(
                "the data have batches whose rows are of different lengths, in several inputs or "
                f"in other axes than the first: {ONE_LENGTH}"
            )

    def add(self, batch: Sequence[Array]) -> NDArray[np.int64]:
        """Add rows, and return their numbers, int64 (n,).

        Raises
        ------
        UsageError
            They differ in more than the number of their steps.
        """
        shapes = [part.shape[1:] for part in batch]
        other = [k for k, s in enumerate(shapes) if s != self._first[k] and k not in self.parts]
        if other:
            raise UsageError(
                f"the data have batches whose rows are of different lengths in more than one "
                f"input: {ONE_LENGTH}"
            )
        self._refuse_other(self._first, shapes)
        main = batch[self.main]
        self.width = max(self.width, main.shape[1])
        lengths = lengths_of(main, self.value, in_front=self.in_front)
        bare = [
            unpadded(part, lengths, in_front=self.in_front) if k in self.parts else part
            for k, part in enumerate(batch)
        ]
        numbers = np.empty(len(main), np.int64)
        for at, length in enumerate(lengths):
            row = tuple(
                np.array(part[at][:length] if k in self.parts else part[at])
                for k, part in enumerate(bare)
            )
            key = blake2b(b"".join(part.tobytes() for part in row), digest_size=16)
            key.update(int(length).to_bytes(8, "little"))
            number = self._numbers.setdefault(key.digest(), len(self._rows))
            if number == len(self._rows):
                self._rows.append(row)
                self._lengths.append(int(length))
            numbers[at] = number
        return numbers

    def padding(self) -> Padding:
        """How they were padded."""
        lengths = np.array(self._lengths, np.int64)
        return Padding(
            lengths, self.value, self.in_front, self.width, by_batch=True, parts=self.parts
        )

    def tables(self) -> list[Array]:
        """Each part of all rows, (m, ...); with padding to one length where it has steps."""
        padding = self.padding()
        found = []
        for k in range(len(self._first)):
            rows = [row[k] for row in self._rows]
            if k not in self.parts:
                found.append(np.stack(rows))
                continue
            steps = np.zeros((len(rows), self.width, *rows[0].shape[1:]), rows[0].dtype)
            for into, row in zip(steps, rows, strict=True):
                into[: len(row)] = row
            fill = None if k == self.main else 0
            found.append(padded(steps, padding, fill=fill))
        return found
