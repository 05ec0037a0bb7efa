"""Several inputs of a pair: split, joined, brought into one order, and drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_mlp.data import Dataset
from mnist_mlp.parity.pair.feed import feed
from mnist_mlp.parity.pair.own_rows import aligned
from mnist_mlp.parity.pair.run import in_order
from mnist_mlp.plan import Plan, make_plan
from mnist_mlp.ports.draws import Draw, Planned
from mnist_mlp.ports.inputs import Inputs, apart, each, orders, parts_of, side_by_side
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import OwnData, PortDescription
from mnist_mlp.ports.rows import RowTable, read_pass
from mnist_mlp.reference import Array
from mnist_mlp.spec import parse_spec

RNG = np.random.default_rng(0)
WORDS, NUMBERS, MORE = RNG.integers(0, 9, (20, 3)), RNG.normal(size=(20, 4)), RNG.random((20, 4))
LABELS = RNG.integers(0, 2, 20)
NOTHING = PairBrought(own=None)


def own(*arrays: Array, flat: bool = False) -> OwnData:
    """As a side brings several inputs: batches of 4 rows."""
    table = RowTable()
    batches = [
        (side_by_side(tuple(a[i : i + 4] for a in arrays)), LABELS[i : i + 4], None)
        for i in range(0, 20, 4)
    ]
    return OwnData(
        epochs=(read_pass(batches, table),),
        rows=table.rows(),
        shape=table.shape,
        first_targets=LABELS[:4],
        parts=parts_of(arrays),
        flat=flat,
    )


@pytest.fixture(scope="module")
def plan(small_data: Dataset) -> Plan:
    spec = {"model": {"layer_sizes": [30, 9, 4]}, "training": {"batch_size": 8}}
    return make_plan(parse_spec(spec), small_data)


@pytest.mark.parametrize("x", [(WORDS, NUMBERS), {"b": NUMBERS, "a": WORDS}])
def test_inputs_are_split_as_they_were_joined(x: object) -> None:
    back = apart(side_by_side(x), parts_of(x))
    assert type(back) is type(x)
    got = dict(enumerate(back)) if isinstance(back, tuple) else back
    expected = dict(enumerate(x)) if isinstance(x, tuple) else x
    for key, array in expected.items():  # type: ignore[attr-defined]
        np.testing.assert_array_equal(got[key], array)
        assert got[key].dtype == array.dtype


def test_inputs_in_another_order_are_known_by_their_content() -> None:
    mine, theirs = own(WORDS, NUMBERS, MORE), own(MORE, NUMBERS, WORDS)
    found = aligned(mine, theirs)
    assert found is not None
    np.testing.assert_allclose(found.rows.take(range(20)), mine.rows.take(range(20)))
    back = apart(found.rows.take(range(20)), found.parts, found.order)
    for got, expected in zip(back, (MORE, NUMBERS, WORDS), strict=True):
        np.testing.assert_allclose(got, expected)
    assert aligned(mine, own(WORDS, NUMBERS, MORE)).order == ()  # type: ignore[union-attr]


def test_a_port_is_fed_as_its_own_loader_feeds_it(plan: Plan, small_data: Dataset) -> None:
    sides = PairBrought(own=own(WORDS, NUMBERS)), PairBrought(own=own(WORDS, NUMBERS, flat=True))
    described = PortDescription("keras", ()), PortDescription("torch", ())
    found = feed(*sides, described, plan, small_data, ())
    assert found is not None
    assert found.own_rows
    assert [x.shape for x in found.a[0].x] == [(10, 3), (10, 4)]
    assert found.b[0].flat
    assert found.b[0].x[0].dtype == np.int64


def test_what_is_embedded_is_drawn_within_its_vocabulary(plan: Plan, small_data: Dataset) -> None:
    described = PortDescription(
        "keras", (), inputs=((1,), (4,)), outputs=((2,),), losses=("binary_crossentropy",),
        vocabularies=(5, 0),
    )  # fmt: skip
    found = feed(NOTHING, NOTHING, (described, PortDescription("torch", ())), plan, small_data, ())
    assert found is not None
    words, numbers = found.a[0].x
    assert (words.dtype.kind, words.min(), words.max()) == ("i", 0, 4)
    assert numbers.dtype.kind == "f"
    assert (found.a[0].y.sum(axis=1) == 1).all()
    forms = [(type(rows.x).__name__, rows.flat) for rows in found.b]
    assert ("tuple", False) in forms
    assert ("tuple", True) in forms
    assert ("ndarray", False) in forms  # all columns in one table


def test_inputs_are_exchanged_for_an_experiment() -> None:
    rows = PairRows((NUMBERS, MORE), LABELS, 4)
    assert in_order(rows.x, (1, 0))[0] is MORE
    named = in_order({"a": NUMBERS, "b": MORE}, (1, 0))
    assert isinstance(named, dict)
    assert named["a"] is MORE
    assert orders([(4,), (4,), (3,)], [(4,), (4,), (3,)]) == [[0, 1, 2], [1, 0, 2]]
    assert rows.first(3).steps == 1


def with_targets(y: Inputs, rows: Array | slice = slice(None)) -> OwnData:
    """As a side brings several targets, in batches of 4 rows, perhaps in another order."""
    table = RowTable()
    x, y = NUMBERS[rows], each(lambda a: a[rows], y)
    cuts = [slice(i, i + 4) for i in range(0, 20, 4)]
    batches = [(x[cut], each(lambda a, cut=cut: a[cut], y), None) for cut in cuts]
    return OwnData(
        epochs=(read_pass(batches, table),),
        rows=table.rows(),
        shape=table.shape,
        first_targets=batches[0][1],
        target_parts=parts_of(y),
    )


@pytest.mark.parametrize("names", [None, ("z", "y", "x")], ids=["tuple", "other names"])
def test_targets_in_another_order_are_known_by_their_content(
    names: tuple[str, ...] | None, plan: Plan, small_data: Dataset
) -> None:
    number, more = MORE[:, 0], MORE[:, 1:3]
    mine = with_targets({"a": LABELS, "b": number, "c": more})
    given = more, number[:, None], np.eye(2)[LABELS]  # the classes one-hot
    moved: Inputs = given if names is None else dict(zip(names, given, strict=True))
    theirs = with_targets(moved, RNG.permutation(20))
    found = aligned(mine, theirs)
    assert found is not None
    assert mine.epochs[0].widths == found.epochs[0].widths == (1, 1, 2)
    sides = PairBrought(own=mine), PairBrought(own=found)
    described = PortDescription("keras", ()), PortDescription("torch", ())
    fed = feed(*sides, described, plan, small_data, ())
    assert fed is not None
    assert fed.own_rows
    first = fed.a[0].count
    got = dict(zip(names, (0, 1, 2), strict=True)) if names else {k: k for k in range(3)}
    for key, place in got.items():
        y = fed.b[0].y[key]  # type: ignore[index]
        np.testing.assert_allclose(y, given[place][:first], rtol=1e-6)


def test_targets_of_several_outputs_are_drawn_as_their_losses_want_them(
    plan: Plan, small_data: Dataset
) -> None:
    described = PortDescription(
        "keras", (), inputs=((4,),), outputs=((3,), (2,)), losses=("mse",),
        output_names=("kind", "size"), output_losses=("sparse_categorical_crossentropy", "mse"),
    )  # fmt: skip
    torch = PortDescription("torch", ())
    fed = feed(NOTHING, NOTHING, (described, torch), plan, small_data, ())
    assert fed is not None
    y = fed.a[0].y
    assert isinstance(y, dict)
    assert (y["kind"].dtype.kind, y["size"].shape[1:]) == ("i", (2,))
    forms = [(type(rows.y).__name__, rows.flat) for rows in fed.b]
    assert forms[:3] == [("dict", False), ("tuple", False), ("dict", False)]
    assert ("tuple", True) in forms
    assert forms[-1] == ("ndarray", False)  # trained towards one of them alone
    nothing = replace(described, output_losses=("mse", ""))
    assert feed(NOTHING, NOTHING, (nothing, torch), plan, small_data, ()) is None


def test_each_branch_gets_its_own_mask() -> None:
    draws = [Draw(np.ones(2, bool), 0.5, source) for source in (7, None, 3)]
    planned = Planned(draws, channels_last=True)
    assert planned.next(3, (2,)) is draws[2].keep
    assert planned.next(None, (2,)) is draws[0].keep  # of no known place: the next one
    assert planned.next(5, (3,)) is None  # it does not fit, and is left to the next that asks
    assert planned.next(5, (2,)) is draws[1].keep
    assert planned.next(7, (2,)) is None


def test_maps_as_wide_as_they_have_channels_are_turned() -> None:
    """Their shape is the same in both frameworks, and their channels are not."""
    keep = np.arange(54).reshape(2, 3, 3, 3)
    of_keras = Planned([Draw(keep, normal=True, channels_last=True)], channels_last=False)
    given = of_keras.next(None, keep.shape, normal=True)
    np.testing.assert_array_equal(given, keep.transpose(0, 3, 1, 2))
    of_torch = Planned([Draw(keep, normal=True, channels_last=False)], channels_last=False)
    assert of_torch.next(None, keep.shape, normal=True) is keep


def test_noise_gets_no_mask() -> None:
    draws = [Draw(np.ones(2, bool), 0.5), Draw(np.zeros(2), normal=True)]
    planned = Planned(draws, channels_last=False)
    assert planned.next(None, (2,), normal=True) is draws[1].keep
    assert planned.next(None, (2,), normal=True) is None
    assert planned.next(None, (2,)) is draws[0].keep
