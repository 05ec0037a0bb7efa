"""The network as a compiled `keras.Sequential`."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import keras
import numpy as np
from keras import ops

from mnist_mlp.contract import Array, FitPath, Spec, State, Tensors, activation_parts
from mnist_mlp.reference import bias_name, kernel_name
from mnist_mlp_keras.engines import current
from mnist_mlp_keras.optimizers import make_optimizer, slot_variables


def gelu(z: Any) -> Any:
    """Exact GELU. Keras's own rounds its constants to float32, an error of 5e-9 in float64."""
    half, root = (ops.convert_to_tensor(c, dtype=z.dtype) for c in (0.5, sqrt(0.5)))
    return half * z * (1 + ops.erf(z * root))


def leaky_relu(slope: float) -> Callable[[Any], Any]:
    """Leaky ReLU. Keras's own rounds the slope to float32, an error of 1e-7 in float64."""

    def activation(z: Any) -> Any:
        return ops.where(z > 0, z, z * ops.convert_to_tensor(slope, dtype=z.dtype))

    return activation


def activation(name: str) -> Any:
    """The Keras activation for its name in a specification."""
    kind, slope = activation_parts(name)
    if kind == "leaky_relu":
        return leaky_relu(slope)
    return gelu if kind == "gelu" else current().ACTIVATIONS.get(kind, kind)


def build(spec: Spec, *, fit_path: FitPath = "plain") -> keras.Sequential:
    """Build and compile the network for one path of `fit`.

    It ends with logits, and the loss takes those. From probabilities, Keras would have to clip them
    at 1e-7 first.
    """
    kind = current().FAST if fit_path == "fast" else keras.Sequential
    model = kind([keras.Input((spec.model.layer_sizes[0],))])
    for _, units, name in spec.model.layers[:-1]:
        model.add(keras.layers.Dense(units, activation=activation(name)))
    model.add(keras.layers.Dense(spec.model.layer_sizes[-1], name="logits"))
    model.compile(
        optimizer=make_optimizer(spec.optimizer),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=fit_path == "fast" or current().JIT_COMPILE,
    )
    return model


def dense_layers(model: keras.Sequential) -> list[keras.layers.Dense]:
    """The layers that have weights, in order."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]


def load_weights(model: keras.Sequential, weights: Tensors) -> None:
    """Copy canonical weights into the model. Keras has the same layout."""
    for index, layer in enumerate(dense_layers(model)):
        layer.set_weights([weights[kernel_name(index)], weights[bias_name(index)]])


def by_name(values: list[Any]) -> dict[str, Array]:
    """A list of kernel, bias, kernel, bias ... as NumPy arrays by canonical name."""
    names = [name(i) for i in range(len(values) // 2) for name in (kernel_name, bias_name)]
    return {name: as_numpy(value) for name, value in zip(names, values, strict=True)}


def as_numpy(value: Any) -> Array:
    """A copy of a tensor or variable: some engines give NumPy their own memory."""
    return np.array(ops.convert_to_numpy(value))


def read_weights(model: keras.Sequential) -> dict[str, Array]:
    """The weights, by canonical name."""
    return by_name(model.trainable_variables)


def load_state(model: keras.Sequential, state: State) -> None:
    """Set weights, number of updates and optimizer state; a slot that is not given is zero."""
    load_weights(model, state.weights)
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    optimizer.iterations.assign(state.step)
    for slot, variables in slot_variables(optimizer).items():
        tensors = state.slots.get(slot)
        for variable, name in zip(variables, by_name(variables), strict=True):
            variable.assign(tensors[name] if tensors else ops.zeros(variable.shape, variable.dtype))


def read_slots(model: keras.Sequential) -> dict[str, dict[str, Array]]:
    """The optimizer's state, by slot and canonical name."""
    return {slot: by_name(values) for slot, values in slot_variables(model.optimizer).items()}
