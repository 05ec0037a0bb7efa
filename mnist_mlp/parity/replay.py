"""One side's backend at work again: its steps from shared states, and its whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mnist_mlp import reference
from mnist_mlp.contract import EpochRecord, Progress, State, TrainingData
from mnist_mlp.parity.evidence import JudgedStep
from mnist_mlp.parity.sampling import place
from mnist_mlp.parity.trajectory import batch_of
from mnist_mlp.plan import Plan, stream
from mnist_mlp.reference import Array
from mnist_mlp.run.folder import Run
from mnist_mlp.worker import Worker

STRESS_GAP = 17.0
"""Logits further apart than this make probabilities under 1e-7, where Keras may clip."""


@dataclass(frozen=True, eq=False)
class Stress:
    """A state and a batch whose logits lie far apart, and a batch's size of them."""

    state: State
    images: Array
    labels: Array


def stress_batch(plan: Plan, data: TrainingData) -> Stress:
    """The plan's initial weights with a last layer so large that logit gaps pass 17.

    Hidden layers stay as they are, so that only what happens from the logits on is under stress.
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
    factor = 3 * STRESS_GAP / max(gap, 1e-3)
    name = reference.kernel_name(last)
    weights[name] = (weights[name] * factor).astype(weights[name].dtype)
    state = State(0, weights, reference.initial_slots(plan.spec.optimizer, weights))
    return Stress(state, images, labels)


def open_side(run: Run, *, verbose: bool = False) -> Worker:
    """The backend a run was made by, with its device, threads and path."""
    record = run.record
    worker = Worker(
        str(record["backend"]["target"]),
        accelerator=str(record["accelerator"]),
        threads=int(record["threads"]),
        path="plain" if record.get("fit_path") == "plain" else "fast",
        verbose=verbose,
    )
    try:
        worker.open(run.spec)
    except BaseException:
        worker.close()
        raise
    return worker


def judged_steps(
    worker: Worker,
    plan: Plan,
    data: TrainingData,
    *,
    windows: Sequence[range],
    states: Mapping[int, State],
    stress: Stress | None,
) -> list[JudgedStep]:
    """One side's records of every step in the windows, each from the shared state."""
    steps = []
    for number, window in enumerate(windows):
        for step in window:
            images, labels = batch_of(plan, data, step)
            epoch, _ = place(plan, step)
            record = worker.step(states[step], images, labels)
            steps.append(JudgedStep(epoch, step, number, states[step], images, labels, record))
    if stress is not None:
        record = worker.step(stress.state, stress.images, stress.labels)
        steps.append(
            JudgedStep(
                0, 0, len(windows), stress.state, stress.images, stress.labels, record, stress=True
            )
        )
    return steps


def fitted(worker: Worker, plan: Plan, data: TrainingData) -> list[EpochRecord]:
    """A whole training run of one side."""
    epochs: list[EpochRecord] = []
    worker.fit(plan, data, Progress(epoch=epochs.append))
    return epochs


def one_ulp_away(plan: Plan, *, draw: int) -> Plan:
    """The plan with every initial weight moved to one of its two neighbours, drawn by `draw`."""
    moved: dict[str, Any] = {}
    for number, (name, tensor) in enumerate(sorted(plan.initial_weights.items())):
        up = stream(plan.spec.seed, 2, draw, number).integers(0, 2, tensor.shape).astype(bool)
        target = np.where(up, np.inf, -np.inf).astype(tensor.dtype)
        moved[name] = np.nextafter(tensor, target)
    return replace(plan, initial_weights=moved)


def largest_gap(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    """Largest absolute difference of two sets of tensors."""
    return max(float(np.abs(a[n].astype(np.float64) - b[n]).max()) for n in a)
