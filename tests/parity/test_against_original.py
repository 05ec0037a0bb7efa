"""A port judged by what its original does: schedules, decays and penalties, with the right numbers.

And updates that are made more than once for a batch, which look like an update from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy_side import Doubles, NumpySide, Update
from small_problems import only_break, problem, spec_of, told

from mnist_mlp.contract import State
from mnist_mlp.parity.causes.explain import Explanation, explain
from mnist_mlp.parity.findings import UNKNOWN
from mnist_mlp.spec import Spec

PLAIN = spec_of()
MOMENTUM = spec_of(momentum=0.9)
NESTEROV = spec_of(momentum=0.9, nesterov=True)
PER_EPOCH = 10
"""Steps of an epoch of the small problem."""

Rates = Callable[[int], float]


def decaying(step: int) -> float:
    """Keras's ExponentialDecay(0.1, 20, 0.9), by steps from 1."""
    return 0.1 * float(0.9 ** ((step - 1) / 20))


def by_epoch(step: int) -> float:
    """The same, stepped once an epoch."""
    return decaying(1 + (step - 1) // PER_EPOCH)


def other(step: int) -> float:
    """A faster one, by steps."""
    return 0.1 * float(0.8 ** ((step - 1) / 20))


def sgd_at(
    rates: Rates, *, in_velocity: bool = False, decay: float = 0.0, beside: float = 0.0
) -> Update:
    """SGD with a rate for each step, a coupled decay and a decoupled one."""

    def update(
        state: State, gradient: Doubles, side: NumpySide
    ) -> tuple[Doubles, dict[str, Doubles]]:
        optimizer, step = side.spec.optimizer, state.step + 1
        now, before = side.dtype(rates(step)), side.dtype(rates(max(step - 1, 1)))
        weights, velocities = {}, {}
        momentum = side.dtype(optimizer.momentum)
        for name, w in state.weights.items():
            d = gradient[name] + side.dtype(decay) * w
            old = state.slots["velocity"][name] if momentum else np.zeros_like(w)
            moved = momentum * (before if in_velocity else now) * old + now * d
            velocities[name] = moved / now  # as a host reads one that holds the rate
            if optimizer.nesterov:
                moved = momentum * moved + now * d
            weights[name] = w - moved - now * side.dtype(beside) * w
        return weights, {"velocity": velocities} if momentum else {}

    return update


def judged(spec: Spec, original: dict[str, Any], port: dict[str, Any]) -> Explanation:
    """What is said of a port whose original has a name for all it does."""
    given = problem(spec)
    first = explain(given.recipe, given.steps(NumpySide(spec, **original)), side="a")
    assert UNKNOWN not in {item.cause.name for item in first.breaks}
    steps = given.steps(NumpySide(spec, **port))
    return explain(first.recipe, steps, side="b", plain=given.recipe)


def named(found: Explanation) -> list[tuple[str, str | None]]:
    return [(item.cause.name, item.cause.value) for item in found.breaks]


# --- Schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [MOMENTUM, NESTEROV], ids=["momentum", "nesterov"])
def test_a_schedule_in_the_velocity_is_measured(spec: Spec) -> None:
    """As Keras's SGD does it: it was unknown, and then nothing of a port was judged."""
    found = only_break(spec, update=sgd_at(decaying, in_velocity=True))
    assert found.cause.name == "undeclared_schedule"
    assert found.cause.value == "0.0994746 instead of 0.1 from step 2, kept in the velocity"


@pytest.mark.parametrize(
    ("spec", "in_velocity"),
    [(PLAIN, False), (MOMENTUM, True), (NESTEROV, True)],
    ids=["plain", "momentum", "nesterov"],
)
def test_a_port_is_held_to_the_schedule_of_its_original(spec: Spec, in_velocity: bool) -> None:
    original = {"update": sgd_at(decaying, in_velocity=in_velocity)}
    assert not judged(spec, original, original).breaks
    assert named(judged(spec, original, {"update": sgd_at(by_epoch)})) == [
        ("schedule_by_epoch", "0.1 instead of 0.0994746 at step 2")
    ]
    ((name, value),) = named(judged(spec, original, {"update": sgd_at(other)}))
    assert name == "undeclared_schedule"
    assert value == f"{other(2):.6g} instead of 0.0994746 from step 2"
    ((name, _),) = named(judged(spec, original, {}))
    assert name == "left_out"


@pytest.mark.parametrize("spec", [MOMENTUM, NESTEROV], ids=["momentum", "nesterov"])
def test_a_velocity_without_the_rate_is_told_of(spec: Spec) -> None:
    """The right schedule, but by torch's rule: what a faithful-looking port of Keras's does."""
    original = {"update": sgd_at(decaying, in_velocity=True)}
    found = judged(spec, original, {"update": sgd_at(decaying)})
    assert [item.cause.name for item in found.breaks] == ["learning_rate_outside_velocity"]


# --- Decay ----------------------------------------------------------------------------------------


def constant(step: int) -> float:
    """As the specification has it."""
    del step
    return 0.1


@pytest.mark.parametrize("spec", [MOMENTUM, NESTEROV], ids=["momentum", "nesterov"])
@pytest.mark.parametrize("specified", [True, False], ids=["specified", "undeclared"])
def test_coupled_for_decoupled(spec: Spec, *, specified: bool) -> None:
    factor = 5e-3
    if specified:
        given = {"weight_decay": factor, "momentum": 0.9, "nesterov": spec.optimizer.nesterov}
        spec = spec_of(**given)
    original = {"update": sgd_at(constant, beside=factor)}
    assert not judged(spec, original, original).breaks
    assert named(judged(spec, original, {"update": sgd_at(constant, decay=factor)})) == [
        ("coupled_weight_decay", "0.005")
    ]
    ((name, _),) = named(judged(spec, original, {"update": sgd_at(constant)}))
    assert name in ("weight_decay_missing", "left_out")
    weaker = judged(spec, original, {"update": sgd_at(constant, beside=1e-3)})
    assert named(weaker) == [("weight_decay", "0.001 instead of 0.005 on all tensors, decoupled")]


def l2(factor: float, part: str = "kernel") -> dict[str, Any]:
    """`factor * sum of squares` in the loss."""

    def penalty(weights: Doubles) -> tuple[float, Doubles]:
        own = {n: w if n.endswith(part) else np.zeros_like(w) for n, w in weights.items()}
        total = sum(float((w.astype(np.float64) ** 2).sum()) for w in own.values())
        return factor * total, {name: 2 * factor * w for name, w in own.items()}

    return {"penalty": penalty}


def decayed(factor: float, part: str = "kernel") -> dict[str, Any]:
    """A coupled decay in the optimizer, on some tensors."""

    def update(
        state: State, gradient: Doubles, side: NumpySide
    ) -> tuple[Doubles, dict[str, Doubles]]:
        whole = {
            name: g + side.dtype(factor) * state.weights[name] if name.endswith(part) else g
            for name, g in gradient.items()
        }
        return sgd_at(constant)(state, whole, side)  # type: ignore[return-value]

    return {"update": update}


@pytest.mark.parametrize("spec", [PLAIN, MOMENTUM, NESTEROV], ids=["plain", "momentum", "nesterov"])
def test_a_penalty_that_became_a_decay_is_told_once(spec: Spec) -> None:
    original = l2(1e-3)
    assert not judged(spec, original, original).breaks
    same = judged(spec, original, decayed(2e-3))
    assert not same.breaks
    assert [(c.name, c.value) for c in same.noted] == [("decay_outside_loss", "0.002 on kernels")]
    half = judged(spec, original, decayed(1e-3))
    assert named(half) == [("weight_decay", "0.001 instead of 0.002 on kernels")]
    everywhere = judged(spec, original, decayed(2e-3, ""))
    assert named(everywhere) == [("weight_decay_scope", "all tensors instead of kernels")]
    both = judged(spec, original, decayed(1e-3, ""))
    assert named(both) == [("weight_decay", "0.001 on all tensors instead of 0.002 on kernels")]
    without = judged(spec, original, {})
    assert [told(item)[:2] for item in without.breaks] == [("left_out", "loss")]


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_decay_that_became_a_penalty_is_told_once(nesterov: bool) -> None:
    spec = spec_of(momentum=0.9, nesterov=nesterov, weight_decay=2e-3)
    for part, scope in (("kernel", "kernels"), ("", "all tensors")):
        found = only_break(spec, **l2(1e-3, part), update=sgd_at(constant))
        assert told(found)[:2] == ("l2_in_loss", "loss")
        assert found.cause.value == f"0.001 on {scope}"


def test_an_undeclared_decay_under_nesterov() -> None:
    """Nesterov's rule takes `1 + momentum` of what enters it."""
    found = only_break(NESTEROV, **decayed(5e-3, ""))
    assert (found.cause.name, found.cause.value) == ("weight_decay", "0.005 on all tensors")


# --- More than one update for a batch -------------------------------------------------------------


class Twice(NumpySide):
    """Two updates for each batch, on one gradient or on a new one."""

    def __init__(self, spec: Spec, *, anew: bool) -> None:
        super().__init__(spec)
        self.anew = anew

    def step(self, state: State, images: Any, labels: Any) -> Any:
        """The record of the first pass, and the state after the second update."""
        first = super().step(state, images, labels)
        after = State(state.step, first.state.weights, first.state.slots)
        gradient = super().step(after, images, labels).gradient if self.anew else first.gradient
        new = self._updated(after, gradient)
        return type(first)(
            **{**vars(first), "state": State(state.step + 2, new.weights, new.slots)}
        )


@pytest.mark.parametrize("spec", [PLAIN, MOMENTUM, NESTEROV], ids=["plain", "momentum", "nesterov"])
@pytest.mark.parametrize(
    ("anew", "how"), [(False, "on one gradient"), (True, "each on a new gradient")]
)
def test_two_updates_for_each_batch(spec: Spec, *, anew: bool, how: str) -> None:
    given = problem(spec)
    (found,) = explain(given.recipe, given.steps(Twice(spec, anew=anew)), side="b").breaks  # type: ignore[arg-type]
    assert told(found)[:3] == ("repeated_update", "update", 1)
    assert found.cause.value == f"2 for each batch, {how}"
