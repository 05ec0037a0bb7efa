"""The update rules of both frameworks in NumPy: values worked out by hand, and changes of them."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest

from mnist_mlp.ports.clipping import if_other
from mnist_mlp.ports.update_rules import (
    FIELDS,
    RULES,
    ByStep,
    ByTensor,
    Given,
    Memory,
    Updates,
    changed,
    replayed,
    settings_of_kind,
)

EPS = 1e-2
"""Large, so that its place shows."""


def after(framework: str, kind: str, *gradients: float, w: float = 1.0, **found: Any) -> float:
    """A weight that begins at `w`, after updates by these gradients."""
    settings = settings_of_kind(framework, kind, {"learning_rate": 0.5, "epsilon": EPS, **found})
    memory, weight = Memory(), np.array(w)
    for g in gradients:
        weight = memory.moved(weight, np.array(g), settings)
    return float(weight)


# Each expected movement is the formula of the framework's page, with 2 and then 1 as gradients.
BETAS = {"beta_1": 0.9, "beta_2": 0.99}
M1, M2 = 0.2, 0.28  # 0.1 * 2, and 0.9 * 0.2 + 0.1 * 1
V1, V2 = 0.04, 0.0496  # 0.01 * 4, and 0.99 * 0.04 + 0.01 * 1


@pytest.mark.parametrize(
    ("framework", "kind", "found", "moves"),
    [
        ("keras", "SGD", {"momentum": 0.9}, (1.0, 0.9 + 0.5)),
        ("torch", "SGD", {"momentum": 0.9, "dampening": 0.4}, (1.0, 0.5 * (1.8 + 0.6))),
        ("torch", "SGD", {"momentum": 0.9, "nesterov": True}, (1.9, 0.5 * (1 + 0.9 * 2.8))),
        ("keras", "RMSprop", {"rho": 0.9}, (1 / sqrt(0.4 + EPS), 0.5 / sqrt(0.46 + EPS))),
        ("torch", "RMSprop", {"rho": 0.9}, (1 / (sqrt(0.4) + EPS), 0.5 / (sqrt(0.46) + EPS))),
        (
            "torch",
            "RMSprop",
            {"rho": 0.9, "centered": True},
            (1 / (sqrt(0.4 - 0.04) + EPS), 0.5 / (sqrt(0.46 - 0.28**2) + EPS)),
        ),
        (
            "keras",
            "Adam",
            BETAS,
            (
                0.5 * sqrt(0.01) / 0.1 * M1 / (sqrt(V1) + EPS),
                0.5 * sqrt(1 - 0.99**2) / 0.19 * M2 / (sqrt(V2) + EPS),
            ),
        ),
        (
            "torch",
            "Adam",
            BETAS,
            (0.5 * 2 / (2 + EPS), 0.5 * (M2 / 0.19) / (sqrt(V2 / (1 - 0.99**2)) + EPS)),
        ),
        ("keras", "Adagrad", {"initial_accumulator": 0.1},
         (1 / sqrt(4.1 + EPS), 0.5 / sqrt(5.1 + EPS))),
        ("torch", "Adagrad", {"rate_decay": 1.0}, (1 / (2 + EPS), 0.25 / (sqrt(5) + EPS))),
        ("keras", "Adamax", BETAS, (1 / (2 + EPS), 0.5 * M2 / 0.19 / (1.98 + EPS))),
        ("torch", "Adamax", BETAS, (1 / (2 + EPS), 0.5 * M2 / 0.19 / (0.99 * (2 + EPS)))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_rule_by_hand(
    framework: str, kind: str, found: dict[str, Any], moves: tuple[float, float]
) -> None:
    assert after(framework, kind, 2.0, **found) == pytest.approx(1 - moves[0], rel=1e-13)
    both = 1 - moves[0] - moves[1]
    assert after(framework, kind, 2.0, 1.0, **found) == pytest.approx(both, rel=1e-13)


def test_adadelta_by_hand() -> None:
    first = sqrt(EPS) / sqrt(0.4 + EPS) * 2
    second = sqrt(0.1 * first**2 + EPS) / sqrt(0.46 + EPS)
    expected = 1 - 0.5 * (first + second)
    assert after("torch", "Adadelta", 2.0, 1.0, rho=0.9) == pytest.approx(expected, rel=1e-13)


def test_nadam_by_hand() -> None:
    """The first step, of Keras and of torch with its own pace."""
    for framework, pace in (("keras", 1.0), ("torch", 0.004)):
        now, later = (0.9 * (1 - 0.5 * 0.96 ** (t * pace)) for t in (1, 2))
        ahead = later * M1 / (1 - now * later) + (1 - now) * 2 / (1 - now)
        expected = 1 - 0.5 * ahead / (2 + EPS)
        found = BETAS | ({} if framework == "keras" else {"momentum_decay": pace})
        assert after(framework, "Nadam", 2.0, **found) == pytest.approx(expected, rel=1e-13)


def test_amsgrad_keeps_the_largest_moment() -> None:
    small = after("keras", "Adam", 2.0, 0.0, 0.0, **BETAS) - after(
        "keras", "Adam", 2.0, 0.0, **BETAS
    )
    kept = after("keras", "Adam", 2.0, 0.0, 0.0, amsgrad=True, **BETAS) - after(
        "keras", "Adam", 2.0, 0.0, amsgrad=True, **BETAS
    )
    assert abs(kept) < abs(small)


def test_decay_is_subtracted_in_keras_and_added_to_the_gradient_in_torch() -> None:
    found = {"weight_decay": 0.1, "momentum": 0.9}
    # w = 4: coupled, the velocity takes 0.4 in and keeps it.
    assert after("keras", "SGD", 0.0, w=4.0, **found) == pytest.approx(4 - 0.2)
    assert after("torch", "SGD", 0.0, w=4.0, **found) == pytest.approx(4 - 0.2)
    assert after("keras", "SGD", 0.0, 0.0, w=4.0, **found) == pytest.approx(3.8 - 0.19)
    coupled = 3.8 - 0.5 * (0.9 * 0.4 + 0.38)
    assert after("torch", "SGD", 0.0, 0.0, w=4.0, **found) == pytest.approx(coupled)


def test_a_new_rate_acts_on_the_old_velocity_in_torch_alone() -> None:
    weights = {}
    for framework in RULES:
        settings = settings_of_kind(framework, "SGD", {"learning_rate": 1.0, "momentum": 0.9})
        memory = Memory()
        w = memory.moved(np.array(0.0), np.array(1.0), settings)
        weights[framework] = float(memory.moved(w, np.array(0.0), {**settings, "learning_rate": 0}))
    assert weights == {"keras": -1.9, "torch": -1.0}


@pytest.mark.parametrize("kind", list(FIELDS))
def test_every_kind_moves_a_weight_against_its_gradient(kind: str) -> None:
    for framework in RULES:
        found = {"rho": 0.9, **BETAS}
        up, down = (after(framework, kind, g, **found) for g in (2.0, -2.0))
        assert up < 1 < down
        assert after(framework, kind, 2.0, maximize=True, **found) == pytest.approx(down)


def test_gradients_are_clipped() -> None:
    gradients = {"a": np.array([3.0, 4.0]), "b": np.array([12.0])}
    weights = {name: np.zeros_like(g) for name, g in gradients.items()}

    def moved(**clip: Any) -> dict[str, Any]:
        settings = {**settings_of_kind("keras", "SGD", {"learning_rate": 1.0, **clip}), **clip}
        taken = Updates().taken(weights, gradients, dict.fromkeys(gradients, settings))
        return {name: list(-w) for name, w in taken.items()}

    assert moved(clip="value", clip_at=3.5) == {"a": [3.0, 3.5], "b": [3.5]}
    assert moved(clip="tensor", clip_at=10.0) == {"a": [3.0, 4.0], "b": [10.0]}
    assert moved(clip="global", clip_at=26.0) == {"a": [3.0, 4.0], "b": [12.0]}
    assert moved(clip="global", clip_at=6.5) == {"a": [1.5, 2.0], "b": [6.0]}
    slack = moved(clip="global", clip_at=6.5, clip_slack=13.0)
    assert slack == {"a": [0.75, 1.0], "b": [3.0]}
    # Two halves of one variable have one norm.
    assert moved(clip="tensor", clip_at=6.5, part_of="a") == {"a": [1.5, 2.0], "b": [6.0]}


def test_a_setting_is_changed_for_a_step_or_a_tensor() -> None:
    settings = {"learning_rate": 1.0, "weight_decay": 0.5}
    changes = {"learning_rate": ByStep((2.0, 3.0)), "weight_decay": ByTensor((("b", 0.0),))}
    assert changed(settings, changes, 1, "a") == {"learning_rate": 3.0, "weight_decay": 0.5}
    assert changed(settings, changes, 0, "b") == {"learning_rate": 2.0, "weight_decay": 0.0}


def test_a_replay_with_a_change_is_another_run() -> None:
    """The planted fault of what the judge does: a wrong setting shows, and the right one mends."""
    w, g = {"a": np.ones(3)}, {"a": np.array([1.0, 1e-4, 1e-6])}
    settings = {
        framework: settings_of_kind(
            framework, "RMSprop", {"learning_rate": 1e-3, "rho": 0.9, "epsilon": 1e-7}
        )
        for framework in RULES
    }
    runs = {f: replayed([Given(w, g, {"a": s})] * 3) for f, s in settings.items()}
    apart = np.abs(runs["keras"][2]["a"] - runs["torch"][2]["a"])
    assert apart[2] > 0.5 * abs(1 - runs["torch"][2]["a"][2])
    given = [Given(w, g, {"a": settings["torch"]})] * 3
    mended = replayed(given, {"epsilon_in": "the root"})
    np.testing.assert_allclose(mended[2]["a"], runs["keras"][2]["a"], rtol=1e-15)


def test_what_an_optimizer_took_is_kept_where_it_is_other() -> None:
    left = {"a": np.ones(2), "b": np.zeros(1)}
    assert if_other({"a": np.ones(2)}, left) == {}
    taken = {"a": np.array([1.0, 1.0 + 1e-15]), "b": np.zeros(1)}
    assert if_other(taken, left) is taken
