"""Training in NumPy, in float32 or float64.

The formulas are those of `mnist_mlp.reference`, which the comparison uses too. So they are written
only once, and this backend runs them for whole epochs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mnist_mlp import reference
from mnist_mlp.contract import (
    Array,
    Capabilities,
    Environment,
    EpochRecord,
    Plan,
    Progress,
    Runtime,
    Spec,
    State,
    StepRecord,
    Tensors,
    TrainingData,
)

# Rows predicted at a time. They need 13 MB of float32 pixels; all test rows would need 55.
_CHUNK = 4096


class NumpyBackend:
    """See `mnist_mlp.contract.Backend`."""

    capabilities = Capabilities(resume=True)
    packages = ("numpy",)
    install = "pip install mnist-mlp"

    def environment(self) -> Environment:
        """The version of NumPy. There is no GPU."""
        return Environment(versions={"numpy": np.__version__})

    def open(self, spec: Spec, runtime: Runtime) -> Mapping[str, Any]:
        """Keep the specification. The worker has already set the BLAS threads."""
        del runtime
        self.spec = spec
        self.dtype = np.dtype(spec.training.precision)
        return {}

    def fit(
        self, plan: Plan, data: TrainingData, progress: Progress, *, start: State | None = None
    ) -> None:
        """Train batch by batch with SGD or Adam, and report each epoch."""
        state = start or State(
            step=0,
            weights=plan.initial_weights,
            slots=reference.initial_slots(self.spec.optimizer, plan.initial_weights),
        )
        done = state.step // plan.steps_per_epoch
        for epoch in range(done + 1, self.spec.training.epochs + 1):
            began = time.perf_counter()
            loss = correct = 0.0
            for positions in plan.batches(epoch):
                labels = data.train_labels[positions]
                record = self.step(state, data.train_images[positions], labels)
                logits, state = record.pre_activations[-1], record.state
                loss += record.loss * len(labels)
                correct += float((logits.argmax(axis=1) == labels).sum())
                progress.step(state.step)
            n = len(data.train_labels)
            val_logits = self.predict(state.weights, data.test_images)
            val_loss = reference.sample_losses(val_logits, data.test_labels).mean()
            record_of_epoch = EpochRecord(
                epoch=epoch,
                loss=loss / n,
                accuracy=correct / n,
                val_loss=float(val_loss),
                val_accuracy=float((val_logits.argmax(axis=1) == data.test_labels).mean()),
                seconds=time.perf_counter() - began,
                weights=state.weights,
                slots=state.slots,
            )
            if progress.epoch(record_of_epoch):
                break

    def step(self, state: State, images: Array, labels: Array) -> StepRecord:
        """One training step by the formulas of `reference`."""
        x = reference.scale_pixels(images, dtype=self.dtype)
        passed = reference.forward(state.weights, self.spec.model.activations, x)
        gradient = reference.backward(state.weights, x, labels, passed)
        weights, slots = reference.update(
            self.spec.optimizer,
            weights=state.weights,
            slots=state.slots,
            gradient=gradient,
            step=state.step + 1,
        )
        return StepRecord(
            inputs=x,
            pre_activations=passed.pre_activations,
            activations=passed.activations,
            loss=float(reference.sample_losses(passed.logits, labels).mean()),
            gradient=gradient,
            state=State(step=state.step + 1, weights=weights, slots=slots),
        )

    def predict(self, weights: Tensors, images: Array) -> Array:
        """Logits (n, classes) of uint8 images (n, inputs), computed in chunks of rows."""
        chunks = [
            reference.forward(
                weights,
                self.spec.model.activations,
                reference.scale_pixels(images[start : start + _CHUNK], dtype=self.dtype),
            ).logits
            for start in range(0, len(images), _CHUNK)
        ]
        return np.concatenate(chunks)
