"""What a network answers for the test rows, and which of them it gets wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.evaluate import accuracy, loss
from mnist_mlp.plan import Ids
from mnist_mlp.reference import Array, Tensors, forward, scale_pixels
from mnist_mlp.run.record import Metrics
from mnist_mlp.spec import Spec

_CHUNK = 4096  # rows predicted at once, so that memory stays small


@dataclass(frozen=True, eq=False)
class Results:
    """The content of `predictions.npz` and `examples.npz` (see `docs/run-folder.md`)."""

    predictions: dict[str, Array]
    examples: dict[str, Array]

    @property
    def metrics(self) -> Metrics:
        """Loss and accuracy on the test rows."""
        logits, y_true = self.predictions["logits"], self.predictions["y_true"]
        return Metrics(loss=loss(logits, y_true), accuracy=accuracy(logits, y_true))


def results_of(logits: Array, *, test_ids: Ids, dataset: Dataset) -> Results:
    """Results from the logits (n, classes) of the test rows."""
    y_true = dataset.labels[test_ids]
    ids = test_ids[np.flatnonzero(logits.argmax(axis=1) != y_true)]
    return Results(
        predictions={"y_true": y_true, "logits": logits, "ids": test_ids},
        examples={"ids": ids, "images": dataset.images[ids]},
    )


def reference_logits(weights: Tensors, spec: Spec, images: Array) -> Array:
    """Logits (n, classes) of images uint8 (n, inputs), in the precision of the specification.

    They are computed in float64 by the NumPy reference. So no framework has to be installed, and
    the network of any backend is treated alike. They may be infinite or NaN.
    """
    exact = {name: array.astype(np.float64) for name, array in weights.items()}
    with np.errstate(over="ignore", invalid="ignore"):
        chunks = [
            forward(
                exact,
                spec.model.activations,
                scale_pixels(images[start : start + _CHUNK], dtype=np.float64),
            ).logits
            for start in range(0, len(images), _CHUNK)
        ]
        return np.concatenate(chunks).astype(spec.training.precision)
