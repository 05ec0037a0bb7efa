"""The plan's batches as a port gets them: `(x, y)`, x in [0, 1], y int64; or both by their keys."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mnist_mlp.contract import Array
from mnist_mlp.ports.batch_keys import BatchKeys

EVALUATION_BATCH = 2048
"""Where nothing is made of single batches."""


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """Images (n, inputs) and labels (n,), uint8 until a row or a batch is asked for; with `keys`, a
    batch is a dictionary."""

    def __init__(
        self,
        images: Array,
        labels: Array,
        *,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        keys: BatchKeys | None = None,
    ) -> None:
        self.images = torch.from_numpy(images)
        self.labels = torch.from_numpy(labels)
        self.shape = shape
        self.dtype = dtype
        self.keys = keys

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__([position])
        return x[0], y[0]

    def __getitems__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        """A whole batch."""
        index = torch.as_tensor(positions)
        x = self.images[index].to(self.dtype).div_(255).view(len(index), *self.shape)
        return x, self.labels[index].long()

    def collated(self, batch: tuple[Tensor, Tensor]) -> Any:
        """A whole batch, of which nothing is left to collate, in the form that the port takes."""
        return batch if self.keys is None else self.keys.batch(*batch)


class _Batches(Sampler[list[int]]):
    def __init__(self, batches: Callable[[], list[Array]], count: int) -> None:
        self.batches = batches
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        for positions in self.batches():
            yield positions.tolist()


class Feed:
    """Loaders over some rows; `batches` gives the positions of each batch of an epoch (from 1)."""

    def __init__(
        self,
        rows: Rows,
        validation_rows: Rows,
        batches: Callable[[int], list[Array]],
        *,
        steps_per_epoch: int,
        batch_size: int,
    ) -> None:
        self.batch_size = batch_size
        self.rows, self.validation_rows = rows, validation_rows
        self.batches = functools.lru_cache(maxsize=2)(batches)
        self.steps_per_epoch = steps_per_epoch

    def batch(self, epoch: int, number: int) -> Array:
        """Positions of a batch, counted from 0 within its epoch."""
        return self.batches(epoch)[number]

    def training(self, epoch: Callable[[], int]) -> Any:
        """Batches of the epoch that is told when iteration begins.

        Lightning asks for one iterator more than there are epochs, so calls cannot be counted.
        """
        sampler = _Batches(lambda: self.batches(epoch()), self.steps_per_epoch)
        return DataLoader(self.rows, batch_sampler=sampler, collate_fn=self.rows.collated)

    def validation(self) -> Any:
        """The validation rows as they stand."""
        return loader_in_order(self.validation_rows, batch_size=self.batch_size)


def loader_in_order(rows: Rows, *, batch_size: int = EVALUATION_BATCH) -> Any:
    """Rows as they stand."""
    return DataLoader(rows, batch_size=batch_size, collate_fn=rows.collated)


def inputs_only(rows: Rows) -> Any:
    """Rows as they stand, without labels."""
    return DataLoader(rows, batch_size=EVALUATION_BATCH, collate_fn=_first)


def _first(batch: tuple[Tensor, Tensor]) -> Tensor:
    return batch[0]
