"""One training step, recorded stage by stage."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mnist_mlp.contract import Array, Spec, State, StepRecord
from mnist_mlp.reference import scale_pixels
from mnist_mlp_keras.engine import gradients
from mnist_mlp_keras.model import by_name, dense_layers, load_weights, read_weights
from mnist_mlp_keras.optimizers import slot_variables


def instrumented_step(
    model: keras.Sequential, spec: Spec, state: State, images: Array, labels: Array
) -> StepRecord:
    """Set the state, run forward pass, loss, backward pass and update; return every result."""
    load_weights(model, state.weights)
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    optimizer.iterations.assign(state.step)
    for slot, variables in slot_variables(optimizer).items():
        names = by_name(variables)
        for variable, name in zip(variables, names, strict=True):
            variable.assign(state.slots[slot][name])

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
    optimizer.apply(raw, model.trainable_variables)
    return StepRecord(
        inputs=np.array(x),
        pre_activations=tuple(np.array(z) for z in pre_activations),
        activations=tuple(np.array(a) for a in activations[:-1]),
        loss=float(value),
        gradient=by_name(raw),
        state=State(
            step=state.step + 1,
            weights=read_weights(model),
            slots={slot: by_name(values) for slot, values in slot_variables(optimizer).items()},
        ),
    )
