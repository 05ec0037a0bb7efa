"""The fast path: one `training_step` hook makes many training steps.

For a network this small, Lightning's work around a step (fetching and collating a batch, hooks,
progress, metrics) takes longer than the step. On the fast path the images stay on the device
as uint8, and the loaders give only row numbers. One "batch" of Lightning is a series of batches.
The hook gathers the rows of each batch and makes the steps itself ("manual optimization" in
Lightning). Everything else is used as in any Lightning program: module, data module, `Trainer.fit`
and callbacks. The optimizers and the automatic differentiation (`traced`, on a GPU also `captured`)
are torch's.

Lightning counts series as batches, and does not call its hooks around a backward pass or an
optimizer's step. `trainer.global_step` still counts the updates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil

import lightning as L  # noqa: N812
import torch
from torch import Tensor
from torch.nn import functional

from mnist_mlp.contract import Array, Plan, Spec, TrainingData, steps_per_call
from mnist_mlp_torch.captured import CapturedSteps, can_capture
from mnist_mlp_torch.data import VALIDATION_BATCH
from mnist_mlp_torch.module import Perceptron
from mnist_mlp_torch.traced import TracedGradient, trace_forward


class ResidentRows:
    """Images uint8 (n, inputs) and labels int64 (n,) on the device."""

    def __init__(self, images: Array, labels: Array, *, device: torch.device) -> None:
        self.images = torch.from_numpy(images).to(device)
        self.labels = torch.from_numpy(labels).to(device).long()

    def batch(self, positions: Tensor, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Pixels (len(positions), inputs) in [0, 1], and labels.

        `index_select` copies whole rows; `images[positions]` would take ten times as long.
        """
        greys = self.images.index_select(0, positions)
        return greys.to(dtype).div_(255), self.labels.index_select(0, positions)


class Series:
    """A loader that cuts the int64 positions of `order` into pieces of `length`."""

    def __init__(self, order: Callable[[], Tensor], *, rows: int, length: int) -> None:
        self.order = order
        self.rows = rows
        self.length = length

    def __len__(self) -> int:
        return ceil(self.rows / self.length)

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.order().split(self.length)


class ResidentData(L.LightningDataModule):
    """Holds all rows on the device; its loaders give the order in which to visit them."""

    train_rows: ResidentRows
    val_rows: ResidentRows

    def __init__(self, plan: Plan, data: TrainingData, *, done: int) -> None:
        super().__init__()
        self.plan = plan
        self.data = data
        self.done = done

    def setup(self, stage: str) -> None:
        """Copy the rows to the trainer's device."""
        del stage
        data, device = self.data, self.trainer.strategy.root_device
        self.train_rows = ResidentRows(data.train_images, data.train_labels, device=device)
        self.val_rows = ResidentRows(data.test_images, data.test_labels, device=device)

    def epoch(self) -> int:
        """Number of the current epoch in the whole run, from 1; `done` were trained before."""
        return self.done + int(self.trainer.current_epoch) + 1

    def train_dataloader(self) -> Series:
        """The series of the trainer's current epoch."""
        length = steps_per_call(self.plan) * self.plan.spec.training.batch_size
        return Series(self._order, rows=len(self.data.train_labels), length=length)

    def val_dataloader(self) -> Series:
        """All test rows as one piece."""
        n = len(self.data.test_labels)
        return Series(lambda: torch.arange(n), rows=n, length=n)

    def _order(self) -> Tensor:
        return torch.from_numpy(self.plan.order(self.epoch()))


class FastPerceptron(Perceptron):
    """A `Perceptron` whose hooks each take a series of batches."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.automatic_optimization = False
        self.captured: CapturedSteps | None = None
        self.traced: TracedGradient | None = None
        self.traced_forward: Callable[[Tensor], Tensor] | None = None
        self.capture_failed: Callable[[str], None] = lambda _: None

    def on_fit_start(self) -> None:
        """Drop what an earlier fit made, since it belongs to another optimizer or device."""
        self.captured = self.traced = self.traced_forward = None

    def training_step(self, positions: Tensor, batch_index: int) -> None:
        """Train on the batches of a series, one after another."""
        del batch_index
        data, size = self.trainer.datamodule, self.spec.training.batch_size
        whole = len(positions) - len(positions) % size if can_capture(self) else 0
        if whole:
            if self.captured is None:
                most = steps_per_call(data.plan)
                self.captured = CapturedSteps(
                    self,
                    data.train_rows,
                    batch_size=size,
                    most=most,
                    failed=self.capture_failed,
                )
            logits, losses = self.captured.run(positions[:whole])
            self._count(positions[:whole], logits, losses)
        if whole < len(positions):
            self._train_on(positions[whole:], data.train_rows)

    def _train_on(self, positions: Tensor, rows: ResidentRows) -> None:
        # Without Lightning's wrapper, which takes longer than the update itself.
        optimizer = self.optimizers(use_pl_optimizer=False)
        dtype = self.layers[0].weight.dtype
        outputs = []
        for batch in positions.split(self.spec.training.batch_size):
            self.set_rate(optimizer)
            outputs.append(self.step(optimizer, *rows.batch(batch, dtype=dtype)))
            self.count_step()
        logits, losses = zip(*outputs, strict=True)
        self._count(positions, torch.cat(logits), torch.stack(losses))

    def step(self, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Train one step; returns logits (n, classes) and loss of the batch before the update."""
        logits, loss = self._gradient(x, y)
        self.clip_gradients_exactly()
        optimizer.step()
        return logits, loss

    def _gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if len(x) == self.spec.training.batch_size:
            if self.traced is None:
                self.traced = TracedGradient(self, x, y)
            return self.traced(x, y)
        self.zero_grad()  # the smaller last batch comes once an epoch, so tracing does not pay
        logits = self(x)
        loss = functional.cross_entropy(logits, y)
        loss.backward()
        return logits.detach(), loss.detach()

    def _count(self, positions: Tensor, logits: Tensor, losses: Tensor) -> None:
        """Add a series to the training metrics of the epoch."""
        size = self.spec.training.batch_size
        rows = torch.full((len(losses),), size, device=losses.device)
        rows[-1] = len(positions) - size * (len(losses) - 1)
        self.train_loss.update(losses, rows=rows)
        labels = self.trainer.datamodule.train_rows.labels
        self.train_accuracy.update(logits, labels.index_select(0, positions))

    def count_step(self) -> None:
        """Count an update in Lightning's progress, since its optimizer wrapper was not used."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()

    def validation_step(self, positions: Tensor, batch_index: int) -> None:
        """Add the test rows to the validation metrics."""
        del batch_index
        rows, dtype = self.trainer.datamodule.val_rows, self.layers[0].weight.dtype
        for batch in positions.split(VALIDATION_BATCH):
            x, y = rows.batch(batch, dtype=dtype)
            self.count_validated(self._logits(x), y)

    def _logits(self, x: Tensor) -> Tensor:
        if len(x) < VALIDATION_BATCH:
            return self(x)
        if self.traced_forward is None:
            self.traced_forward = trace_forward(self, x)
        return self.traced_forward(x)

    def on_train_batch_start(self, batch: Tensor, batch_index: int) -> None:
        """Do nothing: the learning rate is set for each step of a series, not for the series."""
