"""The numbers that a `fit` reports of its epochs, against what the design says they mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnist_mlp.contract import EpochRecord, TrainingData
from mnist_mlp.evaluate import confusion_matrix
from mnist_mlp.parity.causes import metrics
from mnist_mlp.parity.causes.metrics import EpochMeasures
from mnist_mlp.parity.compare.whole_fit import FirstEpochs
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place, Side
from mnist_mlp.parity.steps.arbiter import mean_cross_entropy
from mnist_mlp.plan import Plan
from mnist_mlp.reference import Tensors, forward, sample_losses, scale_pixels

UNDECIDED = 1e-5
"""Rows whose two best logits are closer than this share of the largest may fall either way."""


def _validated(
    plan: Plan, data: TrainingData, weights: Tensors
) -> tuple[EpochMeasures, int, float]:
    """The test rows, exactly, by a side's own weights; how many of them are undecided; and how far
    their mean loss may be rounded: a small loss is the difference of large logits."""
    classes = plan.spec.model.layer_sizes[-1]
    exact = {name: w.astype(np.float64) for name, w in weights.items()}
    x = scale_pixels(data.test_images, dtype=np.float64)
    logits = forward(exact, plan.spec.model.activations, x).logits
    labels = data.test_labels.astype(np.int64)
    predicted = logits.argmax(axis=1)
    losses = sample_losses(logits, labels)
    best = np.sort(logits, axis=1)
    undecided = best[:, -1] - best[:, -2] < UNDECIDED * np.abs(logits).max()
    counted = EpochMeasures(
        losses=np.array([losses.mean()]),
        rows=np.array([len(labels)]),
        correct=np.array([int((predicted == labels).sum())]),
        confusion=confusion_matrix(labels, predicted, classes=classes),
    )
    eps = float(np.finfo(plan.spec.training.precision).eps)
    rounding = 0.25 * eps * float(mean_cross_entropy(logits, labels).terms)
    return counted, int(undecided.sum()), rounding


def metric_breaks(
    records: Sequence[EpochRecord], first: FirstEpochs, *, side: Side
) -> tuple[list[Break], float | None]:
    """Reported numbers of the first epochs against what the design says they mean, and the furthest
    that one is off, as a share of what it may; None where there was no epoch."""
    breaks: list[Break] = []
    margin: float | None = None
    for record, counted, honest in zip(records, first.counted, first.honest_counted, strict=False):
        validation, undecided, rounding = _validated(first.plan, first.data, record.weights)
        rows, val_rows = float(counted.rows.sum()), float(validation.rows.sum())
        # Losses may be off by a float32 mean's rounding, and while training also by how far honest
        # runs drift apart; accuracies by the rows on the border between two classes.
        mean = metrics.TOLERANCE * validation.loss + rounding
        apart = float(np.sqrt(np.mean((honest.losses - counted.losses) ** 2)))
        drift = metrics.TOLERANCE * counted.loss + rounding + 3 * apart
        flips = 3 + float(np.abs(honest.correct - counted.correct).sum())
        checks = (
            ("loss", "loss", record.loss, counted, drift),
            ("accuracy", "accuracy", record.accuracy, counted, flips / rows + 1e-6),
            ("val_loss", "loss", record.val_loss, validation, mean),
            (
                "val_accuracy",
                "accuracy",
                record.val_accuracy,
                validation,
                undecided / val_rows + 1e-6,
            ),
        )
        for column, kind, reported, evidence, tolerance in checks:
            value = metrics.right(kind, evidence)
            margin = max(margin or 0.0, abs(reported - value) / tolerance)
            if abs(reported - value) <= tolerance:
                continue
            cause = metrics.name(kind, reported, evidence, tolerance=10 * metrics.TOLERANCE)
            breaks.append(
                Break(
                    side=side,
                    rung="metrics",
                    place=Place(epoch=record.epoch, tensor=column),
                    got=f"{reported:.9g}",
                    expected=f"{value:.9g}",
                    cause=cause or Cause(UNKNOWN, f"{column} follows no formula that is known"),
                )
            )
        if breaks:
            break
    return breaks, margin
