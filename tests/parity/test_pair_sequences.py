"""Recurrent layers in a pair, without a framework: two biases, first weights, and readings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mnist_mlp.parity.pair.arrange import laid_like
from mnist_mlp.parity.pair.initial_recurrent import recurrent_breaks
from mnist_mlp.parity.pair.sequences import OPERATIONS, Operations
from mnist_mlp.parity.pair.weight_map import WeightMap, match
from mnist_mlp.ports.pair import PairLayer
from mnist_mlp.ports.recurrent import Reading, Strand, read, unrolled
from mnist_mlp.reference import Array, Tensors

RNG = np.random.default_rng(0)
UNITS = 4


def layer(kind: str, gates: int, **more: tuple[int, ...]) -> PairLayer:
    shapes = {
        "kernel": (3, gates * UNITS),
        "recurrent_kernel": (UNITS, gates * UNITS),
        "bias": (gates * UNITS,),
    } | more
    return PairLayer(0, kind, kind, {"backwards": False}, shapes)


def pair(kind: str, gates: int) -> WeightMap:
    """One bias against two, as Keras and torch have them."""
    second = layer(kind, gates, recurrent_bias=(gates * UNITS,))
    found = match([layer(kind, gates)], [second])
    assert isinstance(found, WeightMap)
    return found


def test_two_biases_are_one_by_their_sum() -> None:
    weights = pair("lstm", 4)
    assert weights.whole
    first, second = RNG.normal(size=(2, 16))
    np.testing.assert_array_equal(
        weights.to_a({"0/bias": first, "0/recurrent_bias": second})["0/bias"], first + second
    )
    there = weights.to_b({"0/bias": first})
    np.testing.assert_array_equal(there["0/bias"], first)
    assert not there["0/recurrent_bias"].any()


def test_two_biases_have_one_gradient() -> None:
    weights = pair("lstm", 4)
    first, second = RNG.normal(size=(2, 16))
    got = weights.to_a({"0/bias": first, "0/recurrent_bias": second}, gradients=True)
    np.testing.assert_array_equal(got["0/bias"], first)
    there = weights.to_b({"0/bias": first}, gradients=True)
    np.testing.assert_array_equal(there["0/recurrent_bias"], first)


def test_a_bias_that_is_missing_altogether_is_no_sum() -> None:
    without = PairLayer(0, "lstm", "lstm", {}, {"kernel": (3, 16), "recurrent_kernel": (4, 16)})
    found = match([without], [layer("lstm", 4, recurrent_bias=(16,))])
    assert isinstance(found, WeightMap)
    assert not found.whole


# --- First weights --------------------------------------------------------------------------------


def drawn(kind: str, gates: int, *, forget: float = 1.0, scale: float | None = None) -> Tensors:
    """As Keras draws them; with `scale`, uniform within it as torch does."""
    shapes = layer(kind, gates).shapes
    if scale is not None:
        found = {f"0/{role}": RNG.uniform(-scale, scale, s) for role, s in shapes.items()}
        return found | {"0/recurrent_bias": RNG.uniform(-scale, scale, gates * UNITS)}
    bias = np.zeros(gates * UNITS)
    if kind == "lstm":
        bias[UNITS : 2 * UNITS] = forget
    q = np.linalg.qr(RNG.normal(size=(gates * UNITS, UNITS)))[0].T
    bound = np.sqrt(6 / (3 + gates * UNITS))
    kernel = RNG.uniform(-bound, bound, shapes["kernel"])
    return {"0/kernel": kernel, "0/recurrent_kernel": q, "0/bias": bias}


def as_torch(draw: Tensors) -> Tensors:
    return {**draw, "0/recurrent_bias": np.zeros_like(draw["0/bias"])}


def causes(a: list[Tensors], b: list[Tensors], kind: str = "lstm", gates: int = 4) -> set[str]:
    return {item.cause.name for item in recurrent_breaks(a, b, pair(kind, gates))}


def test_equal_initialisers_pass() -> None:
    ours = [drawn("lstm", 4) for _ in range(24)]
    assert not causes(ours, [as_torch(drawn("lstm", 4)) for _ in range(24)])


def test_the_forget_gate_and_torch_s_default_are_named() -> None:
    ours = [drawn("lstm", 4) for _ in range(24)]
    other = [as_torch(drawn("lstm", 4, forget=0.0)) for _ in range(24)]
    assert causes(ours, other) == {"forget_bias"}
    default = [drawn("lstm", 4, scale=0.5) for _ in range(24)]
    assert causes(ours, default) == {"torch_default_recurrent_init"}


def test_loaded_gates_in_another_order_are_named() -> None:
    ours = drawn("gru", 3)
    order = np.r_[UNITS : 2 * UNITS, :UNITS, 2 * UNITS : 3 * UNITS]
    turned = {name: w[..., order] for name, w in ours.items()}
    assert causes([ours], [as_torch(turned)], "gru", 3) == {"gru_gate_order"}
    assert not causes([ours], [as_torch(ours)], "gru", 3)


# --- Going through and reading --------------------------------------------------------------------


class Arithmetic(Operations):
    """With what the layers need beside."""

    def activation(self, name: str, x: Array) -> Array:
        return np.tanh(x) if name == "tanh" else 1 / (1 + np.exp(-x))

    def stacked(self, steps: Sequence[Array]) -> Array:
        return np.stack(list(steps), axis=1)


def gone_through(kind: str, gates: int, *, mask: Any = None, **settings: Any) -> tuple[Array, Any]:
    tensors = {
        role: np.random.default_rng(1).normal(size=shape)
        for role, shape in layer(kind, gates).shapes.items()
    }
    x = np.random.default_rng(2).normal(size=(2, 5, 3))
    settings = {"activation": "tanh", "recurrent_activation": "sigmoid"} | settings
    state = [np.zeros((2, UNITS)) for _ in range(1 + (kind == "lstm"))]
    return unrolled(kind, x, tensors, settings, state, Arithmetic(), mask)


def test_a_mask_holds_the_state() -> None:
    mask = np.array([[True, True, False, False, False], [True] * 5])
    free, _ = gone_through("lstm", 4)
    held, end = gone_through("lstm", 4, mask=mask)
    np.testing.assert_array_equal(held[1], free[1])
    np.testing.assert_array_equal(held[0, :2], free[0, :2])
    np.testing.assert_array_equal(held[0, 2:], np.broadcast_to(free[0, 1], (3, UNITS)))
    np.testing.assert_array_equal(end[0], held[:, -1])


def test_a_reset_before_the_product_differs_from_the_second_step_on() -> None:
    after, _ = gone_through("gru", 3, reset_after=True)
    before, _ = gone_through("gru", 3, reset_after=False)
    np.testing.assert_allclose(after[:, 0], before[:, 0], rtol=1e-12)
    assert np.abs(after[:, 1] - before[:, 1]).max() > 1e-3


STEPS = RNG.normal(size=(2, 5, 3))
BOTH = [Strand(STEPS, STEPS[:, -1]), Strand(2 * STEPS, 2 * STEPS[:, -1], backwards=True)]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Reading("last"), np.concatenate([STEPS[:, -1], 2 * STEPS[:, -1]], axis=1)),
        (Reading("at the end"), np.concatenate([STEPS[:, -1], 2 * STEPS[:, 0]], axis=1)),
        (Reading("last", "ave"), 1.5 * STEPS[:, -1]),
        (Reading("sequence", "sum"), STEPS + 2 * STEPS[:, ::-1]),
        (Reading("mean", "mul"), 2 * STEPS.mean(axis=1) ** 2),
    ],
)
def test_two_directions_are_read_in_several_ways(how: Reading, expected: Array) -> None:
    np.testing.assert_allclose(read(BOTH, how, OPERATIONS), expected)


def test_steps_may_come_before_rows() -> None:
    turned = STEPS.swapaxes(0, 1)
    np.testing.assert_array_equal(laid_like(turned, STEPS), STEPS)
    square = RNG.normal(size=(4, 4, 3))
    np.testing.assert_array_equal(laid_like(square.swapaxes(0, 1), square), square)
    np.testing.assert_array_equal(laid_like(square, square), square)
