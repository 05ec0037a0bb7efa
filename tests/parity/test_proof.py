"""The float64 proof, and the ensemble that says which float32 differences mean nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from finished_runs import compared, trained
from small_problems import problem, spec_of

from mnist_mlp.parity.compare.proof import are_apart, in_float64
from mnist_mlp.parity.steps.drift import one_ulp_away

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.mark.parametrize("hidden", ["sigmoid", "relu"])
def test_one_mathematics_passes(hidden: str, runs: Path) -> None:
    spec = spec_of(hidden, learning_rate=0.3)
    pair = trained("numpy", runs, spec), trained("stranger", runs, spec)
    outcome = compared(*pair, always_prove=True)
    assert outcome.proof.status == "passed"
    gap, bound = outcome.proof.max_abs_difference, outcome.proof.bound
    assert gap is not None
    assert bound is not None
    assert 0 < gap <= bound < 1e-6
    assert outcome.exit_code == 0


@pytest.mark.parametrize("swapped", [False, True])
def test_a_millionth_fails(swapped: bool, runs: Path) -> None:
    pair = [trained("numpy", runs), trained("shrubs:Heather", runs)]
    outcome = compared(*(pair[::-1] if swapped else pair), always_prove=True)
    assert outcome.proof.status == "failed"
    assert 1e-7 < (outcome.proof.max_abs_difference or 0) < 1e-5
    assert (outcome.verdict, outcome.exit_code) == ("different", 1)
    first = outcome.first_break
    assert first is not None
    assert (first.rung, first.cause.name) == ("trajectory", "unknown")
    assert first.side == ("a" if swapped else "b")


def test_it_is_not_run_where_nothing_differs(runs: Path) -> None:
    outcome = compared(trained("numpy", runs), trained("stranger", runs))
    assert outcome.verdict == "identical"
    assert (outcome.proof.status, outcome.proof.max_abs_difference) == ("not_run", None)


def test_a_side_without_float64(runs: Path) -> None:
    outcome = compared(trained("numpy", runs), trained("shrubs:Gorse", runs), always_prove=True)
    assert outcome.proof.status == "unavailable"
    assert outcome.exit_code == 0


def test_the_float64_plan_is_the_uncast_one() -> None:
    plan = problem(spec_of()).plan
    double = in_float64(plan)
    for name, w in double.initial_weights.items():
        assert w.dtype == "float64"
        assert (w.astype("float32") == plan.initial_weights[name]).all()
    assert any(
        (w != plan.initial_weights[name].astype("float64")).any()
        for name, w in double.initial_weights.items()
    )


def test_one_ulp() -> None:
    import numpy as np

    plan = problem(spec_of()).plan
    moved = [one_ulp_away(plan, draw=draw).initial_weights for draw in (0, 0, 1)]
    for name, w in plan.initial_weights.items():
        first, again, other = (weights[name] for weights in moved)
        assert (first == again).all()
        apart = np.abs(first - w) / np.spacing(np.abs(w))
        assert apart.max() <= 1
        assert (first != w).all()
        if w.size > 100:
            assert (first != other).any()


def test_different_predictions_with_clean_steps_are_explained(runs: Path) -> None:
    """A network in which roundings grow: other predictions, the same algorithm."""
    spec = spec_of("relu", learning_rate=1.0, epochs=8, sizes=(60, 40))
    outcome = compared(trained("numpy", runs, spec), trained("stranger", runs, spec))
    assert outcome.exit_code == 0, outcome.text
    if outcome.predictions.different:
        assert outcome.verdict == "equivalent"
        assert outcome.proof.status == "passed"
        assert outcome.chaos is not None
        assert len(outcome.chaos.spread) == 3
        assert outcome.chaos.different == outcome.predictions.different


# --- When it is made ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moved", "apart"),
    [
        ({"layers.0.kernel": 15.0}, False),
        ({"layers.1.kernel": 25.0}, True),
        ({"layers.0.bias": 1e3}, False),
    ],
)
def test_weights_that_are_more_than_roundings_apart(moved: dict[str, float], apart: bool) -> None:
    """A bias may be nearly zero, so that its roundings say nothing."""
    rng = np.random.default_rng(3)
    shapes = {"layers.0.kernel": (8, 5), "layers.0.bias": (5,), "layers.1.kernel": (5, 3)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    eps = np.finfo(np.float32).eps
    other = {name: w * np.float32(1 + moved.get(name, 0) * eps) for name, w in weights.items()}
    assert are_apart(weights, other) is apart
