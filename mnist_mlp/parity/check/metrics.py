"""What a port reports of its epochs, against what these were made of."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mnist_mlp.parity.causes import metrics
from mnist_mlp.parity.causes.metrics import EpochMeasures
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place, Side
from mnist_mlp.ports.protocol import PortEpoch


def breaks(
    epochs: Sequence[PortEpoch], side: Side, *, before: Sequence[Break], plain: bool
) -> tuple[list[Break], dict[str, str], int]:
    """Every reported number that calls itself a loss or an accuracy, against its own batches.

    `before` are the breaks of earlier rungs; `plain` says that the port is judged by a
    specification's own recipe. Answers with the first epoch's breaks, why the rung could not be
    looked at, if it could not, and how many numbers were looked at.
    """
    if not epochs:
        return [], {"metrics": "the port did not finish an epoch"}, 0
    broken_loss = any(item.rung == "loss" for item in before)
    judged = 0
    for epoch in epochs:
        found: list[Break] = []
        train = EpochMeasures(epoch.losses, epoch.rows, epoch.correct, epoch.confusion)
        validation = EpochMeasures(
            epoch.val_losses, epoch.val_rows, epoch.val_correct, epoch.val_confusion
        )
        for name, reported in epoch.reported.items():
            kind = _kind(name)
            held_out = name.lower().startswith(("val", "test"))
            counted = validation if held_out else train
            if kind is None or not len(counted.rows):
                continue
            judged += 1
            item = _judged_metric(name, kind, reported, counted, epoch.epoch, side)
            if kind == "loss" and not held_out and _is_entropy(reported, epoch):
                item = None  # logged without what is added to it for training
            if item is None and held_out and kind == "loss" and plain and not broken_loss:
                item = _other_function(name, reported, epoch, side)
            if item is not None:
                found.append(item)
        if found:
            return found, {}, judged
    if not judged:
        return [], {"metrics": "the port reports no loss and no accuracy of an epoch"}, 0
    return [], {}, judged


_PLAIN = {"train", "training", "val", "valid", "validation", "test", "epoch", "mean", "total"}
_ACCURACIES = {"acc", "accuracy", "categorical", "sparse", "multiclass"}


OTHER_LOSS = 1e-5
"""Relative: the cross-entropies are recomputed from logits, which costs a few roundings more."""


def _kind(name: str) -> str | None:
    """Whether a reported number calls itself the loss or the accuracy, and nothing else: a top-k
    accuracy is another number."""
    words = set(re.split(r"[^a-z0-9]+", name.lower())) - _PLAIN - {""}
    if words == {"loss"}:
        return "loss"
    return "accuracy" if words & {"acc", "accuracy"} and words <= _ACCURACIES else None


def _is_entropy(reported: float, epoch: PortEpoch) -> bool:
    """Whether a training loss is the mean cross-entropy, where something else was minimised."""
    minimised = EpochMeasures(epoch.losses, epoch.rows, epoch.correct).loss
    entropy = EpochMeasures(epoch.cross_entropies, epoch.rows, epoch.correct).loss
    if metrics.close(minimised, entropy, tolerance=OTHER_LOSS):
        return False  # one number, and to be judged as sharply as that one can be
    return metrics.close(reported, entropy, tolerance=OTHER_LOSS)


def _other_function(name: str, reported: float, epoch: PortEpoch, side: Side) -> Break | None:
    """A validation loss that is the mean of its batches', which are no cross-entropies."""
    entropy = EpochMeasures(epoch.val_cross_entropies, epoch.val_rows, epoch.val_correct).loss
    if metrics.close(reported, entropy, tolerance=OTHER_LOSS):
        return None
    cause = Cause(UNKNOWN, f"{name} is another function than the training loss")
    return Break(
        side=side,
        rung="metrics",
        place=Place(epoch=epoch.epoch, tensor=name),
        got=f"{reported:.9g}",
        expected=f"{entropy:.9g}",
        cause=cause,
    )


def _judged_metric(
    name: str, kind: str, reported: float, counted: EpochMeasures, epoch: int, side: Side
) -> Break | None:
    value = metrics.right(kind, counted)
    if metrics.close(reported, value):
        return None
    cause = metrics.name(kind, reported, counted)
    return Break(
        side=side,
        rung="metrics",
        place=Place(epoch=epoch, tensor=name),
        got=f"{reported:.9g}",
        expected=f"{value:.9g}",
        cause=cause or Cause(UNKNOWN, f"{name} follows no formula that is known"),
    )
