"""Rows of different lengths: told from their padding, taken apart, and padded again."""

import numpy as np
import pytest

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.padding import (
    Padding,
    lengths_behind,
    lengths_of,
    moved,
    padded,
    told_by,
    unpadded,
    without_padding,
)
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.recording import Recording
from mnist_mlp.ports.rows import RowTable, read_pass

RNG = np.random.default_rng(0)
TEXTS = [RNG.integers(1, 30, n) for n in RNG.integers(2, 9, 24)]
LENGTHS = np.array(list(map(len, TEXTS)))


def batch(texts, *, in_front=False, value=0, width=None):
    """Texts as a collate function pads them."""
    width = width or max(map(len, texts))
    x = np.full((len(texts), width), value)
    for row, text in zip(x, texts, strict=True):
        row[width - len(text) if in_front else 0 :][: len(text)] = text
    return x


def batches(**options):
    return [batch(TEXTS[k : k + 6], **options) for k in range(0, 24, 6)]


@pytest.mark.parametrize("in_front", [False, True])
@pytest.mark.parametrize("value", [0, 1, -100])
def test_padding_is_told_by_batches(in_front: bool, value: int) -> None:
    texts = [text + 1 for text in TEXTS]  # no word is a 1
    x = [batch(texts[k : k + 6], in_front=in_front, value=value) for k in range(0, 24, 6)]
    found = told_by(x)
    assert found[:2] == (value, in_front)
    assert found[2] > 0
    lengths = [lengths_of(rows, value, in_front=in_front) for rows in x]
    np.testing.assert_array_equal(np.concatenate(lengths), LENGTHS)


def test_marks_of_a_texts_start_and_end_are_no_padding() -> None:
    marked = [np.concatenate([[2], text + 5, [3]]) for text in TEXTS]
    x = [batch(marked[k : k + 6]) for k in range(0, 24, 6)]
    assert told_by(x)[:2] == (0, False)
    one_by_one = [batch([text]) for text in marked]  # batches of one row have no padding
    assert told_by(one_by_one)[2] == 0


def test_padding_is_told_of_vectors() -> None:
    series = [RNG.normal(size=(n, 3)) for n in LENGTHS]
    x = np.zeros((24, 10, 3))
    for row, one in zip(x, series, strict=True):
        row[: len(one)] = one
    assert told_by([x])[:2] == (0.0, False)
    np.testing.assert_array_equal(lengths_of(x, 0.0, in_front=False), LENGTHS)


@pytest.mark.parametrize("in_front", [False, True])
def test_rows_are_taken_out_of_their_padding_and_put_back(in_front: bool) -> None:
    x = batch(TEXTS, in_front=in_front, width=11, value=7)
    bare = unpadded(x, LENGTHS, in_front=in_front)
    assert bare.shape == (24, 8)
    np.testing.assert_array_equal(bare, batch(TEXTS))
    again = padded(bare, Padding(LENGTHS, 7, in_front, 11, by_batch=False))
    np.testing.assert_array_equal(again, x)


def test_a_batch_is_cut_to_its_longest_row() -> None:
    for in_front in (False, True):
        x = batch(TEXTS, in_front=in_front)
        padding = Padding(LENGTHS, 0, in_front, x.shape[1], by_batch=True)
        rows = PairRows(x, np.zeros(24), 6, padding=padding)
        ids = [3, 4, 9]
        np.testing.assert_array_equal(
            rows.batch(ids), batch([TEXTS[k] for k in ids], in_front=in_front)
        )
        several = PairRows((x, LENGTHS), np.zeros(24), 6, padding=padding)
        cut, lengths = several.part(slice(2, 12)).batch([1, 2, 7])
        np.testing.assert_array_equal(cut, rows.batch(ids))
        np.testing.assert_array_equal(lengths, LENGTHS[ids])
        whole = PairRows(x, np.zeros(24), 6, padding=Padding(LENGTHS, 0, in_front, 8, False))
        assert whole.batch(ids).shape == (3, 8)


# --- Reading --------------------------------------------------------------------------------------


def test_rows_of_batches_of_different_lengths_get_one_number_each() -> None:
    table = RowTable(ragged=True)
    first = read_pass([(x, np.zeros(6), None) for x in batches(value=-1)], table)
    order = RNG.permutation(24)
    mixed = [[TEXTS[k] for k in order[i : i + 4]] for i in range(0, 24, 4)]
    second = read_pass([(batch(each, value=-1), np.zeros(4), None) for each in mixed], table)
    np.testing.assert_array_equal(second.ids, first.ids[order])
    padding = table.padding
    assert padding is not None
    assert (padding.value, padding.in_front, padding.width, padding.by_batch) == (
        -1,
        False,
        8,
        True,
    )
    np.testing.assert_array_equal(padding.lengths[first.ids], LENGTHS)
    rows = table.rows()
    assert table.shape == (8,)
    np.testing.assert_array_equal(rows.take(first.ids), batch(TEXTS, value=-1))


def test_lengths_and_masks_stay_beside_their_rows() -> None:
    given = [((x, (x != 0).sum(axis=1), x != 0), np.zeros(6), None) for x in batches()]
    table = RowTable(ragged=True)
    one = read_pass(given, table)
    padding = table.padding
    assert padding is not None
    assert padding.parts == (0, 2)
    found = table.rows().take(one.ids)
    whole = batch(TEXTS)
    np.testing.assert_array_equal(found[:, :8], whole)
    np.testing.assert_array_equal(found[:, 8], LENGTHS)
    np.testing.assert_array_equal(found[:, 9:], whole != 0)


def test_what_cannot_be_judged_is_refused() -> None:
    images = [(np.zeros((2, n)), np.zeros(2), None) for n in (5, 7)]
    with pytest.raises(UsageError, match="pad all of them to one length"):
        read_pass(images, RowTable())
    other_features = [(np.ones((2, n, n)), np.zeros(2), None) for n in (5, 7)]
    with pytest.raises(UsageError, match="in other axes"):
        read_pass(other_features, RowTable(ragged=True))
    two = [((np.ones((2, n)), np.ones((2, n + m))), np.zeros(2), None) for n, m in ((5, 1), (7, 2))]
    with pytest.raises(UsageError, match="several inputs"):
        read_pass(two, RowTable(ragged=True))
    tagged = [(np.ones((2, n)), np.ones((2, n)), None) for n in (5, 7)]
    with pytest.raises(UsageError, match="one for each step"):
        read_pass(tagged, RowTable(ragged=True))


def test_lengths_behind_the_targets_are_told_from_targets() -> None:
    x, targets = batch(TEXTS), np.arange(24) % 2
    for lengths in (LENGTHS, LENGTHS - 1):
        assert lengths_behind([x, targets, lengths])
        assert not lengths_behind([x, lengths, targets])
    assert not lengths_behind([x, LENGTHS, LENGTHS])  # the number of words is to be told
    assert not lengths_behind([x, targets, LENGTHS[::-1].copy()])
    assert not lengths_behind([x, targets, LENGTHS.astype("float32")])


def test_an_epoch_of_a_loops_own_batches_ends_where_a_row_comes_again() -> None:
    recording = Recording()
    for epoch in range(4):
        order = RNG.permutation(24)
        for start in range(0, 24, 6):
            x = batch([TEXTS[k] for k in order[start : start + 6]])
            enough = recording.add(x, (epoch, x))
            if enough:
                break
    recording.close(ended=False)
    assert enough
    assert [len(epoch) for epoch in recording.epochs] == [4, 4, 4]
    assert [{n for n, _ in epoch} for epoch in recording.epochs] == [{0}, {1}, {2}]


def test_a_batch_with_its_steps_first_is_refused() -> None:
    with pytest.raises(UsageError, match="batch_first=True"):
        read_pass([(batch(TEXTS).T, np.zeros(24), None)], RowTable(ragged=True))


# --- Two sides ------------------------------------------------------------------------------------


def both(front_b: bool = False) -> tuple[Padding, Padding]:
    return (
        Padding(LENGTHS, 0, in_front=True, width=11, by_batch=False),
        Padding(LENGTHS, 0, front_b, 8, by_batch=True),
    )


def laid(steps, padding):
    """Numbers (n, 8, k) at the places of a side, with other numbers in the padding."""
    made = RNG.normal(size=(24, padding.steps, steps.shape[2]))
    for row, one, length in zip(made, steps, LENGTHS, strict=True):
        begin = padding.steps - length if padding.in_front else 0
        row[begin : begin + length] = one[:length]
    return made


@pytest.mark.parametrize("front_b", [False, True])
def test_steps_of_two_sides_agree_wherever_their_padding_is(front_b: bool) -> None:
    a, b = both(front_b)
    steps = RNG.normal(size=(24, 8, 3))
    x, y = laid(steps, a), laid(steps, b)
    for other in (y, y.swapaxes(0, 1), np.moveaxis(y, 2, 1)):
        found = list(without_padding(x, other, a, b))
        assert found
        assert min(np.abs(p - q).max() for p, q in found) == 0
    y[3, 7 if front_b else 0] += 1e-6  # a step that is no padding
    assert all(np.abs(p - q).max() > 0 for p, q in without_padding(x, y, a, b))


def test_draws_are_moved_to_the_steps_of_the_other_side() -> None:
    a, b = both()
    keep = RNG.random((24, 11, 3)) < 0.5
    found = moved(keep, a, b, fill=1)
    assert found.shape == (24, 8, 3)
    for row, mine, length in zip(found, keep, LENGTHS, strict=True):
        np.testing.assert_array_equal(row[:length], mine[11 - length :])
        assert row[length:].all()
    shared = RNG.random((24, 1, 3)) < 0.5  # one for all steps
    assert moved(shared, a, b, fill=1) is shared
    square = RNG.random((24, 11, 11)) < 0.5  # either axis may be the steps
    assert moved(square, a, b, fill=1).shape == (24, 8, 11)
    assert moved(square, a, b, fill=1, steps_first=False) is square
