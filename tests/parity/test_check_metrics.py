"""What a port reports of an epoch, against the batches that it was made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mnist_mlp.parity.check import metrics
from mnist_mlp.parity.findings import Break
from mnist_mlp.ports.protocol import PortEpoch

ROWS = np.array([128, 128, 20])
LOSSES = np.array([2.25, 2.31, 2.28005])
"""The last, smaller batch is close to the mean: plain and weighted mean differ by 6e-6 of it."""
CORRECT = np.array([20, 31, 4])


def epoch(reported: dict[str, float], **changes: Any) -> PortEpoch:
    """One epoch; validation likewise."""
    fields: dict[str, Any] = {"losses": LOSSES, "cross_entropies": LOSSES, "rows": ROWS}
    fields |= {"correct": CORRECT, "confusion": np.eye(4, dtype=np.int64)}
    fields |= changes
    both = {f"val_{name}": value for name, value in fields.items()} | fields
    return PortEpoch(epoch=1, reported=reported, batches=3, **both)


def judged(found: PortEpoch) -> list[Break]:
    return metrics.breaks([found], "b", before=(), plain=True)[0]


def weighted(values: np.ndarray[Any, Any]) -> float:
    return float((values * ROWS).sum() / ROWS.sum())


@pytest.mark.parametrize("name", ["train_loss", "val_loss"])
def test_the_mean_over_rows_is_right(name: str) -> None:
    assert judged(epoch({name: weighted(LOSSES)})) == []


def test_a_plain_mean_is_told_however_close_it_comes() -> None:
    plain, right = float(LOSSES.mean()), weighted(LOSSES)
    assert 1e-7 < abs(plain / right - 1) < 1e-5
    (found,) = judged(epoch({"train_loss": plain}))
    assert (found.rung, found.tensor) == ("metrics", "train_loss")
    assert found.cause.name == "unweighted_epoch_mean"


def test_the_cross_entropy_may_be_logged_for_what_was_minimised() -> None:
    minimised = LOSSES + np.array([0.3, 0.31, 0.29])
    assert judged(epoch({"train_loss": weighted(LOSSES)}, losses=minimised)) == []
    (found,) = judged(epoch({"train_loss": 1.1 * weighted(LOSSES)}, losses=minimised))
    assert found.cause.name == "unknown"
