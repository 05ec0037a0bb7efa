"""What can be told of a user's model before it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from mnist_mlp.contract import Array, Tensors
from mnist_mlp.ports.trials import distinct_draws
from mnist_mlp.reference import bias_name, kernel_name
from mnist_mlp_keras.port.load import Given, dense_of, layers_in_order
from mnist_mlp_keras.port.recorder import innermost
from mnist_mlp_keras.port.state import number

DRAW_SECONDS = 6.0
SCHEDULED_STEPS, CHANGES = 4200, 16
"""Steps of a schedule that are asked for (ten of the tutorial's epochs), and changes among them
that make a list of constants of it."""


def native_weights(model: Any, x: Array) -> dict[str, Array]:
    """The Dense layers' weights as they are."""
    weights = {}
    for index, layer in enumerate(dense_of(layers_in_order(model, x))):
        weights[kernel_name(index)] = number(layer.kernel)
        bias = np.zeros(layer.units, np.float32) if layer.bias is None else number(layer.bias)
        weights[bias_name(index)] = bias
    return weights


def draws(given: Given, x: Array) -> tuple[Tensors, ...]:
    """Initial weights of several models, each made after another seed; one if it seeds itself."""

    def drawn(seed: int) -> Tensors:
        if seed == 0:
            return native_weights(given.first(), x)
        return native_weights(given.drawn(seed), x)

    return distinct_draws(drawn, seconds=DRAW_SECONDS) if given.maker is not None else (drawn(0),)


def optimizer_settings(model: Any) -> dict[str, Any]:
    """Class name and settings; a schedule of the learning rate as text."""
    optimizer = innermost(model.optimizer)
    if optimizer is None:
        return {}
    try:
        config = optimizer.get_config()
    except Exception:  # a user's class may take what get_config does not know
        config = {"learning_rate": float(number(optimizer.learning_rate))}
    config.pop("name", None)
    settings = {
        key: value
        for key, value in config.items()
        if isinstance(value, bool | int | float | str) and value is not None
    }
    if isinstance(config.get("learning_rate"), Mapping):
        settings |= _scheduled(optimizer._learning_rate)
    rate = settings.get("learning_rate")
    if isinstance(rate, float):  # Keras keeps it in float32
        settings["learning_rate"] = float(f"{rate:.7g}")
    return {"name": type(optimizer).__name__, "kind": kind_of_optimizer(optimizer), **settings}


def kind_of_optimizer(optimizer: Any) -> str:
    """Name of Keras's optimizer that it is or is made of; empty for one of the user's own."""
    for base in type(optimizer).__mro__:
        if getattr(keras.optimizers, base.__name__, None) is base and (
            base is not keras.optimizers.Optimizer
        ):
            return base.__name__
    return ""


def _scheduled(schedule: Callable[[int], Any]) -> dict[str, Any]:
    """The rate of step 1, and `schedule` as `(step, rate)` pairs from where it changes; as text
    where it changes too often."""
    rates = [float(f"{float(number(schedule(step))):.7g}") for step in range(SCHEDULED_STEPS)]
    changes = [(i + 1, b) for i, (a, b) in enumerate(pairwise(rates), start=1) if a != b]
    told = tuple(changes) if len(changes) <= CHANGES else type(schedule).__name__
    return {"learning_rate": rates[0], "schedule": told}
