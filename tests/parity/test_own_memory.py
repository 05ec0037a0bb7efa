"""Sides whose optimizer keeps its memory where nobody can set it or see it."""

from __future__ import annotations

from typing import Any

import pytest
from numpy_side import Doubles, NumpySide, Update
from small_problems import look_at, only_break, spec_of, told

from mnist_mlp.contract import State
from mnist_mlp.reference import update as specified

SCHEDULE = spec_of(momentum=0.9, schedule=[[6, 0.01]])


def hidden(*, rate_inside: bool = False, **changes: Any) -> Update:
    """The specified rule with a memory of its own, which it never shows.

    Between windows it has gone the reference's way: there its memory is the shared one.
    """

    def update(state: State, gradient: Doubles, side: NumpySide) -> Doubles:
        if side.memory.get("step") != state.step:
            side.memory["slots"] = state.slots
        optimizer = side.spec.optimizer.model_copy(update=changes)
        slots = side.memory["slots"]
        if rate_inside:
            ratio = optimizer.rate_at(max(state.step, 1)) / optimizer.rate_at(state.step + 1)
            slots = {
                s: {n: side.dtype(ratio) * t for n, t in ts.items()} for s, ts in slots.items()
            }
        weights, new = specified(
            optimizer, weights=state.weights, slots=slots, gradient=gradient, step=state.step + 1
        )
        side.memory |= {"step": state.step + 1, "slots": new}
        return weights

    return update


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize(
    "optimizer",
    [
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.5, "weight_decay": 1e-3, "clip_norm": 0.3},
        {"momentum": 0.9, "schedule": [[6, 0.01], [20, 0.3]]},
        {"name": "adam", "learning_rate": 0.003},
        {"name": "adam", "learning_rate": 0.003, "weight_decay": 1e-3},
    ],
    ids=str,
)
def test_an_honest_one_is_clean(activation: str, optimizer: dict[str, Any]) -> None:
    spec = spec_of(activation, **optimizer)
    seen = look_at(NumpySide(spec, update=hidden()), spec)
    assert seen.breaks == ()
    assert 0 < seen.margins["update"] < 1


def test_the_learning_rate_in_it_shows_where_it_changes() -> None:
    found = only_break(SCHEDULE, update=hidden(rate_inside=True))
    assert told(found) == ("learning_rate_in_velocity", "update", 6, 0, "kernel")


@pytest.mark.parametrize(
    ("spec", "changes", "cause", "step"),
    [
        (spec_of(momentum=0.9), {"momentum": 0.8}, "momentum", 2),
        (spec_of(momentum=0.9), {"momentum": 0.0}, "momentum_missing", 2),
        (spec_of(momentum=0.9), {"learning_rate": 0.1 * 1.00001}, "learning_rate", 1),
        (spec_of(name="adam"), {"epsilon": 1e-5}, "adam_epsilon", 1),
        (spec_of(name="adam"), {"beta_1": 0.8}, "adam_betas", 2),
    ],
)
def test_faults_are_still_named(spec: Any, changes: dict[str, Any], cause: str, step: int) -> None:
    found = only_break(spec, update=hidden(**changes))
    assert (found.cause.name, found.rung, found.step) == (cause, "update", step)
