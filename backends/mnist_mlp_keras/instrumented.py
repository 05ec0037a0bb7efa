"""One training step, recorded stage by stage."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mnist_mlp.contract import Array, Spec, State, StepRecord
from mnist_mlp.reference import scale_pixels
from mnist_mlp_keras.engine import gradients
from mnist_mlp_keras.model import by_name, dense_layers, load_state, read_slots, read_weights


def instrumented_step(
    model: keras.Sequential, spec: Spec, state: State, images: Array, labels: Array
) -> StepRecord:
    """Set the state, run forward pass, loss, backward pass and update; return every result."""
    load_state(model, state)
    x = ops.convert_to_tensor(scale_pixels(images, dtype=spec.training.precision))
    y = ops.convert_to_tensor(labels)
    pre_activations: list[Any] = []
    activations: list[Any] = []

    def loss() -> Any:
        a = x
        for layer in dense_layers(model):
            z = ops.matmul(a, layer.kernel) + layer.bias
            pre_activations.append(z)
            a = layer.activation(z)
            activations.append(a)
        return model.compute_loss(x, y, keras.activations.softmax(a))

    value, raw = gradients(loss, model.trainable_variables)
    model.optimizer.apply(raw, model.trainable_variables)
    return StepRecord(
        inputs=np.array(x),
        pre_activations=tuple(np.array(z) for z in pre_activations),
        activations=tuple(np.array(a) for a in activations[:-1]),
        loss=float(value),
        gradient=by_name(raw),
        state=State(
            step=state.step + 1,
            weights=read_weights(model),
            slots=read_slots(model),
        ),
    )
