"""Collect the counts of a port's epoch, batch by batch: losses, rows, correct predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.evaluate import confusion_matrix
from mnist_mlp.ports.protocol import PortEpoch
from mnist_mlp.reference import Array, sample_losses


class _Pass:
    """One pass over a data set: mean loss, number of rows and correct predictions of each batch."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._batches: list[tuple[float, float, int, int]] = []
        self.confusion = np.zeros((classes, classes), np.int64)

    def add(self, loss: float | None, labels: Array, logits: Array, outputs: Array) -> None:
        predicted = outputs.argmax(axis=1)
        # In float64: the reported metrics are judged by these values, so they must be more exact.
        entropy = float(sample_losses(np.asarray(logits, np.float64), labels).mean())
        correct = int((predicted == labels).sum())
        self._batches.append((entropy if loss is None else loss, entropy, len(labels), correct))
        self.confusion += confusion_matrix(labels, predicted, classes=self.classes)

    @property
    def columns(
        self,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Losses, cross-entropies, rows and correct predictions, each (batches,)."""
        table = np.array(self._batches, np.float64).reshape(-1, 4)
        return table[:, 0], table[:, 1], table[:, 2].astype(np.int64), table[:, 3].astype(np.int64)


class EpochCounts:
    """Collects the values of a `PortEpoch`, batch by batch."""

    def __init__(self, *, classes: int) -> None:
        self.classes = classes
        self._train, self._validation, self._batches = _Pass(classes), _Pass(classes), 0

    def batch(self) -> None:
        """Count a training batch that begins."""
        self._batches += 1

    def train(
        self, loss: float | None, labels: Array, logits: Array, outputs: Array | None = None
    ) -> None:
        """Add one training batch.

        `loss` is its mean loss (None: the cross-entropy of its logits). `labels` are (n,), `logits`
        (n, classes). `outputs` are the network's own outputs, if these are not the logits.
        """
        self._train.add(loss, labels, logits, logits if outputs is None else outputs)

    def restart_validation(self) -> None:
        """Start a new validation pass. Only the last pass of an epoch counts."""
        self._validation = _Pass(self.classes)

    def validation(
        self, loss: float | None, labels: Array, logits: Array, outputs: Array | None = None
    ) -> None:
        """Add one validation batch; arguments as for `train`."""
        self._validation.add(loss, labels, logits, logits if outputs is None else outputs)

    def finish(self, epoch: int, reported: dict[str, float]) -> PortEpoch:
        """Return the record of the epoch, and start a new one."""
        losses, entropies, rows, correct = self._train.columns
        val_losses, val_entropies, val_rows, val_correct = self._validation.columns
        record = PortEpoch(
            epoch=epoch,
            reported=reported,
            losses=losses,
            cross_entropies=entropies,
            rows=rows,
            correct=correct,
            confusion=self._train.confusion,
            batches=self._batches,
            val_losses=val_losses,
            val_cross_entropies=val_entropies,
            val_rows=val_rows,
            val_correct=val_correct,
            val_confusion=self._validation.confusion,
        )
        self._train, self._validation = _Pass(self.classes), _Pass(self.classes)
        self._batches = 0
        return record
