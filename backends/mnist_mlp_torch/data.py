"""The plan's batches as a `LightningDataModule`."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L  # noqa: N812
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mnist_mlp.contract import Array, Plan, TrainingData, share

# Large, since validation needs no small batches: fewer calls, and little memory.
VALIDATION_BATCH = 2048


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels, stored as uint8 and converted batch by batch."""

    def __init__(self, images: Array, labels: Array, *, dtype: torch.dtype) -> None:
        self.images = torch.from_numpy(images)
        self.labels = torch.from_numpy(labels)
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        return self.images[position].to(self.dtype).div(255), self.labels[position].long()

    def __getitems__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        """A whole batch: pixels (n, inputs) in [0, 1] and labels int64 (n,)."""
        index = torch.as_tensor(positions, dtype=torch.int64)  # there may be none
        return self.images[index].to(self.dtype).div(255), self.labels[index].long()


class PlannedBatches(Sampler[list[int]]):
    """The batches of each epoch, from the plan; of several ranks, each takes its share of them.

    The number of the epoch comes from the data module. Counting the calls would be wrong: Lightning
    requests one iterator more than there are epochs, which would shift every epoch by one.
    """

    def __init__(self, plan: Plan, module: PlannedData) -> None:
        self.plan = plan
        self.module = module

    def __len__(self) -> int:
        return self.plan.steps_per_epoch

    def __iter__(self) -> Iterator[list[int]]:
        for positions in self.plan.batches(self.module.epoch()):
            yield self.module.share(positions).tolist()


class OwnTestRows(Sampler[list[int]]):
    """The test rows in their order, in large batches; of several ranks, each takes its share.

    There is at least one batch, even if it is empty: Lightning would leave out a rank without one.
    """

    def __init__(self, rows: int, module: PlannedData) -> None:
        self.rows = rows
        self.module = module

    def __len__(self) -> int:
        return len(self._starts())

    def __iter__(self) -> Iterator[list[int]]:
        own = self._own()
        for start in self._starts():
            yield own[start : start + VALIDATION_BATCH].tolist()

    def _own(self) -> Array:
        return self.module.share(np.arange(self.rows))

    def _starts(self) -> range:
        return range(0, max(len(self._own()), 1), VALIDATION_BATCH)


class PlannedData(L.LightningDataModule):
    """Training batches from the plan, and validation on the test rows in their order."""

    train_rows: Rows
    val_rows: Rows

    def __init__(self, plan: Plan, data: TrainingData, *, done: int) -> None:
        super().__init__()
        self.plan = plan
        self.data = data
        self.done = done

    def setup(self, stage: str) -> None:
        """Make tensors of the rows. Earlier, they could not be sent to another rank as they are."""
        del stage
        data, dtype = self.data, getattr(torch, self.plan.spec.training.precision)
        self.train_rows = Rows(data.train_images, data.train_labels, dtype=dtype)
        self.val_rows = Rows(data.test_images, data.test_labels, dtype=dtype)

    def epoch(self) -> int:
        """Number of the current epoch in the whole run, from 1; `done` were trained before."""
        return self.done + int(self.trainer.current_epoch) + 1

    def share(self, positions: Array) -> Array:
        """What this rank computes of some rows; with one device, all of them."""
        return share(positions, rank=self.trainer.global_rank, ranks=self.trainer.world_size)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of one epoch."""
        batches = PlannedBatches(self.plan, self)
        return DataLoader(self.train_rows, batch_sampler=batches, collate_fn=_as_it_is)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The test rows."""
        batches = OwnTestRows(len(self.data.test_labels), self)
        return DataLoader(self.val_rows, batch_sampler=batches, collate_fn=_as_it_is)


def _as_it_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch
