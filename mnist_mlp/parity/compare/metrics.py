"""Compare the loss and accuracy that `fit` reports with their definitions."""

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
"""Rows whose two best logits differ by less than this share of the largest logit.

Rounding may decide which class they get.
"""


def _validated(
    plan: Plan, data: TrainingData, weights: Tensors
) -> tuple[EpochMeasures, int, float]:
    """Evaluate the test rows in float64 with the weights of a side.

    Returns the measures, the number of undecided rows, and the rounding error of the mean loss.
    The logits set that error, since a small loss is a difference of large logits.
    """
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
    # In the unit of the rung `loss` (eps * terms). The rows' errors partly cancel in the mean.
    rounding = 0.25 * eps * float(mean_cross_entropy(logits, labels).terms)
    return counted, int(undecided.sum()), rounding


def metric_breaks(
    records: Sequence[EpochRecord], first: FirstEpochs, *, side: Side
) -> tuple[list[Break], float | None]:
    """Compare the reported numbers of the first epochs with their definitions.

    Returns the breaks of the first epoch that has any, and the largest error of a number as a share
    of what is allowed; None if there was no epoch.
    """
    breaks: list[Break] = []
    margin: float | None = None
    for record, counted, honest in zip(records, first.counted, first.honest_counted, strict=False):
        validation, undecided, rounding = _validated(first.plan, first.data, record.weights)
        rows, val_rows = float(counted.rows.sum()), float(validation.rows.sum())
        # A loss may be wrong by the rounding of a float32 mean. A training loss may also be off by
        # the distance between correct runs at that time: three times the one that was measured.
        # An accuracy may be wrong by the rows on the border between two classes; 3 more are allowed
        # during training, and 1e-6 for the rounding of the share itself.
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
                    cause=cause or Cause(UNKNOWN, f"{column} follows no known formula"),
                )
            )
        if breaks:
            break
    return breaks, margin
