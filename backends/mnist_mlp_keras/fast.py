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
from keras import ops, tree

from mnist_mlp.contract import Array, Plan, TrainingData, steps_per_call
from mnist_mlp.reference import scale_pixels

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
        greys = ops.take(self.images, rows, axis=0)
        return self.scaled(greys), ops.take(self.labels, rows, axis=0)

    def scaled(self, greys: Any) -> Any:
        """Grey values divided by 255."""
        return ops.cast(greys, self.white.dtype) / self.white


class ResidentWithTable(Resident):
    """The same where a division by any number is such a product: JAX compiles it so on a CPU."""

    def __init__(self, images: Array, labels: Array) -> None:
        super().__init__(images, labels)
        greys = np.arange(256, dtype=np.uint8)
        self.levels = ops.convert_to_tensor(scale_pixels(greys, dtype=keras.config.floatx()))

    def scaled(self, greys: Any) -> Any:
        """Grey values divided by 255, which NumPy has done."""
        return ops.take(self.levels, greys)


class Fast(keras.Sequential):
    """A `Sequential` whose training and test steps each take a series of batches."""

    resident: type[Resident] = Resident

    def use(self, data: TrainingData) -> None:
        """Put the rows on the device. Their copies here must be gone before XLA compiles: it
        needs as much memory again."""
        self._training_rows = self.resident(data.train_images, data.train_labels)
        self._test_rows = self.resident(data.test_images, data.test_labels)
        data.release()


class FastSequential(Fast):
    """On an engine whose steps change the variables."""

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


class FastStateless(Fast):
    """On an engine whose steps are functions of the variables' values."""

    resident = ResidentWithTable

    def use(self, data: TrainingData) -> None:
        """Put the rows on the device, and build the metrics. Keras would build them by a first
        batch, and takes series for one."""
        labels, logits = ops.zeros((1,), "uint8"), ops.zeros((1, self.output_shape[-1]))
        self.compute_metrics(None, labels, logits)
        self.compute_loss(None, labels, logits)
        self.reset_metrics()
        super().use(data)

    def train_step(self, state: Any, data: Any) -> tuple[Mapping[str, Any], Any]:
        """Keras's own step for each batch of a series; returns the metrics so far and the state."""
        (series,) = data
        return self._each(state, series, self._training_rows, super().train_step)

    def test_step(self, state: Any, data: Any) -> tuple[Mapping[str, Any], Any]:
        """The same without training. The one series of all test rows is the row of an array."""
        series, *_ = keras.utils.unpack_x_y_sample_weight(data)
        series = tree.map_structure(lambda part: part[0], series)
        return self._each(state, series, self._test_rows, super().test_step)

    def _each(
        self, state: Any, series: Any, rows: Resident, step: Callable[[Any, Any], tuple[Any, Any]]
    ) -> tuple[Mapping[str, Any], Any]:
        for batches in ("whole", "rest"):
            if batches not in series:
                continue

            def body(i: Any, state: Any, positions: Any = series[batches]) -> Any:
                return step(state, rows.batch(positions[i]))[1]

            state = ops.fori_loop(0, series[f"{batches}_count"][0], body, state)
        *_, metrics = state
        pairs = list(zip(self.metrics_variables, metrics, strict=True))
        with keras.StatelessScope(state_mapping=pairs):
            return self.get_metrics_result(), state


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


def steps_after(plan: Plan, calls: int) -> int:
    """Number of batches in so many series of `training_series`."""
    epochs, more = divmod(calls, series_per_epoch(plan))
    return epochs * plan.steps_per_epoch + more * steps_per_call(plan)


def test_series(rows: int) -> tuple[Series]:
    """All test rows as one series."""
    size = min(VALIDATION_BATCH, rows)
    (series,) = series_of(np.arange(rows), batch_size=size, steps=rows // size)
    return series
