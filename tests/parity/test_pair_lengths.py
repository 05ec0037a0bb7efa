"""Texts of different lengths on two sides: found again without their padding, and fed with it."""

from dataclasses import replace

import numpy as np
import pytest

from mnist_mlp.data import load_dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.parity.pair.feed import feed
from mnist_mlp.parity.pair.judge import NOT_COMPARED, inputs_of
from mnist_mlp.parity.pair.lengths import (
    as_padded_by,
    cut_words,
    differs,
    given_by,
    harmonised,
    of_padding,
    padded_as_meant,
    refuse_lengths,
)
from mnist_mlp.parity.pair.weight_map import LayerPair
from mnist_mlp.plan import make_plan
from mnist_mlp.ports.find_rows import find
from mnist_mlp.ports.inputs import parts_of
from mnist_mlp.ports.padding import Padding
from mnist_mlp.ports.pair import PairLayer, PairStep
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import OwnData, PortDescription
from mnist_mlp.ports.rows import RowTable, read_pass
from mnist_mlp.spec import parse_spec

RNG = np.random.default_rng(0)
TEXTS = [RNG.integers(1, 30, n) for n in RNG.integers(2, 9, 40)]
LENGTHS = np.array(list(map(len, TEXTS)))
SIZE = 8


def batch(texts, *, in_front=False, width=None):
    width = width or max(map(len, texts))
    x = np.zeros((len(texts), width), np.int64)
    for row, text in zip(x, texts, strict=True):
        row[width - len(text) if in_front else 0 :][: len(text)] = text
    return x


def brought(order, *, beside=False, texts=TEXTS, **options):
    """Data of a side that has the texts in an order, and its batches."""
    table, given = RowTable(ragged=True), []
    for start in range(0, len(order), SIZE):
        ids = order[start : start + SIZE]
        x = batch([texts[k] for k in ids], **options)
        lengths = np.array([len(texts[k]) for k in ids])
        given.append(((x, lengths) if beside else x, ids % 2, None))
    one = read_pass(given, table)
    parts = table.parts(parts_of(given[0][0]))
    rows = table.rows()
    own = OwnData(
        rows, table.shape, (one,), first_targets=given[0][1], parts=parts, padding=table.padding
    )
    return own, [x for x, _, _ in given]


IN_ORDER, MIXED = np.arange(40), RNG.permutation(40)


@pytest.mark.parametrize("in_front", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_rows_are_found_without_padding_and_given_with_it(in_front: bool, beside: bool) -> None:
    ours, theirs = (
        brought(IN_ORDER, width=12, in_front=in_front),
        brought(MIXED, beside=beside),
    )
    a, b = harmonised(ours[0], theirs[0])
    assert a is not None
    assert b is not None
    assert a.shape == b.shape == (8,)
    places = find(b.rows, a.rows)[b.epochs[0].ids]
    np.testing.assert_array_equal(places, a.epochs[0].ids[MIXED])
    for own, (_, given) in ((a, ours), (b, theirs)):
        for ids, expected in zip(own.epochs[0].batches, given, strict=True):
            made = given_by(own, ids)
            assert own.padding is not None
            rows = PairRows(made, np.zeros(len(ids)), SIZE, padding=own.padding.of(ids))
            got = rows.batch(range(len(ids)))
            pairs = zip(
                *(v if isinstance(v, tuple) else (v,) for v in (got, expected)), strict=True
            )
            for x, y in pairs:
                np.testing.assert_array_equal(x, y)


def test_rows_in_one_length_are_found_on_other_sides_of_their_padding() -> None:
    a, b = harmonised(brought(IN_ORDER, width=12, in_front=True)[0], brought(MIXED, width=12)[0])
    assert a is not None
    assert b is not None
    assert (find(b.rows, a.rows) >= 0).all()
    assert a.padding is not None
    assert b.padding is not None
    assert (a.padding.in_front, b.padding.in_front) == (True, False)
    assert not a.padding.by_batch


def test_a_side_whose_batches_are_all_of_one_length_may_pad_each_by_itself() -> None:
    texts = [RNG.integers(1, 30, 8) if k % SIZE == 0 else text for k, text in enumerate(TEXTS)]
    longest_in_each = brought(IN_ORDER, texts=texts)[0]
    assert longest_in_each.padding is None  # nothing of it shows
    by_batch = brought(np.argsort(list(map(len, texts))), texts=texts)[0]
    assert by_batch.padding is not None
    a, b = harmonised(longest_in_each, by_batch)
    assert a is not None
    assert b is not None
    assert [own.padding.by_batch for own in (a, b) if own.padding] == [True, True]
    wider = brought(IN_ORDER, texts=texts, width=9)[0]
    found = harmonised(wider, by_batch)
    assert [own.padding.by_batch for own in found if own and own.padding] == [False, True]


def test_rows_that_are_cut_otherwise_are_told() -> None:
    cut = [text[-5:] for text in TEXTS]
    a, b = harmonised(brought(IN_ORDER, texts=cut, width=5)[0], brought(MIXED)[0])
    assert a is not None
    assert b is not None
    extra = np.flatnonzero(find(b.rows, a.rows) < 0)
    missing = np.flatnonzero(find(a.rows, b.rows) < 0)
    assert cut_words(a, b, extra, missing) == "rows are cut to 8 steps, in the original to 5"
    assert not cut_words(a, b, extra[:0], missing)
    assert not cut_words(replace(a, padding=None), b, extra, missing)


@pytest.mark.parametrize("beside", [False, True])
def test_lengths_of_rows_that_only_the_original_has_are_not_known(beside: bool) -> None:
    cut = [text[-5:] for text in TEXTS]
    own = harmonised(brought(IN_ORDER, texts=cut, width=5)[0], brought(MIXED, beside=beside)[0])
    sides = PairBrought(own[0], batch_size=SIZE), PairBrought(own[1])
    described = PortDescription("keras", ()), PortDescription("torch", ())
    dataset = load_dataset("digits")
    plan = make_plan(parse_spec({}), dataset)
    if beside:
        with pytest.raises(UsageError, match="something beside each row"):
            feed(*sides, described, plan, dataset, ())
        return
    fed = feed(*sides, described, plan, dataset, ())
    assert fed is not None
    assert not fed.own_rows
    padding = fed.b[0].padding
    assert padding is not None
    assert padding.by_batch
    np.testing.assert_array_equal(fed.b[0].batch(range(SIZE)), batch(cut[:SIZE]))


def test_other_texts_are_not_taken_for_the_same() -> None:
    others = [text[::-1] + 1 for text in TEXTS]
    a, b = brought(IN_ORDER, width=12)[0], brought(MIXED, texts=others)[0]
    assert harmonised(a, b) == (a, b)


def test_rows_that_are_alike_stay_as_they_are() -> None:
    a, b = (brought(order, width=12)[0] for order in (IN_ORDER, MIXED))
    found = harmonised(a, b)
    assert [own.rows for own in found if own] == [a.rows, b.rows]
    assert all(own is not None and own.stripped is None for own in found)


def test_what_is_accumulated_or_has_several_inputs_is_refused() -> None:
    own = brought(MIXED)[0]
    sides = PairBrought(brought(IN_ORDER, width=12)[0], accumulated=2), PairBrought(own)
    with pytest.raises(UsageError, match="accumulated"):
        refuse_lengths(sides, ("a.py", "b.py"))
    several = PairBrought(brought(MIXED, beside=True)[0])
    with pytest.raises(UsageError, match="2 inputs"):
        refuse_lengths((PairBrought(None), several), ("a.py", "b.py"))
    refuse_lengths((PairBrought(None), PairBrought(own)), ("a.py", "b.py"))


# --- Judged steps ---------------------------------------------------------------------------------


def rows_of(*, in_front=False, width=None, lengths=None):
    x = batch(TEXTS, in_front=in_front, width=width)
    padding = Padding(LENGTHS, 0, in_front, x.shape[1], by_batch=width is None)
    given = x if lengths is None else (x, lengths)
    return PairRows(given, np.zeros(40), SIZE, padding=padding)


def test_a_rows_padding_is_made_the_originals() -> None:
    a, b = rows_of(in_front=True, width=12), rows_of()
    assert differs(a, b)
    tried = list(of_padding(a, b))
    assert [cause.name for _, cause in tried] == ["padding_side", "padding_length"]
    for mends, _ in tried:
        b = padded_as_meant(b, mends[0])
    assert not differs(a, b)
    np.testing.assert_array_equal(b.x, a.x)
    assert not list(of_padding(a, b))


def test_lengths_are_made_those_of_the_rows() -> None:
    a, b = rows_of(width=12), rows_of(lengths=np.maximum(LENGTHS - 1, 1))
    (mends, cause), *_ = of_padding(a, b)
    assert cause.name == "sequence_lengths"
    assert cause.value == "lengths of 1 too few beside the rows"
    x, lengths = padded_as_meant(b, mends[0]).x
    np.testing.assert_array_equal(lengths, LENGTHS)
    np.testing.assert_array_equal(x, b.x[0])
    right = rows_of(lengths=LENGTHS)
    assert [cause.name for _, cause in of_padding(a, right)] == ["padding_length"]


def test_a_port_without_data_is_fed_as_the_original_is() -> None:
    a = rows_of(in_front=True)
    own = replace(brought(IN_ORDER, width=12)[0], padding=rows_of(width=12).padding)
    made = as_padded_by(a, own)
    np.testing.assert_array_equal(made.x, rows_of(width=12).x)
    assert as_padded_by(a, None) is a


def step(padding, x):
    return PairStep({0: x}, {}, 0.0, {}, {}, {}, padding=padding)


DENSE = PairLayer(0, "out", "dense", shapes={"kernel": (3, 1)})


def test_only_steps_that_are_no_padding_are_compared() -> None:
    steps = RNG.normal(size=(40, 8, 3))
    sides = []
    for rows in (rows_of(in_front=True, width=12), rows_of()):
        padding = rows.padding
        x = RNG.normal(size=(40, padding.steps, 3))
        for row, one, length in zip(x, steps, LENGTHS, strict=True):
            begin = padding.steps - length if padding.in_front else 0
            row[begin : begin + length] = one[:length]
        sides.append(step(padding, x))
    pair = LayerPair(DENSE, DENSE)
    assert inputs_of(pair, *sides)[0] == 0
    sides[1].inputs[0][0, 0, 0] += 1
    assert inputs_of(pair, *sides)[0] > 0.1


def test_steps_of_another_number_are_not_compared() -> None:
    a, b = rows_of(width=12).padding, rows_of().padding
    pair = LayerPair(DENSE, DENSE)
    found = inputs_of(pair, step(a, np.ones((40, 10, 3))), step(b, np.ones((40, 6, 3))))
    assert found is NOT_COMPARED
    flat = inputs_of(pair, step(a, np.ones((40, 3))), step(b, np.zeros((40, 3))))
    assert flat[0] == 1
