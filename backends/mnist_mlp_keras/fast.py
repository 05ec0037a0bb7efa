"""The fast path: one compiled call inside `Model.fit` makes many training steps.

For a network this small, a step of Keras takes five milliseconds, and only one of them is
arithmetic. The rest is bookkeeping: batches are made in Python, TensorFlow is called, callbacks are
called. On the fast path the images stay on the device as uint8, and `fit` gets only row numbers.
One "batch" of Keras is a series of batches. One XLA program gathers the rows of each batch and runs
Keras's own `train_step` on them, in a loop. Everything else (compile, fit, callbacks, History,
metrics, optimizer) is used as in any Keras program.

Keras calls callbacks once for each series, not for each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Any

import keras
import numpy as np
from keras import ops

from mnist_mlp.contract import Array, Plan, TrainingData, steps_per_call

# Large, since validation needs no small batches: fewer calls, and little memory.
VALIDATION_BATCH = 2048

Series = dict[str, Array]
"""Row numbers of several batches; see `series_of`."""


class Resident:
    """Images (n, inputs) and labels (n,) on the device, both uint8."""

    def __init__(self, images: Array, labels: Array) -> None:
        self.images = ops.convert_to_tensor(images)
        self.labels = ops.convert_to_tensor(labels)
        # A variable and not a constant. XLA replaces the division by a constant with a product
        # with 1/255, and that is wrong by one ulp for every second grey value.
        self.white = keras.Variable(255.0, dtype=keras.config.floatx(), trainable=False)

    def batch(self, rows: Any) -> tuple[Any, Any]:
        """Pixels (len(rows), inputs) in [0, 1], and labels."""
        greys = ops.cast(ops.take(self.images, rows, axis=0), self.white.dtype)
        return greys / self.white, ops.take(self.labels, rows, axis=0)


class FastSequential(keras.Sequential):
    """A `Sequential` whose training and test steps each take a series of batches."""

    def use(self, data: TrainingData) -> None:
        """Put the rows on the device. Their copies here must be gone before XLA compiles: it
        needs as much memory again."""
        self._training_rows = Resident(data.train_images, data.train_labels)
        self._test_rows = Resident(data.test_images, data.test_labels)
        data.release()

    def train_step(self, data: Any) -> Mapping[str, Any]:
        """Run Keras's own step for each batch of a series; returns the metrics so far."""
        _each(data, self._training_rows, super().train_step)
        metrics: Mapping[str, Any] = self.get_metrics_result()
        return metrics

    def test_step(self, data: Any) -> Mapping[str, Any]:
        """The same without training."""
        _each(data, self._test_rows, super().test_step)
        metrics: Mapping[str, Any] = self.get_metrics_result()
        return metrics


def _each(data: Any, rows: Resident, step: Callable[[Any], Any]) -> None:
    (series,) = data
    for batches in ("whole", "rest"):
        if batches not in series:
            continue
        count = series[f"{batches}_count"][0]

        def body(i: Any, positions: Any = series[batches]) -> tuple[Any]:
            step(rows.batch(positions[i]))
            return (i + 1,)

        ops.while_loop(lambda i, n=count: i < n, body, (ops.convert_to_tensor(0, dtype="int32"),))


def series_of(order: Array, *, batch_size: int, steps: int) -> Iterator[tuple[Series]]:
    """Cut the rows of an epoch into series of `steps` batches.

    `whole` (steps, batch_size) holds the batches, and `whole_count` is how many of them are used.
    XLA compiles for fixed shapes, so the last series is padded with zeros. `rest` is the smaller
    last batch, if there is one; its count is 0 in every series except the last.
    """
    cut = len(order) - len(order) % batch_size
    whole, rest = order[:cut].reshape(-1, batch_size), order[cut:]
    for start in range(0, max(len(whole), 1), steps):
        part = whole[start : start + steps]
        block = np.zeros((steps, batch_size), np.int32)
        block[: len(part)] = part
        series = {"whole": block, "whole_count": np.array([len(part)], np.int32)}
        if len(rest):
            last = start + steps >= len(whole)
            series |= {
                "rest": rest[None].astype(np.int32),
                "rest_count": np.array([last], np.int32),
            }
        yield (series,)


def training_series(plan: Plan, *, done: int) -> Iterator[tuple[Series]]:
    """All series of the epochs after `done`, in the order of the plan."""
    size, steps = plan.spec.training.batch_size, steps_per_call(plan)
    for epoch in range(done + 1, plan.spec.training.epochs + 1):
        yield from series_of(plan.order(epoch), batch_size=size, steps=steps)


def series_per_epoch(plan: Plan) -> int:
    """Number of series of an epoch in `training_series`."""
    whole = len(plan.train_ids) // plan.spec.training.batch_size
    return max(ceil(whole / steps_per_call(plan)), 1)


def test_series(rows: int) -> tuple[Series]:
    """All test rows as one series."""
    size = min(VALIDATION_BATCH, rows)
    (series,) = series_of(np.arange(rows), batch_size=size, steps=rows // size)
    return series
