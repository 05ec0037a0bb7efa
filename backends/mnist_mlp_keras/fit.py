"""Train with `Model.fit` on the plan's batches (fast or plain path), and predict logits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from mnist_mlp.contract import Array, EpochRecord, Plan, Progress, State, Tensors, TrainingData
from mnist_mlp.reference import scale_pixels
from mnist_mlp_keras.engines import current
from mnist_mlp_keras.fast import (
    VALIDATION_BATCH,
    Fast,
    series_per_epoch,
    steps_after,
    test_series,
    training_series,
)
from mnist_mlp_keras.model import load_state, load_weights, read_slots, read_weights


class Reports(keras.callbacks.Callback):
    """Send the metrics and weights of each epoch to the parent, and count Keras's calls."""

    def __init__(
        self, progress: Progress, *, steps_before: int, steps_after: Callable[[int], int]
    ) -> None:
        super().__init__()
        self.progress = progress
        self.steps_before = steps_before
        self.steps_after = steps_after
        self.calls = 0
        self.started = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the epoch's clock."""
        del epoch, logs
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Report the number of steps so far, which JAX's optimizer knows only after an epoch."""
        del batch, logs
        self.calls += 1
        self.progress.step(self.steps_before + self.steps_after(self.calls))

    def steps_per_call(self) -> float:
        """Mean number of updates that one call of Keras made, as the optimizer counts them."""
        steps = int(self.model.optimizer.iterations)
        return round((steps - self.steps_before) / self.calls, 2)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Send the record of the epoch, and stop if told to. Keras calls this after validation."""
        record = EpochRecord(
            epoch=epoch + 1,
            loss=float(logs["loss"]),
            accuracy=float(logs["accuracy"]),
            val_loss=float(logs["val_loss"]),
            val_accuracy=float(logs["val_accuracy"]),
            seconds=time.perf_counter() - self.started,
            weights=read_weights(self.model),
            slots=read_slots(self.model),
        )
        if self.progress.epoch(record):
            self.model.stop_training = True


def planned_batches(plan: Plan, data: TrainingData, *, done: int) -> Iterator[tuple[Array, Array]]:
    """All batches of the epochs after `done`."""
    for epoch in range(done + 1, plan.spec.training.epochs + 1):
        for positions in plan.batches(epoch):
            x = scale_pixels(data.train_images[positions], dtype=plan.spec.training.precision)
            yield x, data.train_labels[positions]


def fit(
    model: keras.Sequential,
    plan: Plan,
    data: TrainingData,
    *,
    progress: Progress,
    start: State | None = None,
) -> Mapping[str, Any]:
    """Train `model` from `start`, or from the initial weights; returns facts about how it ran."""
    start = start or State(0, plan.initial_weights)
    load_state(model, start)
    done = start.step // plan.steps_per_epoch
    fast = isinstance(model, Fast)
    reports = Reports(
        progress,
        steps_before=start.step,
        steps_after=partial(steps_after, plan) if fast else lambda calls: calls,
    )
    model.fit(
        **(_fast(model, plan, data, done=done) if fast else _plain(plan, data, done=done)),
        initial_epoch=done,
        epochs=plan.spec.training.epochs,
        callbacks=[reports],
        shuffle=False,
        verbose=0,
    )
    return {"jit_compile": model.jit_compile, "steps_per_call": reports.steps_per_call()}


def _fast(model: Fast, plan: Plan, data: TrainingData, *, done: int) -> dict[str, Any]:
    model.use(data)
    return {
        "x": current().generated(lambda: training_series(plan, done=done)),
        "steps_per_epoch": series_per_epoch(plan),
        **current().validation(test_series(len(data.test_labels))),
    }


def _plain(plan: Plan, data: TrainingData, *, done: int) -> dict[str, Any]:
    return {
        "x": current().batches(lambda: planned_batches(plan, data, done=done)),
        "steps_per_epoch": plan.steps_per_epoch,
        "validation_data": (
            scale_pixels(data.test_images, dtype=plan.spec.training.precision),
            data.test_labels,
        ),
        "validation_batch_size": VALIDATION_BATCH,
    }


def predict_logits(model: keras.Sequential, weights: Tensors, images: Array) -> Array:
    """Logits (n, classes) of uint8 images (n, inputs)."""
    load_weights(model, weights)
    # Not by `predict` with a PyDataset, whose end may wait 5 s for the queue of a thread.
    parts = [
        model.predict_on_batch(scale_pixels(rows, dtype=keras.config.floatx()))
        for rows in np.split(images, range(VALIDATION_BATCH, len(images), VALIDATION_BATCH))
    ]
    return np.concatenate(parts)
