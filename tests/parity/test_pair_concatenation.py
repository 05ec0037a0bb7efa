"""Parts that a port concatenates in another order are no difference of the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_mlp.parity.pair.arrange import axis_of, feature_order, kept_order
from mnist_mlp.parity.pair.breaks import _other_order
from mnist_mlp.parity.pair.judge import judge
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.weight_map import LayerPair, WeightMap
from mnist_mlp.ports.pair import PairFacts, PairJob, PairLayer, PairStep
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.reference import Array

DRAW = np.random.default_rng(0)
FEATURES = 5
KINDS = {"dense": (FEATURES, 3), "conv": (3, 3, FEATURES, 2)}


def step_of(first: Array, second: Array, shape: tuple[int, ...]) -> PairStep:
    weights = {"0/kernel": np.ones((4, 4)), "1/kernel": np.ones(shape)}
    return PairStep({0: np.ones((2, 4)), 1: first}, {0: np.ones((2, 4)), 1: second}, 1.0,
                    weights, weights, weights)  # fmt: skip


def run_of(kind: str, order: Array) -> PairRun:
    """Both in one state; the second layer of the port has its features in another order."""
    x = DRAW.normal(size=(2, FEATURES) if kind == "dense" else (2, 4, 6, FEATURES))
    y = DRAW.normal(size=(2, 3) if kind == "dense" else (2, 4, 6, 2))
    moved = x[..., order] if kind == "dense" else np.moveaxis(x[..., order], -1, 1)
    shown = y if kind == "dense" else np.moveaxis(y, -1, 1)
    layers = (
        PairLayer(0, "one", "dense", shapes={"kernel": (4, 4)}),
        PairLayer(1, "two", kind, {"groups": 1} if kind == "conv" else {}, {"kernel": KINDS[kind]}),
    )
    facts = PairFacts("keras", layers, 0)
    theirs = step_of(moved, shown, KINDS[kind])

    def fit_b(job: PairJob) -> tuple[PairStep, ...]:
        return tuple(replace(theirs, before=forced.weights) for forced in job.forced)

    rows = PairRows(np.zeros((2, 4)), np.zeros(2), 2)
    weights = WeightMap(tuple(LayerPair(layer, layer) for layer in layers))
    steps = (step_of(x, y, KINDS[kind]),)
    return PairRun(fit_b, facts, replace(facts, framework="torch"), steps, rows, weights)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [1, 2, 4])
def test_two_parts_the_other_way_round(kind: str, start: int) -> None:
    run = run_of(kind, np.roll(np.arange(FEATURES), -start))
    assert "forward" not in run.judged().findings
    (pair,) = run.reordered
    assert _other_order(pair).name == "concatenation_order"
    kernel = DRAW.normal(size=KINDS[kind])
    there = pair.to_b("kernel", kernel)
    assert not np.array_equal(there, kernel)
    assert np.array_equal(pair.to_a("kernel", there), kernel)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [[3, 4, 2, 0, 1], [2, 3, 4, 1, 0], [1, 0, 2, 4, 3]])
def test_several_parts_in_any_order(kind: str, order: list[int]) -> None:
    run = run_of(kind, np.array(order))
    assert "forward" not in run.judged().findings
    (pair,) = run.reordered
    assert _other_order(pair).name == "concatenation_order"


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_that_is_another_one_is_a_difference(kind: str) -> None:
    run = run_of(kind, np.array([3, 4, 2, 0, 0]))
    assert "forward" in run.judged().findings
    assert not run.reordered


def test_features_that_are_never_active_stay_beside_their_own() -> None:
    x = DRAW.normal(size=(4, 8))
    x[:, [1, 5, 6]] = 0
    order = np.array([4, 5, 6, 7, 0, 1, 2, 3])
    found = feature_order(x[:, order], x, (1, 1))
    assert found is not None
    np.testing.assert_array_equal(found, order)
    assert feature_order(x[:, order] + 1e-8, x, (1, 1)) is None


def test_features_of_which_some_are_dropped() -> None:
    x = DRAW.normal(size=(12, 8))
    order = np.array([6, 7, 3, 4, 5, 0, 1, 2])
    ours, theirs = (y * (DRAW.random(y.shape) > 0.3) for y in (x, x[:, order]))
    found = kept_order(theirs, ours)
    assert found is not None
    np.testing.assert_array_equal(found, order)
    assert kept_order(theirs + 1e-8, ours) is None


def test_a_normalisation_of_parts_in_another_order() -> None:
    """Its tensors, its inputs and its outputs are in that order."""
    shapes = dict.fromkeys(("gamma", "beta", "mean", "variance"), (FEATURES,))
    norm = PairLayer(0, "n", "batch_norm", {}, shapes)
    order = np.array([3, 4, 2, 0, 1])
    pair = LayerPair(norm, norm, rows=order, parts=True)
    x = DRAW.normal(size=(2, 4, 6, FEATURES))
    theirs = np.moveaxis(x[..., order], -1, 1)
    weights = WeightMap((pair,))
    found = judge(
        [PairStep({0: x}, {0: 2 * x}, 1.0, {}, {}, {})],
        [PairStep({0: theirs}, {0: 2 * theirs}, 1.0, {}, {}, {})],
        weights,
    )
    assert not found.findings
    gamma = np.arange(FEATURES)
    np.testing.assert_array_equal(pair.to_b("gamma", gamma), order)
    np.testing.assert_array_equal(pair.to_a("gamma", pair.to_b("gamma", gamma)), gamma)


def test_where_the_channels_are_is_not_guessed() -> None:
    assert axis_of(np.zeros((2, 3, 4, 5)), 3) == 1
    assert axis_of(np.zeros((2, 3, 4, 5)), 5) == 3
    assert axis_of(np.zeros((2, 3, 4, 3)), 3) is None
