"""The update rules against numbers from elsewhere: hand work and scalar code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mnist_mlp import reference
from mnist_mlp.reference import update
from mnist_mlp.spec import OptimizerSpec


def run(
    gradients: list[float], *, weight: float = 1.0, dtype: str = "float64", **options: Any
) -> list[float]:
    """The weight after each of some steps of a network with one weight."""
    optimizer = OptimizerSpec(**{"learning_rate": 0.1, **options})
    weights = {"w": np.array([weight], dtype)}
    slots: dict[str, Any] = reference.initial_slots(optimizer, weights)
    path = []
    for step, g in enumerate(gradients, start=1):
        weights, slots = update(
            optimizer, weights=weights, slots=slots, gradient={"w": np.array([g], dtype)}, step=step
        )
        assert weights["w"].dtype == np.dtype(dtype)
        path.append(float(weights["w"][0]))
    return path


@pytest.mark.parametrize(
    ("options", "gradients", "weights"),
    [
        # w - 0.1 g
        ({}, [2, -1], [0.8, 0.9]),
        # v = 2, then 0.5 * 2 - 1 = 0
        ({"momentum": 0.5}, [2, -1], [0.8, 0.8]),
        # d + 0.5 v: 2 + 1 = 3, then v = 0.5 * 2 - 1 = 0 and -1 + 0
        ({"momentum": 0.5, "nesterov": True}, [2, -1], [0.7, 0.8]),
        # d = 2 + 0.5 * 1 = 2.5, then -1 + 0.5 * 0.75 = -0.625
        ({"weight_decay": 0.5}, [2, -1], [0.75, 0.8125]),
        # d = 2.5, v = 2.5; d = -0.625, v = 1.25 - 0.625 = 0.625
        ({"weight_decay": 0.5, "momentum": 0.5}, [2, -1], [0.75, 0.6875]),
        # 3 is clipped to 0.5; -0.25 is not
        ({"clip_norm": 0.5}, [3, -0.25], [0.95, 0.975]),
        # clipped first, then decayed: 0.5 + 0.5 * 1
        ({"clip_norm": 0.5, "weight_decay": 0.5}, [3], [0.9]),
        # learning rates 0.1, 1, 1: the velocity is free of the learning rate
        ({"schedule": [[2, 1.0]], "momentum": 0.5}, [2, -1, -1], [0.8, 0.8, 1.8]),
    ],
)
def test_sgd_by_hand(options: dict[str, Any], gradients: list[float], weights: list[float]) -> None:
    np.testing.assert_allclose(run(gradients, **options), weights, rtol=1e-14)


def keras_adam(gradients: list[float], *, rate: float, b1: float, b2: float, eps: float) -> Any:
    """Keras 3's `Adam.update_step` in scalars (keras/src/optimizers/adam.py)."""
    w, m, v = 1.0, 0.0, 0.0
    path = []
    for t, g in enumerate(gradients, start=1):
        alpha = rate * math.sqrt(1 - b2**t) / (1 - b1**t)
        m += (g - m) * (1 - b1)
        v += (g * g - v) * (1 - b2)
        w -= m * alpha / (math.sqrt(v) + eps)
        path.append(w)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"b1": 0.9, "b2": 0.999, "eps": 1e-7},
        {"b1": 0.5, "b2": 0.9, "eps": 1e-2},
        {"b1": 0.0, "b2": 0.5, "eps": 1e-3},
    ],
)
def test_adam_is_keras_s(options: dict[str, float]) -> None:
    gradients = [3.0, -1e-6, 1e-7, 0.2, -0.7, 5.0]
    keys = {"b1": "beta_1", "b2": "beta_2", "eps": "epsilon"}
    named: dict[str, Any] = {keys[key]: value for key, value in options.items()}
    ours = run(gradients, name="adam", learning_rate=0.01, **named)
    np.testing.assert_allclose(ours, keras_adam(gradients, rate=0.01, **options), rtol=1e-13)


def test_adam_is_not_torch_s() -> None:
    """With a gradient as small as epsilon: torch adds epsilon after the bias correction."""
    (ours,) = run([1e-7], name="adam", learning_rate=0.1)
    torch = 1 - 0.1 * 1e-7 / (1e-7 + 1e-7)
    keras = 1 - 0.1 * 1e-7 / (1e-7 + 1e-7 / math.sqrt(1 - 0.999))
    assert ours == pytest.approx(keras, rel=1e-12)
    assert abs(ours - torch) > 0.04


def test_clipping_takes_all_tensors_together() -> None:
    gradient = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    assert reference.global_norm(gradient) == 5
    clipped = reference.clip_by_global_norm(gradient, 1.0)
    np.testing.assert_allclose(clipped["a"], [0.6, 0], rtol=1e-15)
    np.testing.assert_allclose(clipped["b"], [[0.8]], rtol=1e-15)
    for limit in (0.0, 5.0, 6.0):
        for name, g in reference.clip_by_global_norm(gradient, limit).items():
            np.testing.assert_array_equal(g, gradient[name])


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_single_precision_updates_stay_single(name: str) -> None:
    options: dict[str, Any] = {} if name == "adam" else {"momentum": 0.9, "nesterov": True}
    more: Any = {"weight_decay": 0.1, "clip_norm": 0.5, "schedule": [[2, 0.05]]}
    single = run([2, -1, 3], dtype="float32", name=name, **options, **more)
    double = run([2, -1, 3], name=name, **options, **more)
    np.testing.assert_allclose(single, double, rtol=1e-5)
    assert single != double


def test_nothing_is_changed_in_place() -> None:
    optimizer = OptimizerSpec(momentum=0.9, weight_decay=0.1)
    weights, gradient = {"w": np.ones(3)}, {"w": np.full(3, 2.0)}
    slots = {"velocity": {"w": np.full(3, 4.0)}}
    update(optimizer, weights=weights, slots=slots, gradient=gradient, step=1)
    assert weights["w"].tolist() == [1, 1, 1]
    assert gradient["w"].tolist() == [2, 2, 2]
    assert slots["velocity"]["w"].tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("options", "slots"),
    [
        ({}, []),
        ({"momentum": 0.9}, ["velocity"]),
        ({"name": "adam"}, ["first_moment", "second_moment"]),
    ],
)
def test_slots_start_as_zeros(options: dict[str, Any], slots: list[str]) -> None:
    made = reference.initial_slots(OptimizerSpec(**options), {"w": np.ones((2, 3), np.float32)})
    assert list(made) == slots
    for tensors in made.values():
        assert tensors["w"].shape == (2, 3)
        assert tensors["w"].dtype == np.float32
        assert not tensors["w"].any()
