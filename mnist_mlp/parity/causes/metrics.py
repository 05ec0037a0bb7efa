"""The formula by which an epoch's reported number was computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.parity.findings import Cause

TOLERANCE = 2e-6
"""Relative error of a right number. A float32 mean over some hundred batches is off by up to 1e-6.
The closest wrong formula, an unweighted mean over batches, is off by 1e-5."""


@dataclass(frozen=True, eq=False)
class EpochMeasures:
    """The counts from which an epoch's numbers are computed: per batch, and per class.

    `confusion` (classes, classes) has true classes as rows; None where it was not counted.
    """

    losses: NDArray[np.float64]
    rows: NDArray[np.int64]
    correct: NDArray[np.int64]
    confusion: NDArray[np.int64] | None = None

    @property
    def loss(self) -> float:
        """Mean over rows."""
        return float((self.losses * self.rows).sum() / self.rows.sum())

    @property
    def accuracy(self) -> float:
        """Share of right predictions."""
        return float(self.correct.sum() / self.rows.sum())


def right(kind: str, counted: EpochMeasures) -> float:
    """The right value of a reported `loss` or `accuracy`."""
    return counted.loss if kind == "loss" else counted.accuracy


def close(reported: float, value: float, *, tolerance: float = TOLERANCE) -> bool:
    """Whether a reported number equals a value, up to the rounding of a float32 mean."""
    # At least 1e-3, so that a loss or an accuracy near 0 is not compared to the last digit.
    return bool(abs(reported - value) <= tolerance * max(abs(value), 1e-3))


def formulas(kind: str, counted: EpochMeasures) -> Iterator[tuple[Cause, float]]:
    """Wrong formulas that people use, each with its result."""
    if kind == "loss":
        yield Cause("unweighted_epoch_mean", "mean over batches"), float(counted.losses.mean())
        yield Cause("last_step_logged", "value of the last batch"), float(counted.losses[-1])
        yield Cause("first_step_logged", "value of the first batch"), float(counted.losses[0])
        yield Cause("epoch_sum", "sum over batches"), float(counted.losses.sum())
        total = float((counted.losses * counted.rows).sum())
        yield Cause("epoch_sum", "sum over rows"), total
        yield Cause("bits", "base-2 logarithm"), counted.loss / float(np.log(2))
        yield Cause("perplexity", "exponential of the loss"), float(np.exp(min(counted.loss, 50)))
        return
    batch = counted.correct / counted.rows
    if counted.confusion is not None:
        support = counted.confusion.sum(axis=1)
        present = support > 0
        recall = np.diag(counted.confusion)[present] / support[present]
        yield Cause("macro_accuracy", "mean of the classes' recalls"), float(recall.mean())
        every = float(recall.sum() / len(support))
        yield Cause("macro_accuracy", "mean over all classes, absent ones counted as 0"), every
    yield Cause("mean_of_batch_accuracies", "mean over batches"), float(batch.mean())
    yield Cause("last_step_logged", "value of the last batch"), float(batch[-1])
    yield Cause("first_step_logged", "value of the first batch"), float(batch[0])
    yield Cause("percent", "in percent"), 100 * counted.accuracy
    yield Cause("divided_by_100", "a hundredth of the share"), counted.accuracy / 100
    yield Cause("error_rate", "share of wrong predictions"), 1 - counted.accuracy
    yield Cause("count", "number of right predictions"), float(counted.correct.sum())


def name(
    kind: str, reported: float, counted: EpochMeasures, *, tolerance: float = TOLERANCE
) -> Cause | None:
    """The wrong formula that gives a number. None if no formula gives it, or several do."""
    found = [
        cause
        for cause, value in formulas(kind, counted)
        if close(reported, value, tolerance=tolerance)
        and not close(right(kind, counted), value, tolerance=tolerance)
    ]
    names = {cause.name for cause in found}
    return found[0] if len(names) == 1 else None
