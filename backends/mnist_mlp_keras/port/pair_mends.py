"""Experiments on a Keras model: a layer gets another setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from mnist_mlp.ports.pair import Mend
from mnist_mlp_keras.engine import dense
from mnist_mlp_keras.port.pair_layers import tensors_of

ATTRIBUTES = {
    "epsilon": "epsilon",
    "momentum": "momentum",
    "rate": "rate",
    "groups": "groups",
    "stddev": "stddev",
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


OTHERWISE = 1e-9
"""Share of a movement that is no rounding in float64, nor a constant that was float32."""


def moves_otherwise(optimizer: Any, gradient: Any, variable: Any) -> bool:
    """Whether a first step by a sparse gradient is another than by the same one made dense."""
    moved, rate = [], optimizer._learning_rate
    if not isinstance(rate, keras.Variable):  # a schedule of the user's own may have no config
        optimizer._learning_rate = None
    config = optimizer.get_config()
    optimizer._learning_rate = rate
    for given in (gradient, dense(gradient)):
        one = keras.Variable(keras.ops.convert_to_numpy(variable), dtype=variable.dtype)
        made = type(optimizer).from_config(config)
        made.build([one])
        made.apply([given], [one])
        moved.append(keras.ops.convert_to_numpy(one) - keras.ops.convert_to_numpy(variable))
    apart = float(abs(moved[0] - moved[1]).max())
    return keras.config.floatx() == "float64" and apart > OTHERWISE * float(abs(moved[1]).max())


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
    """Let the weights of some layers be trained, or one of them not; `numbers` are those of the
    layers."""
    for mend in mends:
        if mend.field == "frozen" and mend.layer in numbers:
            variable = tensors_of(layers[numbers.index(mend.layer)]).get(mend.value)
            if variable is not None:
                variable.trainable = False
        if mend.field == "trained" and mend.layer in numbers:
            layers[numbers.index(mend.layer)].trainable = True
