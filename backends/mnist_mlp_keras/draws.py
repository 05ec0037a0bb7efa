"""What Keras draws itself: the initial weights of new layers, and the order of `Model.fit`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from mnist_mlp.contract import Array, Draws, Plan, Spec
from mnist_mlp_keras.model import build, read_weights


class _Listener(keras.Model):
    """A model that learns nothing and notes which rows `fit` feeds."""

    def __init__(self) -> None:
        super().__init__()
        self.fed: list[Array] = []

    def call(self, x: Any) -> Any:
        """The input."""
        return x

    def train_step(self, *arguments: Any) -> Any:
        """Note the rows of a batch. With JAX, its state comes first, and is returned."""
        *state, data = arguments
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.fed.append(keras.ops.convert_to_numpy(x).ravel())
        logs = {"loss": keras.ops.zeros(())}
        return (logs, *state) if state else logs


def draw(spec: Spec, plan: Plan) -> Draws:
    """Weights of new `Dense` layers, and the epochs of a `fit(shuffle=True)`.

    `fit` shuffles rows, not batches, so one batch of all rows shows the order of an epoch.
    """
    rows = len(plan.train_ids)
    keras.utils.set_random_seed(spec.seed)
    weights = read_weights(build(spec))
    listener = _Listener()
    listener.compile(run_eagerly=True)
    listener.fit(
        np.arange(rows)[:, None],
        batch_size=rows,
        epochs=spec.training.epochs,
        shuffle=True,
        verbose=0,
    )
    return Draws(weights, np.stack(listener.fed).astype(np.int64))
