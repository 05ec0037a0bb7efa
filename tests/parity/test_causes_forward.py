"""Layers that make something else of their input: named at the layer where it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy_side import Hidden, NumpySide
from scipy.special import expit
from small_problems import look_at, only_break, problem, spec_of, told

from mnist_mlp.reference import Array, Tensors
from mnist_mlp.spec import Spec

SIGMOID, GELU, LEAKY = spec_of(), spec_of("gelu"), spec_of("leaky_relu(0.3)")
SQUARE = spec_of("tanh", sizes=(16, 16))


def kernels(change: Callable[[Array], Array], *layers: int) -> Callable[[Tensors], Tensors]:
    """The kernels of some layers, or of all, used in another way."""

    def used(weights: Tensors) -> Tensors:
        return {
            name: change(w)
            if w.ndim == 2 and (not layers or int(name.split(".")[1]) in layers)
            else w
            for name, w in weights.items()
        }

    return used


def reshaped(kernel: Array) -> Array:
    return kernel.reshape(kernel.shape[::-1]).T


def transposed(kernel: Array) -> Array:
    return kernel.T if kernel.shape[0] == kernel.shape[1] else kernel


@pytest.mark.parametrize(
    ("layers", "place"), [((), "every layer"), ((0,), "layer 0"), ((1,), "layer 1")]
)
def test_a_reshaped_kernel_is_told_as_one_before_training(
    layers: Sequence[int], place: str
) -> None:
    found = only_break(SIGMOID, used=kernels(reshaped, *layers))
    assert told(found) == ("kernel_reshaped", "init", 0, min(layers, default=0), "kernel")
    assert (found.cause.value, found.epoch) == (place, 0)


def test_a_transposed_square_kernel() -> None:
    found = only_break(SQUARE, used=kernels(transposed))
    assert told(found) == ("kernel_transposed", "init", 0, 1, "kernel")


@pytest.mark.parametrize("layer", [0, 2])
def test_a_missing_bias_shows_as_soon_as_it_is_not_zero(layer: int) -> None:
    name = f"layers.{layer}.bias"
    found = only_break(SIGMOID, used=lambda w: {**w, name: np.zeros_like(w[name])})
    tensor = "logits" if layer == 2 else "pre_activation"
    assert told(found) == ("bias_missing", "forward", 2, layer, tensor)
    assert found.cause.value == f"layer {layer}"


# --- Activations ----------------------------------------------------------------------------------


def piecewise(low: float, high: float, slope: float, offset: float) -> Hidden:
    """A straight line between two limits."""
    return Hidden(
        lambda z: np.clip(slope * z + offset, low, high),
        lambda z: slope * ((slope * z + offset > low) & (slope * z + offset < high)),
    )


def _quick_gelu(z: Array) -> Array:
    return z * expit(1.702 * z)


def _tanh_gelu(z: Array) -> Array:
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def derived(function: Callable[[Array], Array]) -> Hidden:
    """A smooth function of complex numbers and its derivative."""
    return Hidden(
        lambda z: function(z.astype(np.float64)),
        lambda z: function(z.astype(np.float64) + 1e-30j).imag * 1e30,
    )


def _complex_sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


OTHERS: dict[str, tuple[Spec, str | Hidden, str, str]] = {
    "hard sigmoid of Keras 2": (SIGMOID, piecewise(0, 1, 0.2, 0.5), "hard_sigmoid", ""),
    "hard sigmoid of Keras 3": (SIGMOID, piecewise(0, 1, 1 / 6, 0.5), "hard_sigmoid", "Keras 3"),
    "tanh": (SIGMOID, "tanh", "other_activation", "tanh instead of sigmoid"),
    "relu": (SIGMOID, "relu", "other_activation", "relu instead of sigmoid"),
    "none": (SIGMOID, "linear", "activation_missing", "linear instead of sigmoid"),
    "sigmoid for relu": (spec_of("relu"), "sigmoid", "other_activation", "sigmoid"),
    "torch's slope": (LEAKY, "leaky_relu(0.01)", "leaky_relu_slope", "leaky_relu(0.01)"),
    "slope 0": (LEAKY, "relu", "other_activation", "relu"),
    "gelu by tanh": (GELU, derived(_tanh_gelu), "gelu_tanh_approximation", ""),
    "silu": (GELU, "silu", "other_activation", "silu"),
    "elu for selu": (spec_of("selu"), "elu", "other_activation", "elu instead of selu"),
    "hard tanh": (spec_of("tanh"), piecewise(-1, 1, 1, 0), "other_activation", "hard_tanh"),
    "softsign": (
        spec_of("tanh"),
        Hidden(lambda z: z / (1 + np.abs(z)), lambda z: 1 / (1 + np.abs(z)) ** 2),
        "other_activation",
        "softsign",
    ),
    "quick gelu": (
        GELU,
        Hidden(
            _quick_gelu,
            lambda z: expit(1.702 * z) * (1 + 1.702 * z * (1 - expit(1.702 * z))),
        ),
        "other_activation",
        "quick_gelu",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_activation_is_named(name: str) -> None:
    spec, other, cause, value = OTHERS[name]
    found = only_break(spec, hidden=[other, other])
    assert told(found) == (cause, "forward", 1, 0, "activation")
    assert value in (found.cause.value or "")


def test_an_activation_that_differs_for_large_values_only() -> None:
    """The first step with a pre-activation over 6 is named, not the first one judged."""
    spec = spec_of("relu", learning_rate=0.3, momentum=0.9)
    found = only_break(spec, hidden=[piecewise(0, 6, 1, 0), "relu"])
    first = next(
        step.step
        for step in problem(spec).steps(NumpySide(spec))
        if step.record.pre_activations[0].max() > 6
    )
    assert first > 3
    assert told(found) == ("other_activation", "forward", first, 0, "activation")
    assert found.cause.value == "relu6 instead of relu"


def test_another_activation_in_one_layer_only() -> None:
    found = only_break(SIGMOID, hidden=["sigmoid", "tanh"])
    assert told(found) == ("other_activation", "forward", 1, 1, "activation")
    assert found.cause.value == "tanh instead of sigmoid"


# --- Layers between layers ------------------------------------------------------------------------


def dropout(rate: float, layer: int) -> Callable[[Array, int], Array]:
    rng = np.random.default_rng(1)

    def between(a: Array, at: int) -> Array:
        return a * (rng.random(a.shape) >= rate) / (1 - rate) if at == layer else a

    return between


@pytest.mark.parametrize(("rate", "layer"), [(0.5, 0), (0.2, 1)])
def test_dropout(rate: float, layer: int) -> None:
    found = only_break(SIGMOID, between=dropout(rate, layer))
    assert told(found) == ("dropout", "forward", 1, layer, "activation")
    assert found.cause.value == f"rate {rate:g} after layer {layer}"


@pytest.mark.parametrize(
    ("axis", "epsilon", "cause"),
    [(0, 1e-3, "batch_normalisation"), (0, 1e-5, "batch_normalisation"),
     (1, 1e-5, "layer_normalisation")],
)  # fmt: skip
def test_normalisation(axis: int, epsilon: float, cause: str) -> None:
    def between(a: Array, layer: int) -> Array:
        mean, variance = a.mean(axis, keepdims=True), a.var(axis, keepdims=True)
        return a if layer else (a - mean) / np.sqrt(variance + epsilon)

    found = only_break(SIGMOID, between=between)
    assert told(found) == (cause, "forward", 1, 0, "activation")
    assert f"epsilon {epsilon:g}" in (found.cause.value or "")


# --- What has no hypothesis -----------------------------------------------------------------------

NAMELESS: dict[str, tuple[dict[str, Any], tuple[int, int, str]]] = {
    "noise on one layer": (
        {"between": lambda a, layer: a + 1e-4 * np.sin(np.arange(a.size)).reshape(a.shape)},
        (1, 0, "activation"),
    ),
    "a residual connection": (
        {"between": lambda a, layer: 1.01 * a if layer == 1 else a},
        (1, 1, "activation"),
    ),
    "steeper sigmoid": (
        {"hidden": ["sigmoid", derived(lambda z: _complex_sigmoid(1.1 * z))]},
        (1, 1, "activation"),
    ),
    "logits at a temperature": (
        {"linear": lambda z, layer: z / 2 if layer == 2 else z},
        (1, 2, "logits"),
    ),
    "weights of eight bits": (
        {"used": kernels(lambda w: np.round(w / np.abs(w).max() * 127) / 127 * np.abs(w).max())},
        (1, 0, "pre_activation"),
    ),
    "spectral normalisation": (
        {"used": kernels(lambda w: w / np.linalg.norm(w, 2), 1)},
        (1, 1, "pre_activation"),
    ),
    "bias twice": (
        {"used": lambda w: {n: 2 * t if n.endswith("bias") else t for n, t in w.items()}},
        (2, 0, "pre_activation"),
    ),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_what_has_no_hypothesis_stays_unknown(name: str) -> None:
    links, place = NAMELESS[name]
    found = look_at(NumpySide(SIGMOID, **links), SIGMOID).breaks
    assert told(found[0]) == ("unknown", "forward", *place)
    assert {item.cause.name for item in found} == {"unknown"}
