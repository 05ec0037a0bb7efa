"""A batch whose logits differ so much that some probabilities are below 1e-7."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_mlp import reference
from mnist_mlp.contract import State
from mnist_mlp.plan import Plan, TrainingData
from mnist_mlp.reference import Array

STRESS_GAP = 17.0
"""Logits that differ by more than this give probabilities below 1e-7, which Keras may clip."""


@dataclass(frozen=True, eq=False)
class Stress:
    """A state, and a batch of at most 64 rows whose logits differ by more than `STRESS_GAP`."""

    state: State
    images: Array
    labels: Array


def stress_batch(plan: Plan, data: TrainingData) -> Stress:
    """The plan's initial weights, with the last kernel scaled until logits differ by more than 17.

    The hidden layers stay unchanged, so that only the logits and what follows them are tested.
    """
    size = min(plan.spec.training.batch_size, 64)
    rows = plan.order(1)[:size]
    images, labels = data.train_images[rows], data.train_labels[rows]
    weights = dict(plan.initial_weights)
    last = len(plan.spec.model.activations) - 1
    logits = reference.forward(
        {name: w.astype(np.float64) for name, w in weights.items()},
        plan.spec.model.activations,
        reference.scale_pixels(images, dtype=np.float64),
    ).logits
    gap = float(np.median(logits.max(axis=1) - logits.min(axis=1)))
    # Three times the gap, since rows with a gap below the median must exceed it too.
    factor = 3 * STRESS_GAP / max(gap, 1e-3)
    name = reference.kernel_name(last)
    weights[name] = (weights[name] * factor).astype(weights[name].dtype)
    state = State(0, weights, reference.initial_slots(plan.spec.optimizer, weights))
    return Stress(state, images, labels)
