"""One training step, recorded stage by stage."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mnist_mlp.contract import Array, Spec, State, StepRecord
from mnist_mlp.reference import scale_pixels
from mnist_mlp_keras.engines import current
from mnist_mlp_keras.model import (
    as_numpy,
    by_name,
    dense_layers,
    load_state,
    read_slots,
    read_weights,
)


def instrumented_step(
    model: keras.Sequential, spec: Spec, state: State, images: Array, labels: Array
) -> StepRecord:
    """Set the state, run forward pass, loss, backward pass and update; return every result."""
    load_state(model, state)
    x = ops.convert_to_tensor(scale_pixels(images, dtype=spec.training.precision))
    y = ops.convert_to_tensor(labels)

    def loss() -> tuple[Any, Any]:
        pre_activations: list[Any] = []
        activations: list[Any] = []
        a = x
        for layer in dense_layers(model):
            z = ops.matmul(a, layer.kernel) + layer.bias
            pre_activations.append(z)
            a = layer.activation(z)
            activations.append(a)
        return model.compute_loss(x, y, a), (pre_activations, activations)

    value, recorded, raw = current().gradients(loss, model.trainable_variables)
    model.optimizer.apply(raw, model.trainable_variables)
    pre_activations, activations = keras.tree.map_structure(as_numpy, recorded)
    return StepRecord(
        inputs=as_numpy(x),
        pre_activations=tuple(pre_activations),
        activations=tuple(activations[:-1]),
        loss=float(as_numpy(value)),
        gradient=by_name(raw),
        state=State(
            step=state.step + 1,
            weights=read_weights(model),
            slots=read_slots(model),
        ),
    )
