"""Updates by another rule than the specified one, for SGD: named with what was fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy_side import Doubles, NumpySide, Update, rate, sgd
from small_problems import only_break, spec_of, told

from mnist_mlp.contract import State
from mnist_mlp.reference import update as specified

SPEC = spec_of()
MOMENTUM = spec_of(momentum=0.9)
NESTEROV = spec_of(momentum=0.9, nesterov=True)
SCHEDULE = spec_of(momentum=0.9, schedule=[[6, 0.01]])
CLIPPED = spec_of(clip_norm=0.3)
DECAYED = spec_of(weight_decay=1e-2)


def settings(**changes: Any) -> Update:
    """The specified rule with other numbers in it."""

    def update(
        state: State, gradient: Doubles, side: NumpySide
    ) -> tuple[Doubles, dict[str, Doubles]]:
        return specified(
            side.spec.optimizer.model_copy(update=changes),
            weights=state.weights,
            slots=state.slots,
            gradient=gradient,
            step=state.step + 1,
        )

    return update


def hidden_velocity(factor: float) -> Update:
    """A velocity of the side's own that the specification does not have."""

    def update(state: State, gradient: Doubles, side: NumpySide) -> Doubles:
        v = side.memory.setdefault("v", {name: np.zeros_like(g) for name, g in gradient.items()})
        for name, g in gradient.items():
            v[name] = side.dtype(factor) * v[name] + g
        lr = rate(side, state)
        return {name: w - lr * v[name] for name, w in state.weights.items()}

    return update


# --- The learning rate ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "value"),
    [
        (0.1, "0.01 instead of 0.1"),
        (1.1, "0.11 instead of 0.1"),
        (1.00001, "0.100001 instead of 0.1"),
        (0.99999, "0.099999 instead of 0.1"),
    ],
)
@pytest.mark.parametrize("hidden", ["sigmoid", "relu", "gelu"])
def test_another_learning_rate(hidden: str, factor: float, value: str) -> None:
    found = only_break(spec_of(hidden), update=sgd(lambda n, w, g, s: g, factor=factor))
    assert (found.cause.name, found.rung, found.step) == ("learning_rate", "update", 1)
    assert found.cause.value == value


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"clip_norm": 0.3}, {"weight_decay": 1e-3}])
def test_a_learning_rate_a_hundred_thousandth_off_beside_other_settings(
    options: dict[str, Any],
) -> None:
    spec = spec_of(**options)
    found = only_break(spec, update=settings(learning_rate=0.1 * 1.0001))
    assert (found.cause.name, found.rung, found.step) == ("learning_rate", "update", 1)
    assert found.cause.value == "0.10001 instead of 0.1"


def test_steps_uphill() -> None:
    found = only_break(SPEC, update=sgd(lambda n, w, g, s: g, factor=-1))
    assert told(found) == ("gradient_ascent", "update", 1, 0, "kernel")


def test_a_schedule_left_out() -> None:
    found = only_break(SCHEDULE, update=settings(schedule=()))
    assert told(found) == ("schedule_ignored", "update", 6, 0, "kernel")


def test_a_schedule_that_was_not_asked_for() -> None:
    found = only_break(SPEC, update=settings(schedule=((12, 0.02),)))
    assert told(found) == ("undeclared_schedule", "update", 12, 0, "kernel")
    assert found.cause.value == "0.02 instead of 0.1 from step 12"


def test_a_schedule_that_decays_at_every_step() -> None:
    schedule = tuple((step, 0.1 * 0.98 ** (step - 1)) for step in range(1, 31))
    found = only_break(SPEC, update=settings(schedule=schedule))
    assert told(found) == ("undeclared_schedule", "update", 2, 0, "kernel")
    assert found.cause.value == "0.098 instead of 0.1 from step 2"


def test_the_learning_rate_kept_in_the_velocity_shows_where_it_changes() -> None:
    def update(
        state: State, gradient: Doubles, side: NumpySide
    ) -> tuple[Doubles, dict[str, Doubles]]:
        lr, old = rate(side, state), side.dtype(side.spec.optimizer.rate_at(max(state.step, 1)))
        kept = {n: side.dtype(0.9) * (old * v) for n, v in state.slots["velocity"].items()}
        new = {n: w - (kept[n] + lr * gradient[n]) for n, w in state.weights.items()}
        return new, {"velocity": {n: kept[n] / lr + g for n, g in gradient.items()}}

    found = only_break(SCHEDULE, update=update)
    assert told(found) == ("learning_rate_in_velocity", "update", 6, 0, "kernel")


# --- Momentum -------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.9, 0.5, 0.99])
@pytest.mark.parametrize("hidden", ["sigmoid", "relu"])
def test_momentum_that_was_not_asked_for(hidden: str, factor: float) -> None:
    found = only_break(spec_of(hidden), update=hidden_velocity(factor))
    assert told(found) == ("undeclared_momentum", "update", 2, 0, "kernel")
    assert found.cause.value == f"{factor:g}"


@pytest.mark.parametrize("factor", [0.8, 0.899, 0.95])
def test_another_momentum(factor: float) -> None:
    found = only_break(MOMENTUM, update=settings(momentum=factor))
    assert told(found) == ("momentum", "update", 2, 0, "kernel")
    assert found.cause.value == f"{factor:g} instead of 0.9"


@pytest.mark.parametrize(
    ("spec", "changes", "cause", "step"),
    [
        (MOMENTUM, {"momentum": 0.0}, "momentum_missing", 2),
        (MOMENTUM, {"nesterov": True}, "undeclared_nesterov", 1),
        (NESTEROV, {"nesterov": False}, "nesterov_missing", 1),
        (NESTEROV, {"momentum": 0.0, "nesterov": False}, "momentum_missing", 1),
        (CLIPPED, {"clip_norm": 0.0}, "clip_missing", 1),
        (DECAYED, {"weight_decay": 0.0}, "weight_decay_missing", 1),
    ],
)
def test_a_setting_left_out_or_added(
    spec: Any, changes: dict[str, Any], cause: str, step: int
) -> None:
    found = only_break(spec, update=settings(**changes))
    assert told(found) == (cause, "update", step, 0, "kernel")


# --- Decay ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "scope"), [("", "all tensors"), ("kernel", "kernels only")])
@pytest.mark.parametrize("factor", [1e-2, 1e-3, 1e-4, 1e-5])
def test_decay_that_was_not_asked_for(factor: float, part: str, scope: str) -> None:
    found = only_break(
        SPEC, update=sgd(lambda n, w, g, s: g + s.dtype(factor) * w * n.endswith(part))
    )
    assert (found.cause.name, found.rung, found.step) == ("weight_decay", "update", 1)
    assert (found.cause.value or "").startswith(f"{factor:.3g} on ")
    if factor > 1e-4:  # biases start at 0, and their own decay drowns in rounding
        assert found.cause.value == f"{factor:.3g} on {scope}"


def test_a_millionth_of_the_weights() -> None:
    """Weight decay 1e-6 at a learning rate of 0.1 moves a weight by 1e-7 of itself."""
    found = only_break(SPEC, update=sgd(lambda n, w, g, s: g + s.dtype(1e-6) * w))
    assert (found.cause.name, found.rung, found.step) == ("weight_decay", "update", 1)


def test_decay_beside_the_velocity() -> None:
    def update(
        state: State, gradient: Doubles, side: NumpySide
    ) -> tuple[Doubles, dict[str, Doubles]]:
        new, slots = settings()(state, gradient, side)
        lr = rate(side, state)
        return {n: w - lr * side.dtype(1e-2) * state.weights[n] for n, w in new.items()}, slots

    found = only_break(MOMENTUM, update=update)
    assert told(found) == ("decoupled_weight_decay", "update", 1, 0, "kernel")


def test_specified_decay_on_kernels_alone() -> None:
    found = only_break(
        DECAYED, update=sgd(lambda n, w, g, s: g + s.dtype(1e-2) * w * n.endswith("kernel"))
    )
    assert (found.cause.name, found.rung, found.step) == ("weight_decay_scope", "update", 2)


# --- Clipping -------------------------------------------------------------------------------------


def length(g: Any) -> float:
    return float(np.sqrt((g.astype(np.float64) ** 2).sum()))


@pytest.mark.parametrize("spec", [CLIPPED, SPEC])
def test_each_tensor_clipped_by_itself(spec: Any) -> None:
    found = only_break(spec, update=sgd(lambda n, w, g, s: g * s.dtype(min(1, 0.3 / length(g)))))
    assert (found.cause.name, found.rung, found.step) == ("clip_per_tensor", "update", 1)


@pytest.mark.parametrize(("spec", "limit"), [(spec_of(clip_norm=0.05), 0.05), (SPEC, 0.03)])
def test_each_value_clipped(spec: Any, limit: float) -> None:
    found = only_break(spec, update=sgd(lambda n, w, g, s: np.clip(g, -limit, limit)))
    assert (found.cause.name, found.rung) == ("clip_by_value", "update")
    assert found.cause.value == f"{limit:g}"


def test_a_global_clip_that_was_not_asked_for() -> None:
    found = only_break(SPEC, update=settings(clip_norm=0.3))
    assert told(found)[:3] == ("clip_by_norm", "update", 1)
    assert found.cause.value == "0.3"


# --- Some steps, some tensors ---------------------------------------------------------------------


@pytest.mark.parametrize("every", [2, 3])
def test_gradients_gathered_over_several_steps(every: int) -> None:
    def update(state: State, gradient: Doubles, side: NumpySide) -> Doubles:
        held = side.memory.setdefault("held", [])
        held.append(gradient)
        if (state.step + 1) % every:
            return dict(state.weights)
        last, side.memory["held"] = held[-every:], []
        mean = {n: sum(g[n] for g in last) / np.float32(len(last)) for n in gradient}
        return {n: w - rate(side, state) * mean[n] for n, w in state.weights.items()}

    found = only_break(SPEC, update=update)
    assert told(found) == ("gradient_accumulation", "update", 1, 0, "kernel")
    assert found.cause.value == f"one update every {every} steps"


@pytest.mark.parametrize("name", ["layers.0.kernel", "layers.2.bias"])
def test_a_tensor_that_the_optimizer_was_not_given(name: str) -> None:
    found = only_break(SPEC, update=sgd(lambda n, w, g, s: g * (n != name)))
    assert (found.cause.name, found.rung, found.step) == ("tensor_not_updated", "update", 1)
    assert found.cause.value == name


def test_nothing_moves() -> None:
    found = only_break(SPEC, update=lambda state, g, side: dict(state.weights))
    assert told(found) == ("tensor_not_updated", "update", 1, 0, "kernel")
    assert found.cause.value == "every tensor"
