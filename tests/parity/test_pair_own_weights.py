"""Weights that belong to no layer, and differences that are nothing but rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from mnist_mlp.parity.check.pair_epochs import epochs_breaks
from mnist_mlp.parity.check.pair_refusals import leave_weighted_open, weights_left_out
from mnist_mlp.parity.check.pair_verdict import PairEvidence, with_cure
from mnist_mlp.parity.check.target import parse_target
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair import breaks
from mnist_mlp.parity.pair.feed import Fed
from mnist_mlp.parity.pair.initial import initial_breaks, unlike_breaks
from mnist_mlp.parity.pair.judge import Finding, Judged, judge, unmoved_by
from mnist_mlp.parity.pair.layer_hypotheses import _across, padding
from mnist_mlp.parity.pair.own_weights import MOST_OWN, arrangements, doubtful, matched
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.weight_map import LayerPair, Unlike, WeightMap
from mnist_mlp.ports.pair import OWN, PairFacts, PairLayer, PairStep, own_weights
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import OwnData
from mnist_mlp.reference import Array

RNG = np.random.default_rng(0)

# --- Which weight is which ------------------------------------------------------------------------

KERAS = own_weights([("patches/token", (1, 1, 8)), ("patches/position", (1, 5, 8))])


def with_own(framework: str, own: tuple[PairLayer, ...], *layers: PairLayer) -> PairFacts:
    return PairFacts(framework, layers, 0, own=own)


def both(a: tuple[PairLayer, ...], b: tuple[PairLayer, ...]) -> tuple[PairFacts, PairFacts]:
    return with_own("keras", a), with_own("torch", b)


def own_of(a: tuple[PairLayer, ...], b: tuple[PairLayer, ...]) -> tuple[LayerPair, ...]:
    found = matched(*both(a, b))
    assert isinstance(found, WeightMap)
    return found.own


def test_axes_of_length_one_are_no_matter() -> None:
    torch = own_weights([("net.position", (5, 8)), ("net.token", (1, 1, 8))])
    assert [x.shapes["weight"] for x in KERAS] == [(8,), (5, 8)]
    found = own_of(KERAS, torch)
    assert [(x.a.name, x.b.name) for x in found] == [
        ("patches/token", "net.token"),
        ("patches/position", "net.position"),
    ]
    assert len(list(arrangements(*both(KERAS, torch)))) == 1


def test_other_shapes_on_both_sides_cannot_be_matched() -> None:
    other = own_weights([("net.token", (8,)), ("net.position", (8, 6))])
    assert matched(*both(KERAS, other)) is None


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_weight_that_one_side_alone_has(side: str) -> None:
    fewer = own_weights([("net.position", (5, 8))])
    found = matched(*(both(KERAS, fewer) if side == "a" else both(fewer, KERAS)))
    assert isinstance(found, WeightMap)
    assert [x.name for x in found.lone] == ["patches/token"]
    assert found.lacking == ("b" if side == "a" else "a")
    assert not found.whole
    given = {f"{OWN}/weight": np.ones(8), f"{OWN + 1}/weight": np.ones((5, 8))}
    known = {f"{OWN + 1}/weight"} if side == "a" else set(given)
    assert found.without_lone(given).keys() == known


def test_a_frozen_weight_counts_only_for_one_that_is_trained() -> None:
    ours = own_weights([("a/table", (5, 8))], [("a/constant", (3, 2))])
    theirs = own_weights([], [("net.table", (5, 8))])
    (found,) = own_of(ours, theirs)
    assert (found.a.name, found.b.name) == ("a/table", "net.table")
    assert own_of(own_weights([], [("a/constant", (3, 2))]), own_weights([])) == ()


def test_those_of_one_shape_are_matched_by_their_names() -> None:
    ours = own_weights([("a/gamma", (4,)), ("a/beta", (4,))])
    theirs = own_weights([("net.beta", (4,)), ("net.gamma", (4,))])
    assert [x.b.name for x in own_of(ours, theirs)] == ["net.gamma", "net.beta"]


def test_all_ways_to_match_weights_of_one_shape_are_tried() -> None:
    vectors = both(
        own_weights([("a/v", (4,)), ("a/w", (4,))]), own_weights([("p", (4,)), ("q", (4,))])
    )
    assert [[x.b.name for x in each.own] for each in arrangements(*vectors)] == [
        ["p", "q"],
        ["q", "p"],
    ]
    square = both(own_weights([("w", (4, 4))]), own_weights([("w", (4, 4))]))
    assert [each.own[0].axes for each in arrangements(*square)] == [(0, 1), (1, 0)]
    lying = both(own_weights([("w", (3, 4))]), own_weights([("w", (4, 3))]))
    assert [each.own[0].axes for each in arrangements(*lying)] == [(1, 0)]
    many = own_weights([(f"w{n}", (4,)) for n in range(MOST_OWN + 1)])
    assert len(list(arrangements(*both(many, many)))) == 1
    assert doubtful(own_of(many, many))
    assert not doubtful(own_of(many[1:], many[1:]))


def dense_of(number: int, inputs: int, units: int) -> PairLayer:
    return layer(number, "dense", kernel=(inputs, units), bias=(units,))


def test_a_layer_that_the_other_side_has_by_hand_is_taken_apart() -> None:
    by_hand = own_weights([("net.weight", (6, 4)), ("net.offset", (6,))])
    a = with_own("keras", (), dense_of(0, 4, 6), dense_of(2, 6, 3))
    found = matched(a, with_own("torch", by_hand, dense_of(0, 6, 3)))
    assert isinstance(found, WeightMap)
    assert [(x.a.number, x.b.number) for x in found.pairs] == [(2, 0)]
    kernel = RNG.normal(size=(4, 6))
    given = {"0/kernel": kernel, "0/bias": np.ones(6), "2/bias": np.zeros(3)}
    there = found.to_b(given)
    np.testing.assert_array_equal(there[f"{OWN}/weight"], kernel.T)
    assert there.keys() == {f"{OWN}/weight", f"{OWN + 1}/weight", "0/bias"}
    back = found.to_a(there)
    assert back.keys() == given.keys()
    np.testing.assert_array_equal(back["0/kernel"], kernel)
    assert [found.place(name) for name in ("2/bias", "0/kernel", "0/bias")] == [0, 1, 2]


def test_which_of_several_equal_layers_is_by_hand_is_tried() -> None:
    by_hand = own_weights([("net.weight", (4, 4)), ("net.bias", (4,))])
    a = with_own("keras", (), dense_of(0, 4, 4), dense_of(1, 4, 4))
    found = list(arrangements(a, with_own("torch", by_hand, dense_of(0, 4, 4))))
    assert {each.pairs[0].a.number for each in found if each.pairs} == {0, 1}
    assert any(not each.pairs for each in found)


def test_running_statistics_and_gates_are_not_taken_apart() -> None:
    norm = layer(0, "batch_norm", gamma=(4,), beta=(4,), mean=(4,), variance=(4,))
    by_hand = own_weights([("net.gamma", (4,)), ("net.beta", (4,))])
    assert matched(with_own("keras", (), norm), with_own("torch", by_hand)) is None


def test_a_gradient_that_a_weight_of_no_layer_lacks_is_a_difference() -> None:
    table = layer(0, "embedding", kernel=(5, 8))
    frozen = own_weights([], [("net.table", (5, 8))])
    weights = matched(with_own("keras", (), table), with_own("torch", frozen))
    assert isinstance(weights, WeightMap)
    ours = PairStep({}, {}, 1.0, {}, {"0/kernel": np.ones((5, 8))}, {})
    found = judge([ours], [PairStep({}, {}, 1.0, {}, {}, {})], weights)
    assert found.findings["gradient"].got == "none"


def test_both_sides_are_set_to_one_weight() -> None:
    own = own_of(KERAS, own_weights([("net.position", (5, 8)), ("net.token", (1, 1, 8))]))
    weights = WeightMap((), own)
    given = {f"{OWN}/weight": np.arange(8.0), f"{OWN + 1}/weight": np.ones((5, 8))}
    there = weights.to_b(given)
    assert sorted(there) == [f"{OWN}/weight", f"{OWN + 1}/weight"]
    np.testing.assert_array_equal(there[f"{OWN + 1}/weight"], np.arange(8.0))
    back = weights.to_a(there)
    assert all(np.array_equal(back[name], value) for name, value in given.items())


# --- How they start -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ([np.full(8, 0.1)] * 4, [np.full(8, np.float32(0.1))] * 4, None),
        ([np.full(8, 0.1)] * 4, [np.full(8, 0.01)] * 4, "starts with 0.01 instead of 0.1"),
        ([RNG.normal(0, 0.02, 400)] * 1, [RNG.normal(0, 0.02, 400)] * 1, None),
        ([RNG.normal(0, 0.02, 400)] * 1, [RNG.normal(0, 0.0176, 400)] * 1, None),
        ([RNG.normal(0, 0.02, 400)] * 1, [RNG.normal(0, 0.2, 400)] * 1, "deviation 0.2"),
        ([RNG.normal(0, 0.02, 400)] * 1, [np.zeros(400)], "starts with 0 instead of"),
    ],
)
def test_their_first_values(ours: list[Array], theirs: list[Array], told: str | None) -> None:
    size = len(ours[0])
    own = own_of(own_weights([("scale", (size,))]), own_weights([("net.scale", (size,))]))
    name = f"{OWN}/weight"
    found, _ = initial_breaks(
        [{name: x} for x in ours], [{name: x} for x in theirs], WeightMap((), own)
    )
    assert len(found) == (told is not None)
    if told is not None:
        assert told in str(found[0].cause.value)
        assert found[0].tensor == "net.scale"


# --- Cures ----------------------------------------------------------------------------------------


def layer(number: int, kind: str, **shapes: tuple[int, ...]) -> PairLayer:
    return PairLayer(number, f"l{number}: {kind}", kind, shapes=shapes)


def port(*layers: PairLayer) -> PairFacts:
    return PairFacts("torch", layers, 0)


def test_a_cure_has_the_sizes_of_the_original() -> None:
    a, b = layer(0, "dense", kernel=(13, 1)), layer(0, "dense", kernel=(7, 1))
    (found,) = unlike_breaks(Unlike(reshaped=((a, b),)), port())
    assert found.cause.fix == "by hand, give l0: dense the original's sizes: 13x1 instead of 7x1"


def test_a_normalisation_without_weights_is_none_that_is_missing() -> None:
    norm = layer(1, "group_norm", gamma=(8,), beta=(8,))
    (found,) = unlike_breaks(Unlike(missing=(norm,)), port(layer(1, "group_norm")))
    assert found.cause.name == UNKNOWN
    assert "without the gamma, beta" in str(found.cause.value)
    (found,) = unlike_breaks(Unlike(missing=(norm,)), port(layer(1, "layer_norm")))
    assert found.cause.name == "normalisation_missing"


# --- Rounding -------------------------------------------------------------------------------------


def normed(mean: float) -> PairStep:
    """A normalisation of numbers that cancel each other."""
    x = np.array([[1.0], [-1.0]])
    return PairStep({0: x}, {0: x}, 1.0, {"0/mean": np.zeros(1)}, {}, {"0/mean": np.full(1, mean)})


@pytest.mark.parametrize(("ours", "theirs", "clean"), [(2e-19, -5e-19, True), (0.1, 0.2, False)])
def test_a_mean_of_numbers_that_cancel_each_other(ours: float, theirs: float, clean: bool) -> None:
    norm = layer(0, "batch_norm", mean=(1,))
    found = judge([normed(ours)], [normed(theirs)], WeightMap((LayerPair(norm, norm),)))
    assert ("state" not in found.findings) is clean


@pytest.mark.parametrize(("size", "named"), [(6e-8, False), (1e-4, True)])
def test_what_float32_rounds_is_left_open(
    size: float, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of positions that was made before the network was turned to float64."""
    monkeypatch.setattr(breaks, "explain", lambda *_: None)
    dense = layer(0, "dense", kernel=(2, 2))
    judged = Judged({"forward": Finding("forward", 1, 0, "outputs", size, "1", "1")})
    run = SimpleNamespace(
        judged=lambda mends=(): judged,
        own_steps=list,
        steps_a=[],
        weights=WeightMap((LayerPair(dense, dense),)),
        rows_a=None,
        rows_b=SimpleNamespace(steps=3),
        reordered=[],
        settle_own=lambda mends: False,
    )
    found = breaks.explained(cast(PairRun, run))
    assert bool(found.breaks) is named
    assert found.in_float32 == ([] if named else [found.in_float32[0]])
    assert {"forward", "loss"} <= {*found.open_stages, *(["forward"] if named else [])}


# --- Padding and branches -------------------------------------------------------------------------


def conv(number: int, pads: tuple[tuple[int, int], ...]) -> PairLayer:
    return PairLayer(number, "c", "conv", {"pads": pads, "groups": 1}, {"kernel": (3, 1, 1)})


def run_of(a: tuple[PairLayer, ...], b: tuple[PairLayer, ...]) -> PairRun:
    pairs = [
        LayerPair(x, y)
        for x, y in zip([x for x in a if x.shapes], [y for y in b if y.shapes], strict=True)
    ]
    run = SimpleNamespace(
        facts_a=PairFacts("keras", a, 0),
        facts_b=PairFacts("torch", b, 0),
        weights=WeightMap(tuple(pairs)),
    )
    return cast(PairRun, run)


def test_padding_in_front_counts_with_a_layer_s_own() -> None:
    zeros = PairLayer(0, "z", "ZeroPadding1D", {"pads": ((0, 1),)})
    (found,) = padding(run_of((zeros, conv(1, ((0, 0),))), (conv(0, ((1, 1),)),)), 0)
    assert [(m.layer, m.field, m.value) for m in found.mends] == [(0, "pads", ((0, 1),))]
    assert found.cause.value == "pads ((1, 1),) instead of ((0, 1),) in c"
    same = run_of((zeros, conv(1, ((0, 0),))), (conv(0, ((0, 1),)),))
    assert not list(padding(same, 0))


def test_a_rim_of_zeros_on_one_side_is_told_by_the_outputs() -> None:
    x = RNG.normal(size=(2, 4, 1))
    wide = np.pad(x, ((0, 0), (0, 1), (0, 0)))
    pair = LayerPair(conv(0, ((0, 0),)), conv(0, ((1, 1),)))
    steps = [PairStep({0: a}, {0: x + n}, 1.0, {}, {}, {}) for n, a in enumerate((wide, x))]
    found = judge(steps[:1], steps[1:], WeightMap((pair,)))
    assert found.findings["forward"].tensor == "outputs"
    moved = PairStep({0: x + 1}, {0: x}, 1.0, {}, {}, {})
    found = judge(steps[:1], [moved], WeightMap((pair,)))
    assert found.findings["forward"].tensor == "inputs"


def test_work_on_a_branch_that_runs_later() -> None:
    """A pooling in front of the first layer there, and of the second here."""
    window = {"window": (3, 3), "stride": (1, 1), "pads": ((1, 1), (1, 1))}
    first, second = (layer(n, "dense", kernel=(n, 2)) for n in (1, 2))
    ours = (PairLayer(0, "max", "max_pool", window), first, second)
    there = layer(0, "dense", kernel=(1, 2)), PairLayer(1, "mean", "average_pool", window)
    (found,) = _across(run_of(ours, (*there, second)))
    assert found.cause.name == "pooling_settings"
    assert found.cause.value == "mean instead of max"


# --- Weights of rows ------------------------------------------------------------------------------


def brought(weights: Array | None) -> PairBrought:
    epochs = (SimpleNamespace(weights=weights),)
    return PairBrought(own=cast(OwnData, SimpleNamespace(epochs=epochs)))


def loss_break(text: str) -> Break:
    place = Place(1, 1, None, "loss")
    return Break(side="b", rung="loss", place=place, cause=Cause(UNKNOWN, text))


def test_rows_may_be_weighted_by_the_port_s_own_code() -> None:
    sides = brought(np.ones(3)), brought(None)
    told = loss_break("the original gives each row a weight, the port does not")
    seen = PairEvidence(breaks=[told])
    leave_weighted_open(seen, sides)
    assert seen.breaks == [told]  # without weights the losses agree: the port has none
    seen = PairEvidence(breaks=[loss_break("0.08 of the largest"), told])
    leave_weighted_open(seen, sides)
    assert not seen.breaks
    assert "own code" in seen.not_judged[0]


def fed(weights: Array | None) -> Fed:
    rows = PairRows(np.zeros((3, 1)), np.zeros(3), 2, weights=weights)
    return Fed((rows,), (replace(rows, weights=None),), "the original's data", False, True)


def test_judged_steps_with_weights_tell_whether_the_port_has_them() -> None:
    sides = brought(np.ones(3)), brought(None)
    told = loss_break("the original gives each row a weight, the port does not")
    other = loss_break("0.08 of the largest")
    for left in ([], [other]):
        seen = PairEvidence(breaks=[*left, told], judged=True)
        leave_weighted_open(seen, sides, fed(np.array([1.0, 2.0, 1.0])))
        assert seen.breaks == left
        assert not seen.not_judged
    seen = PairEvidence(breaks=[other, told], judged=True)
    leave_weighted_open(seen, sides, fed(np.ones(3)))  # nothing shows by equal weights
    assert not seen.breaks
    assert seen.not_judged


def test_a_loss_without_weights_is_named_by_the_original_s() -> None:
    def step(loss: float) -> PairStep:
        return PairStep({}, {}, loss, {}, {}, {})

    found = [loss_break("0.08 of the largest")]
    (named,) = weights_left_out(found, step(2.0), lambda: step(2.0 + 1e-12))
    assert named.cause.name == "row_weights_missing"
    assert weights_left_out(found, step(2.0), lambda: step(2.001)) == found


# --- Optimizers and cures -------------------------------------------------------------------------


def moving(by: dict[str, float]) -> PairStep:
    names = ("0/kernel", "1/kernel")
    before = {name: np.ones(2) for name in names}
    after = {name: value + by.get(name, 0.0) for name, value in before.items()}
    gradients = {name: np.ones(2) for name in names}
    return PairStep({}, {}, 1.0, before, gradients, after)


def test_a_tensor_that_the_optimizer_does_not_have() -> None:
    layers = [layer(n, "dense", kernel=(2,)) for n in (0, 1)]
    weights = WeightMap(tuple(LayerPair(x, x) for x in layers))
    ours = [moving({"0/kernel": -0.1, "1/kernel": -0.1})] * 2
    assert unmoved_by(ours, [moving({"0/kernel": -0.1})] * 2, weights) == ["1/kernel"]
    assert unmoved_by(ours, [moving({})] * 2, weights) == ["0/kernel", "1/kernel"]
    has = replace(moving({}), optimizer={"0/kernel": {"kind": "SGD"}})
    assert not unmoved_by(ours, [has] * 2, weights)  # it moves nothing: no matter of tensors
    kept = judge(ours, [moving({"0/kernel": -0.1})] * 2, weights, unmoved=["1/kernel"])
    assert "update" not in kept.findings
    once = [moving({"0/kernel": -0.1}), moving({"0/kernel": -0.1, "1/kernel": -0.1})]
    assert not unmoved_by(ours, once, weights)
    tiny = {"0/kernel": np.ones(2), "1/kernel": np.full(2, 1e-20)}
    too_small = [replace(moving({"0/kernel": -0.1}), gradients=tiny)] * 2
    assert not unmoved_by(ours, too_small, weights)  # its gradient differs


def test_a_line_of_the_catalogue_says_that_its_numbers_are_not_the_users() -> None:
    assert with_cure(Cause("recurrent_settings"), "torch").fix == (
        'nn.RNN(8, 16, nonlinearity="relu")  # with the original\'s numbers'
    )
    assert with_cure(Cause("dropout"), "torch").fix == "layer = nn.Identity()  # in its place"
    assert with_cure(Cause("sequence_reversed"), "torch").fix == "x = x.flip(1)"
    assert with_cure(Cause("learning_rate", fix="lr=0.3"), "torch").fix == "lr=0.3"


def test_scripts_that_train_for_other_numbers_of_epochs(tmp_path: Path) -> None:
    for name in ("keras", "torch"):
        (tmp_path / f"{name}_a.py").write_text(f"import {name}\n", encoding="utf-8")
    sides = [parse_target(str(tmp_path / f"{name}_a.py")) for name in ("keras", "torch")]
    (found,) = epochs_breaks(*sides, 3, 5)
    assert (found.cause.name, found.cause.value) == ("more_epochs", "5 epochs instead of 3")
    assert found.cause.fix == "3 epochs"
    (found,) = epochs_breaks(*sides, 5, 3)
    assert found.cause.name == "epochs_missing"
    assert not epochs_breaks(*sides, 3, 3)
