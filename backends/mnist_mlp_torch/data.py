"""The plan's batches as a `LightningDataModule`."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L  # noqa: N812
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mnist_mlp.contract import Array, Plan, TrainingData

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
        index = torch.as_tensor(positions)
        return self.images[index].to(self.dtype).div(255), self.labels[index].long()


class PlannedBatches(Sampler[list[int]]):
    """The batches of each epoch, from the plan.

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
            yield positions.tolist()


class PlannedData(L.LightningDataModule):
    """Training batches from the plan, and validation on the test rows in their order."""

    def __init__(self, plan: Plan, data: TrainingData, *, done: int) -> None:
        super().__init__()
        self.plan = plan
        self.done = done
        dtype = getattr(torch, plan.spec.training.precision)
        self.train_rows = Rows(data.train_images, data.train_labels, dtype=dtype)
        self.val_rows = Rows(data.test_images, data.test_labels, dtype=dtype)

    def epoch(self) -> int:
        """Number of the current epoch in the whole run, from 1; `done` were trained before."""
        return self.done + int(self.trainer.current_epoch) + 1

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of one epoch."""
        batches = PlannedBatches(self.plan, self)
        return DataLoader(self.train_rows, batch_sampler=batches, collate_fn=_as_it_is)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """All test rows."""
        return DataLoader(self.val_rows, batch_size=VALIDATION_BATCH, collate_fn=_as_it_is)


def _as_it_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch
