"""The written mathematics against numbers from elsewhere: `math` and differences of losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from mnist_mlp import reference
from mnist_mlp.reference import (
    Array,
    activate,
    backward,
    bias_name,
    forward,
    is_kernel,
    kernel_name,
    layer_of,
    log_softmax,
    name_parts,
    tensor_name,
)
from mnist_mlp.spec import ACTIVATIONS

HIDDEN = (*ACTIVATIONS, "leaky_relu(0.2)")
POINTS = np.array([-30.0, -5.5, -1.0, -0.3, -1e-3, 1e-3, 0.4, 1.0, 6.5, 30.0])


# --- Pixels ---------------------------------------------------------------------------------------


def test_pixels_are_divided_and_not_multiplied() -> None:
    greys = np.arange(256, dtype=np.uint8)
    scaled = reference.scale_pixels(greys, dtype=np.float32)
    assert scaled.dtype == np.float32
    divided = np.array([np.float32(grey) / np.float32(255) for grey in range(256)])
    assert scaled.tobytes() == divided.tobytes()
    multiplied = greys.astype(np.float32) * np.float32(1 / 255)
    assert (scaled != multiplied).sum() == 126
    assert (scaled[0], scaled[255]) == (0, 1)


def test_pixels_in_double_precision_are_not_single_ones() -> None:
    scaled = reference.scale_pixels(np.arange(256, dtype=np.uint8), dtype="float64")
    assert scaled.tolist() == [grey / 255 for grey in range(256)]


# --- Activations ----------------------------------------------------------------------------------

SELU = (1.0507009873554805, 1.6732632423543772)  # Klambauer et al. (2017), section 2

FORMULAS: dict[str, Callable[[float], float]] = {
    "linear": lambda z: z,
    "relu": lambda z: max(z, 0.0),
    "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
    "tanh": math.tanh,
    "softplus": lambda z: math.log1p(math.exp(z)),
    "elu": lambda z: z if z > 0 else math.expm1(z),
    "selu": lambda z: SELU[0] * (z if z > 0 else SELU[1] * math.expm1(z)),
    "gelu": lambda z: 0.5 * z * math.erfc(-z / math.sqrt(2)),
    "silu": lambda z: z / (1 + math.exp(-z)),
    "leaky_relu(0.2)": lambda z: z if z > 0 else 0.2 * z,
}


@pytest.mark.parametrize("name", HIDDEN)
def test_values_of_an_activation(name: str) -> None:
    a, _ = activate(name, POINTS)
    np.testing.assert_allclose(a, [FORMULAS[name](z) for z in POINTS], rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", HIDDEN)
def test_slope_of_an_activation(name: str) -> None:
    """Central differences: 1e-10 from the step squared, 1e-10 from cancelling."""
    h = 1e-5
    _, slope = activate(name, POINTS)
    above, below = activate(name, POINTS + h)[0], activate(name, POINTS - h)[0]
    np.testing.assert_allclose(slope, (above - below) / (2 * h), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", HIDDEN)
def test_single_precision_stays_single_and_near(name: str) -> None:
    z = POINTS.astype(np.float32)
    for single, double in zip(activate(name, z), activate(name, z.astype(np.float64)), strict=True):
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["relu", "leaky_relu(0.2)", "elu"])
def test_slope_at_zero(name: str) -> None:
    """The convention of both frameworks, where the two sides of 0 differ."""
    _, slope = activate(name, np.zeros(1))
    assert slope == {"relu": 0.0, "leaky_relu(0.2)": 0.2, "elu": 1.0}[name]


def test_no_activation_overflows_far_out() -> None:
    far = np.array([-1e4, 1e4])
    with np.errstate(over="raise", invalid="raise"):
        for name in HIDDEN:
            a, slope = activate(name, far)
            assert np.isfinite(a).all(), name
            assert np.isfinite(slope).all(), name


# --- Loss and gradient ----------------------------------------------------------------------------


def test_log_softmax_by_hand() -> None:
    got = log_softmax(np.log(np.array([[1.0, 2.0, 5.0]])))
    np.testing.assert_allclose(got, np.log([[1 / 8, 2 / 8, 5 / 8]]), rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_softmax_at_a_gap_of_10_000(dtype: str) -> None:
    logits = np.array([[0, 1e4, 0], [-1e4, -2e4, -1e4]], dtype=dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        got = log_softmax(logits)
    assert got.dtype == dtype
    half = -math.log(2)
    np.testing.assert_allclose(got, [[-1e4, 0, -1e4], [half, half - 1e4, half]], rtol=1e-6)
    losses = reference.sample_losses(logits, np.array([0, 1]))
    np.testing.assert_allclose(losses, [1e4, 1e4 - half], rtol=1e-7)


def mean_loss(weights: dict[str, Array], activations: list[str], x: Array, y: Array) -> float:
    return float(reference.sample_losses(forward(weights, activations, x).logits, y).mean())


def network(sizes: list[int]) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    weights = {}
    for layer, shape in enumerate(pairwise(sizes)):
        weights[f"layers.{layer}.kernel"] = rng.normal(size=shape)
        weights[f"layers.{layer}.bias"] = rng.normal(size=shape[1])
    return weights


def check_gradient(activations: list[str], sizes: list[int]) -> None:
    rng = np.random.default_rng(6)
    weights = network(sizes)
    x, y = rng.uniform(size=(7, sizes[0])), rng.integers(0, sizes[-1], 7)
    gradient = backward(weights, x, y, forward(weights, activations, x))
    assert gradient.keys() == weights.keys()
    h = 1e-6
    for name, tensor in weights.items():
        assert gradient[name].shape == tensor.shape
        for index in np.ndindex(tensor.shape):
            around = []
            for step in (h, -h):
                moved = tensor.copy()
                moved[index] += step
                around.append(mean_loss({**weights, name: moved}, activations, x, y))
            numeric = (around[0] - around[1]) / (2 * h)
            assert gradient[name][index] == pytest.approx(numeric, rel=1e-6, abs=1e-8), name


@pytest.mark.parametrize("name", HIDDEN)
def test_gradient_through_an_activation(name: str) -> None:
    check_gradient([name, "softmax"], [4, 5, 3])


def test_gradient_of_a_deep_network_with_mixed_activations() -> None:
    check_gradient(["tanh", "gelu", "sigmoid", "elu", "softmax"], [4, 3, 5, 4, 3, 3])


def test_gradient_without_a_hidden_layer() -> None:
    check_gradient(["softmax"], [4, 3])


def test_a_wrong_gradient_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tanh's slope without its square: the numerical check must refuse it."""
    monkeypatch.setitem(
        reference._ACTIVATIONS, "tanh", lambda z: (np.tanh(z), 1 - np.abs(np.tanh(z)))
    )
    with pytest.raises(AssertionError):
        check_gradient(["tanh", "softmax"], [4, 5, 3])


def test_canonical_names_are_read_as_they_are_written() -> None:
    for layer in (0, 7, 12):
        for part in ("kernel", "bias"):
            name = tensor_name(layer, part)
            assert (name_parts(name), layer_of(name)) == ((layer, part), layer)
            assert is_kernel(name) is (part == "kernel")
    assert (kernel_name(3), bias_name(3)) == ("layers.3.kernel", "layers.3.bias")
