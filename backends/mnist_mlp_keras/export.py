"""Export a trained network as a `.keras` file, which needs only Keras, or as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from mnist_mlp.contract import Spec, Tensors, activation_parts
from mnist_mlp_keras.model import activation, load_weights


def plain_activation(name: str) -> Any:
    """Keras's own activation. Files with it load without this package; it differs by up to 1e-7."""
    kind, slope = activation_parts(name)
    return keras.layers.LeakyReLU(negative_slope=slope) if kind == "leaky_relu" else kind


def network(spec: Spec, weights: Tensors, *, onnx: bool) -> keras.Sequential:
    """The network with its weights. Its last layer is `logits`, and softmax if not for ONNX."""
    # ONNX has no operation for TensorFlow's own GELU; ours is composed of erf, which it has.
    chosen = activation if onnx else plain_activation
    model = keras.Sequential([keras.Input((spec.model.layer_sizes[0],), name="pixels")])
    for _, units, name in spec.model.layers[:-1]:
        model.add(keras.layers.Dense(units, activation=chosen(name)))
    model.add(keras.layers.Dense(spec.model.layer_sizes[-1], name="logits"))
    if not onnx:
        model.add(keras.layers.Softmax())
    load_weights(model, weights)
    return model


def export(spec: Spec, weights: Tensors, kind: str, folder: Path) -> list[str]:
    """Write a `keras` or an `onnx` file into a folder; returns its name in a list."""
    if kind == "keras":
        network(spec, weights, onnx=False).save(folder / "model.keras")
        return ["model.keras"]
    model = network(spec, weights, onnx=True)
    model(np.zeros((2, spec.model.layer_sizes[0]), spec.training.precision))
    model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
    return ["model.onnx"]
