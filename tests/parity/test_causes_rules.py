"""Updates by another rule: Adam's variants, other optimizers, and rules without a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy_side import Doubles, NumpySide, Update, rate, sgd
from small_problems import only_break, spec_of, told

from mnist_mlp.contract import State
from mnist_mlp.reference import update as specified

SPEC = spec_of()
ADAM = spec_of(name="adam", learning_rate=0.001)


def adam(*, epsilon: float, hat: bool, corrected: bool = True) -> Update:
    """Adam from the shared moments; `hat` adds epsilon after the bias correction, as torch does."""

    def update(
        state: State, gradient: Doubles, side: NumpySide
    ) -> tuple[Doubles, dict[str, Doubles]]:
        t, new, slots = state.step + 1, {}, {"first_moment": {}, "second_moment": {}}
        c1, c2 = (1 - 0.9**t, 1 - 0.999**t) if corrected else (1.0, 1.0)
        for name, w in state.weights.items():
            g = gradient[name]
            m = side.dtype(0.9) * state.slots["first_moment"][name] + side.dtype(0.1) * g
            s = side.dtype(0.999) * state.slots["second_moment"][name] + side.dtype(0.001) * g * g
            below = np.sqrt(s) / side.dtype(c2**0.5) + side.dtype(epsilon)
            if hat:
                below = (np.sqrt(s) + side.dtype(epsilon)) / side.dtype(c2**0.5)
            new[name] = w - side.dtype(rate(side, state) / c1) * m / below
            slots["first_moment"][name], slots["second_moment"][name] = m, s
        return new, slots

    return update


@pytest.mark.parametrize(
    ("rule", "cause", "value"),
    [
        (adam(epsilon=1e-7, hat=False), "adam_epsilon_placement", "1e-07, after"),
        (adam(epsilon=1e-8, hat=False), "adam_epsilon_placement", "1e-08, after"),
        (adam(epsilon=1e-8, hat=True), "adam_epsilon", "1e-08 instead of 1e-07"),
        (adam(epsilon=1e-3, hat=True), "adam_epsilon", "0.001 instead of 1e-07"),
        (adam(epsilon=1e-7, hat=True, corrected=False), "adam_bias_correction_missing", ""),
    ],
)
def test_adam_with_one_thing_done_another_way(rule: Update, cause: str, value: str) -> None:
    found = only_break(ADAM, update=rule)
    assert (found.cause.name, found.rung, found.step) == (cause, "update", 1)
    assert value in (found.cause.value or "")


@pytest.mark.parametrize(
    ("changes", "cause", "value"),
    [
        ({"learning_rate": 0.002}, "learning_rate", "0.002 instead of 0.001"),
        ({"beta_2": 0.99}, "adam_betas", "0.9, 0.99"),
        ({"beta_1": 0.5}, "adam_betas", "0.5, 0.999"),
        ({"weight_decay": 0.01}, "weight_decay", "0.01 on all tensors"),
    ],
)
def test_adam_with_other_numbers(changes: dict[str, Any], cause: str, value: str) -> None:
    def update(state: State, gradient: Doubles, side: NumpySide) -> Any:
        return specified(
            ADAM.optimizer.model_copy(update=changes),
            weights=state.weights,
            slots=state.slots,
            gradient=gradient,
            step=state.step + 1,
        )

    found = only_break(ADAM, update=update)
    assert (found.cause.name, found.rung) == (cause, "update")
    assert value in (found.cause.value or "")


def test_adamw_for_adam() -> None:
    def update(
        state: State, gradient: Doubles, side: NumpySide
    ) -> tuple[Doubles, dict[str, Doubles]]:
        new, slots = adam(epsilon=1e-7, hat=True)(state, gradient, side)
        lr = rate(side, state)
        return {n: w - lr * side.dtype(0.01) * state.weights[n] for n, w in new.items()}, slots

    found = only_break(ADAM, update=update)
    assert (found.cause.name, found.rung, found.step) == ("decoupled_weight_decay", "update", 1)


# --- Other optimizers instead of SGD --------------------------------------------------------------

Advance = Callable[[Any, dict[str, Any], int], Any]


def remembering(advance: Advance, lr: float) -> Update:
    """An optimizer with a memory of its own for each tensor."""

    def update(state: State, gradient: Doubles, side: NumpySide) -> Doubles:
        memory = side.memory.setdefault("slots", {name: {} for name in gradient})
        return {
            name: w - lr * advance(gradient[name].astype(np.float64), memory[name], state.step + 1)
            for name, w in state.weights.items()
        }

    return update


def torch_adam(g: Any, memory: dict[str, Any], t: int) -> Any:
    m = memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    s = memory["s"] = 0.999 * memory.get("s", 0) + 0.001 * g * g
    return m / (1 - 0.9**t) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)


def keras_rmsprop(g: Any, memory: dict[str, Any], t: int) -> Any:
    s = memory["s"] = 0.9 * memory.get("s", 0) + 0.1 * g * g
    return g / np.sqrt(s + 1e-7)


def torch_rmsprop(g: Any, memory: dict[str, Any], t: int) -> Any:
    s = memory["s"] = 0.99 * memory.get("s", 0) + 0.01 * g * g
    return g / (np.sqrt(s) + 1e-8)


def torch_adagrad(g: Any, memory: dict[str, Any], t: int) -> Any:
    s = memory["s"] = memory.get("s", 0) + g * g
    return g / (np.sqrt(s) + 1e-10)


@pytest.mark.parametrize(
    ("advance", "lr", "value"),
    [
        (torch_adam, 0.001, "Adam (torch), learning rate 0.001"),
        (keras_rmsprop, 0.001, "RMSprop (Keras), learning rate 0.001"),
        (torch_rmsprop, 0.01, "RMSprop (torch), learning rate 0.01"),
        (torch_adagrad, 0.1, "Adagrad (torch), learning rate 0.1"),
        (lambda g, memory, t: np.sign(g), 0.01, "sign SGD, learning rate 0.01"),
    ],
)
def test_another_optimizer(advance: Advance, lr: float, value: str) -> None:
    found = only_break(SPEC, update=remembering(advance, lr))
    assert (found.cause.name, found.rung, found.step) == ("other_optimizer", "update", 1)
    assert found.cause.value == value


# --- What has no hypothesis -----------------------------------------------------------------------


def _normalised(state: State, gradient: Doubles, side: NumpySide) -> Doubles:
    """Every step of one length: no schedule, though each step is the specified one, scaled."""
    norm = np.sqrt(sum(float((g * g).sum()) for g in gradient.values()))
    return {n: w - rate(side, state) * gradient[n] / np.float32(norm) for n, w in _items(state)}


def _items(state: State) -> Any:
    return state.weights.items()


def _averaged(state: State, gradient: Doubles, side: NumpySide) -> Doubles:
    """An exponential mean of the weights handed out for the weights."""
    return {
        n: w - rate(side, state) * gradient[n] * np.float32(0.1 + 0.9 * w.std())
        for n, w in _items(state)
    }


def _noisy(state: State, gradient: Doubles, side: NumpySide) -> Doubles:
    rng = np.random.default_rng(state.step)
    return {
        n: w - rate(side, state) * gradient[n] + rng.normal(0, 1e-5, w.shape)
        for n, w in _items(state)
    }


def _bounded(state: State, gradient: Doubles, side: NumpySide) -> Doubles:
    return {n: np.clip(w - rate(side, state) * gradient[n], -0.15, 0.15) for n, w in _items(state)}


def _lookahead(state: State, gradient: Doubles, side: NumpySide) -> Doubles:
    new = {n: w - rate(side, state) * gradient[n] for n, w in _items(state)}
    slow = side.memory.setdefault("slow", dict(state.weights))
    if (state.step + 1) % 3 == 0:
        slow = side.memory["slow"] = {n: (slow[n] + w) / 2 for n, w in new.items()}
        return slow
    return new


NAMELESS: dict[str, tuple[Update, int]] = {
    "unit length": (_normalised, 1),
    "layers at rates of their own": (_averaged, 1),
    "noise": (_noisy, 1),
    "weights kept within bounds": (_bounded, 1),
    "lookahead": (_lookahead, 3),
    "biases twice as fast": (sgd(lambda n, w, g, s: g * (1 + n.endswith("bias"))), 1),
    "decay on the first layer": (
        sgd(lambda n, w, g, s: g + np.float32(1e-3) * w * n.startswith("layers.0")),
        1,
    ),
    "decay of the signs": (sgd(lambda n, w, g, s: g + np.float32(1e-3) * np.sign(w)), 1),
    "small steps dropped": (sgd(lambda n, w, g, s: g * (np.abs(g) > 1e-3)), 1),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_what_has_no_hypothesis_stays_unknown(name: str) -> None:
    rule, step = NAMELESS[name]
    found = only_break(SPEC, update=rule)
    assert told(found)[:3] == ("unknown", "update", step)
    assert "roundings at" in (found.cause.value or "")
