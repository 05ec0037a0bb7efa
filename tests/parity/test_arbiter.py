"""The arbiter: its values are the reference's, and its terms bound what honest roundings leave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mnist_mlp import reference
from mnist_mlp.parity.steps import arbiter
from mnist_mlp.parity.steps.arbiter import Expected, ForwardValues
from mnist_mlp.parity.steps.judge import LIMITS
from mnist_mlp.plan import glorot_uniform
from mnist_mlp.reference import Array
from mnist_mlp.spec import ACTIVATIONS, OptimizerSpec, parse_spec

EPS = arbiter.eps_of("float32")
HIDDEN = [*ACTIVATIONS, "leaky_relu(0.2)"]
RNG = np.random.default_rng(8)
LABELS = RNG.integers(0, 10, 64)


def logits(scale: float) -> Array:
    """64 rows whose logits spread over about a scale, in float32."""
    return (RNG.normal(size=(64, 10)) * scale).astype(np.float32)


def margin(got: Any, judged: Expected, rung: str) -> float:
    return float(arbiter.units(np.asarray(got), judged, eps=EPS).max() / LIMITS[rung])


def network(hidden: str, *, scale: float = 1.0) -> tuple[Any, dict[str, Array], Array]:
    spec = parse_spec(
        {"model": {"layer_sizes": [30, 16, 12, 10], "activations": [hidden, hidden, "softmax"]}}
    )
    weights = glorot_uniform(spec.model, seed=4, dtype="float32")
    weights = {n: (w * scale + 0.01).astype(np.float32) for n, w in weights.items()}
    return spec, weights, RNG.random((64, 30)).astype(np.float32)


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", HIDDEN)
def test_values_are_those_of_the_reference(hidden: str) -> None:
    spec, weights, x = network(hidden)
    exact = {name: w.astype(np.float64) for name, w in weights.items()}
    passed = reference.forward(exact, spec.model.activations, x.astype(np.float64))
    z0 = arbiter.dense(x, weights["layers.0.kernel"], weights["layers.0.bias"])
    np.testing.assert_allclose(z0.value, passed.pre_activations[0], rtol=0, atol=1e-15)
    a0 = arbiter.activation(hidden, passed.pre_activations[0])
    np.testing.assert_array_equal(a0.value, passed.activations[0])
    loss = arbiter.mean_cross_entropy(passed.logits, LABELS)
    assert loss.value == pytest.approx(reference.sample_losses(passed.logits, LABELS).mean())
    gradient = arbiter.gradients(
        weights,
        spec.model.activations,
        ForwardValues(x, passed.pre_activations, passed.activations),
        arbiter.logit_gradient(passed.logits, LABELS),
    )
    for name, g in reference.backward(exact, x.astype(np.float64), LABELS, passed).items():
        np.testing.assert_allclose(gradient[name].value, g, rtol=1e-12, atol=1e-16)
        assert (gradient[name].terms >= np.abs(g) * (1 - 1e-12)).all()


# --- Bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0, 500.0])
def test_honest_losses_at_extreme_logits(scale: float) -> None:
    """float32 by log-softmax, by the sum of exponentials, and by torch's and Keras's own order."""
    z = logits(scale)
    rows = np.arange(64)
    top = z.max(axis=1, keepdims=True)
    shifted = z - top
    normal = np.log(np.exp(shifted).sum(axis=1))
    ways = [
        -(shifted - normal[:, None])[rows, LABELS],
        normal - shifted[rows, LABELS],
        (normal + top[:, 0]) - z[rows, LABELS],
    ]
    for losses in ways:
        judged = arbiter.mean_cross_entropy(z, LABELS)
        assert margin(losses.mean(dtype=np.float32), judged, "loss") < 1
        assert margin(losses[::-1].sum() / np.float32(64), judged, "loss") < 1


@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0, 500.0])
def test_honest_logit_gradients(scale: float) -> None:
    z = logits(scale)
    judged = arbiter.logit_gradient(z, LABELS)
    one_hot = np.eye(10, dtype=np.float32)[LABELS]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    for got in ((p - one_hot) / np.float32(64), p * np.float32(1 / 64) - one_hot / np.float32(64)):
        assert margin(got, judged, "gradient") < 1
    by_logs = np.exp(reference.log_softmax(z))
    assert margin((by_logs - one_hot) / np.float32(64), judged, "gradient") < 1


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_honest_layers_and_gradients(hidden: str, scale: float) -> None:
    """A whole float32 pass, each stage from the one before it; weights that saturate, too."""
    spec, weights, x = network(hidden, scale=scale)
    passed = reference.forward(weights, spec.model.activations, x)
    below: Array = x
    for layer, z in enumerate(passed.pre_activations):
        names = reference.kernel_name(layer), reference.bias_name(layer)
        assert margin(z, arbiter.dense(below, *(weights[n] for n in names)), "forward") < 1
        if layer < 2:
            below = passed.activations[layer]
            assert margin(below, arbiter.activation(hidden, z), "forward") < 1
    judged = arbiter.gradients(
        weights,
        spec.model.activations,
        ForwardValues(x, passed.pre_activations, passed.activations),
        arbiter.logit_gradient(passed.logits, LABELS),
    )
    for name, g in reference.backward(weights, x, LABELS, passed).items():
        assert margin(g, judged[name], "gradient") < 1, name


@pytest.mark.parametrize("hidden", HIDDEN)
def test_honest_activations_far_out(hidden: str) -> None:
    z = np.linspace(-60, 60, 4001).astype(np.float32)
    a, s = reference.activate(hidden, z)
    assert margin(a, arbiter.activation(hidden, z), "forward") < 1
    assert margin(s, arbiter.slope(hidden, z, a), "gradient") < 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-2},
        {"name": "adam"},
        {"name": "adam", "weight_decay": 0.1},
    ],
)
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_honest_updates(step: int, options: dict[str, Any]) -> None:
    optimizer = OptimizerSpec(learning_rate=0.03, **options)
    weights = {"layers.0.kernel": RNG.normal(size=(40, 30)).astype(np.float32)}
    gradient = {n: (w[::-1] * RNG.choice([1e-6, 1e-3, 1])).copy() for n, w in weights.items()}
    slots = reference.initial_slots(optimizer, weights)
    if step > 1:
        slots = {
            slot: {n: np.abs(RNG.normal(size=w.shape)).astype(np.float32) for n, w in t.items()}
            for slot, t in slots.items()
        }
    given = {"weights": weights, "slots": slots, "gradient": gradient}
    new, _ = reference.update(optimizer, step=step, **given)
    exact: Any = {
        key: {n: t.astype(np.float64) for n, t in value.items()}
        if key != "slots"
        else {s: {n: t.astype(np.float64) for n, t in v.items()} for s, v in value.items()}
        for key, value in given.items()
    }
    truth, new_slots = reference.update(optimizer, step=step, **exact)
    terms = arbiter.update_terms(optimizer, step=step, new_slots=new_slots, **exact)
    for name, w in new.items():
        assert margin(w, Expected(truth[name], terms[name]), "update") < 1


# --- Units ----------------------------------------------------------------------------------------


def test_units_count_roundings() -> None:
    judged = Expected(np.array([1.0, 2.0, 0.0]), np.array([1.0, 4.0, 0.0]))
    got = np.array([1 + 3 * EPS, 2 - 8 * EPS, 0.0])
    np.testing.assert_allclose(arbiter.units(got, judged, eps=EPS), [3, 2, 0])


def test_what_is_not_finite_is_infinitely_far_off() -> None:
    judged = Expected(np.ones(3), np.ones(3))
    distances = arbiter.units(np.array([np.nan, np.inf, 1.0]), judged, eps=EPS)
    assert distances.tolist() == [np.inf, np.inf, 0]


def test_distances_that_overflow_are_infinite_without_a_warning() -> None:
    """Here warnings are errors."""
    judged = Expected(np.array([np.inf, 0.0]), np.array([np.inf, 0.0]))
    assert arbiter.units(np.array([np.inf, 1e300]), judged, eps=EPS).tolist() == [np.inf, np.inf]


def test_denormals_may_be_flushed() -> None:
    """TensorFlow does so on a CPU."""
    judged = Expected(np.array([1e-40]), np.array([1e-40]))
    assert arbiter.units(np.array([0.0]), judged, eps=EPS)[0] < 1
