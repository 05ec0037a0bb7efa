"""Experiments on a Keras model: a layer gets another setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from mnist_mlp.ports.pair import Mend

ATTRIBUTES = {
    "epsilon": "epsilon",
    "momentum": "momentum",
    "rate": "rate",
    "slope": "negative_slope",
    "alpha": "alpha",
}
"""Where a layer keeps a setting that an experiment changes."""


def set_layer(layer: Any, mends: Sequence[Mend]) -> bool:
    """Change settings of a layer; whether it is to be left out."""
    for mend in mends:
        name = ATTRIBUTES.get(mend.field)
        if name is not None and hasattr(layer, name):
            setattr(layer, name, mend.value)
    return any(mend.field == "skip" for mend in mends)


def followed(layer: Any, given: Any, result: Any, mends: Sequence[Mend]) -> Any:
    """What a layer made of what it was given, with what an experiment does to it."""
    for mend in mends:
        if mend.field == "padding_index" and mend.value is not None:
            padding = keras.ops.equal(keras.ops.cast(given, "int32"), mend.value)[..., None]
            result = keras.ops.where(padding, keras.ops.stop_gradient(result), result)
    return result


def variance_before(layer: Any, mends: Sequence[Mend]) -> Any:
    """The running variance before a step, where an experiment changes how it is moved."""
    asked = any(mend.field == "population_variance" for mend in mends)
    return keras.ops.copy(layer.moving_variance.value) if asked else None


def as_unbiased(layer: Any, given: Any, before: Any) -> None:
    """Let the running variance take a share of the unbiased variance in, as torch does."""
    n = math.prod(given.shape) // given.shape[layer.axis]
    kept = layer.momentum * before
    fresh = (layer.moving_variance.value - kept) * (n / (n - 1))
    layer.moving_variance.assign(kept + fresh)


def train(layers: Sequence[Any], numbers: Sequence[int | None], mends: Sequence[Mend]) -> None:
    """Let the weights of some layers be trained; `numbers` are those of the layers."""
    for mend in mends:
        if mend.field == "trained" and mend.layer in numbers:
            layers[numbers.index(mend.layer)].trainable = True
