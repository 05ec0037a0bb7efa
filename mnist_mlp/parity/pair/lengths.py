"""Texts and series of different lengths on two sides: their rows without padding, which are then
compared by their content, and how each side pads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from mnist_mlp.errors import UsageError
from mnist_mlp.parity.findings import Cause
from mnist_mlp.ports.draws import Draw
from mnist_mlp.ports.find_rows import find
from mnist_mlp.ports.inputs import Inputs, arrays_of
from mnist_mlp.ports.padding import (
    Padding,
    lengths_of,
    moved,
    padded,
    told_by,
    unpadded,
)
from mnist_mlp.ports.pair import Mend
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import OwnData, Rows, Stripped
from mnist_mlp.ports.rows import packed
from mnist_mlp.reference import Array

Tried = tuple[tuple[Mend, ...], Cause]
"""A change of the port, and what it would mend."""

LOOKED_AT = 512
"""Rows by which it is told whether two sides have the same ones as they are."""

FOUND = 0.5
"""Least share of rows that both sides have, for them to be the same data."""

MOST_VALUES = 2 * 10**7
"""Values of a table that is looked at for padding, unless its batches are padded."""

LONGEST = 4096
"""Steps of a row at most that is looked at for padding, unless its batches are padded."""


@dataclass(frozen=True, eq=False)
class _Bare:
    """Rows of one side that may be texts: (m, width, ...), and how they are padded."""

    x: Array
    padding: Padding
    stripped: Stripped

    def rows(self, steps: int) -> Array:
        """Without padding, (m, steps, ...)."""
        return unpadded(self.x, self.padding.lengths, in_front=self.padding.in_front, steps=steps)


def harmonised(a: OwnData | None, b: OwnData | None) -> tuple[OwnData | None, OwnData | None]:
    """Both sides' data, with texts and series of different lengths in rows without padding, where
    either side pads batch by batch, or the two pad otherwise.

    Raises
    ------
    UsageError
        There are several inputs with steps on both sides.
    """
    if a is None or b is None or not (a.epochs and b.epochs):
        return a, b
    by_batch = a.padding is not None or b.padding is not None
    if not by_batch:
        if not _may_be_texts(a) or not _may_be_texts(b):
            return a, b
        if _alike(a, b):
            told = told_by([_rows_of(a)])
            return _known(a, told), _known(b, told)
    if a.parts and b.parts:
        if by_batch:
            raise UsageError(
                "the two have several inputs, and batches that are padded to different lengths, "
                "which check cannot judge.\nPad all rows to one length in the data of both sides."
            )
        return a, b
    found = max(_matches(a, b, scaled=by_batch), key=lambda each: each[0], default=None)
    if found is None or found[0] < FOUND:
        return a, b
    _, ours, theirs = found
    steps = max(int(side.padding.lengths.max(initial=1)) for side in (ours, theirs))
    return _with(a, ours, steps), _with(b, theirs, steps)


def _rows_of(own: OwnData) -> Array:
    return own.rows.take(slice(None)).reshape(len(own.rows), *own.shape)


def _known(own: OwnData, told: tuple[float, bool, int]) -> OwnData:
    """Rows that both sides have alike, with what of them may be padding."""
    value, in_front, score = told
    if not score:
        return own
    x = _rows_of(own)
    lengths = lengths_of(x, value, in_front=in_front)
    return replace(own, padding=Padding(lengths, value, in_front, x.shape[1], by_batch=False))


def _may_be_texts(own: OwnData) -> bool:
    """Whether rows may have steps: whole numbers in a line, or vectors."""
    if own.parts or own.rows.values.size > MOST_VALUES:
        return False
    if len(own.shape) == 1:
        numbers = own.rows.values if own.rows.levels is None else own.rows.levels
        return bool((numbers == np.round(numbers)).all())
    return len(own.shape) == 2 and own.shape[0] <= LONGEST


def _alike(a: OwnData, b: OwnData) -> bool:
    """Whether the two have some rows in common as they are."""
    if a.rows.inputs != b.rows.inputs:
        return False
    known = {row.tobytes() for row in _plain(a.rows)}
    few = _plain(b.rows, LOOKED_AT)
    return bool(sum(row.tobytes() in known for row in few) > FOUND * len(few))


def _plain(rows: Rows, most: int | None = None) -> Array:
    return np.asarray(rows.take(slice(most)), np.float32)


def _matches(a: OwnData, b: OwnData, *, scaled: bool) -> Iterator[tuple[float, _Bare, _Bare]]:
    """Ways in which the two sides' rows are the same, with the share of those that are; one side
    may have them `scaled`."""
    ways = list(_bare(a, b.padding)), list(_bare(b, a.padding))
    for ours in ways[0]:
        known = _contents(ours)
        for theirs in ways[1]:
            if ours.x.shape[2:] != theirs.x.shape[2:]:
                continue
            here = _contents(theirs)
            share = len(known & here) / max(min(len(known), len(here)), 1)
            if not share and scaled:
                share = _share(ours, theirs)
            yield share, ours, theirs


def _contents(bare: _Bare) -> set[bytes]:
    rows = bare.rows(int(bare.padding.lengths.max(initial=1))).astype(np.float32)
    return {
        row[:length].tobytes()
        for row, length in zip(rows, bare.padding.lengths.tolist(), strict=True)
    }


def _share(ours: _Bare, theirs: _Bare) -> float:
    if ours.x.dtype.kind in "iu" and theirs.x.dtype.kind in "iu":
        return 0.0
    steps = max(int(side.padding.lengths.max(initial=1)) for side in (ours, theirs))
    tables = [packed([side.rows(steps).reshape(len(side.x), -1)]) for side in (theirs, ours)]
    return float((find(*tables) >= 0).mean())


def _bare(own: OwnData, hint: Padding | None) -> Iterator[_Bare]:
    """What of a side's rows may be the texts, padded as it may be; the other side's may be a
    `hint`."""
    table = own.rows.take(slice(None))
    if not own.parts:
        yield from _padded_so(table.reshape(len(table), *own.shape), own, Stripped(), hint)
        return
    ends = list(accumulate(part.size for part in own.parts))
    arrays = [
        table[:, end - part.size : end].reshape(len(table), *part.shape).astype(part.dtype)
        for part, end in zip(own.parts, ends, strict=True)
    ]
    for at, x in enumerate(arrays):
        if x.ndim > 1:
            others = tuple(other for k, other in enumerate(arrays) if k != at)
            yield from _padded_so(x, own, Stripped(own.parts, at, others), hint)


def _padded_so(x: Array, own: OwnData, stripped: Stripped, hint: Padding | None) -> Iterator[_Bare]:
    if not x.size or x.ndim < 2:
        return
    if own.padding is not None:
        if stripped.at in own.padding.parts:
            yield _Bare(x, own.padding, stripped)
        return
    value, in_front, score = told_by([x])
    ways = [(value, in_front)] if score else []
    if hint is not None:
        ways += [(hint.value, False), (hint.value, True)]
    parts = tuple(k for k, each in enumerate(stripped.parts) if each.shape[:1] == x.shape[1:2])
    for value, in_front in dict.fromkeys(ways):
        lengths = lengths_of(x, value, in_front=in_front)
        # Where each batch has a row of the full length, it may have been padded by itself.
        full = all(lengths[ids].max() == x.shape[1] for one in own.epochs for ids in one.batches)
        by_batch = full and hint is not None and hint.by_batch
        padding = Padding(lengths, value, in_front, x.shape[1], by_batch, parts or (0,))
        yield _Bare(x, padding, stripped)


def _with(own: OwnData, bare: _Bare, steps: int) -> OwnData:
    rows = bare.rows(steps)
    return replace(
        own,
        rows=packed([rows.reshape(len(rows), -1)]),
        shape=rows.shape[1:],
        padding=bare.padding,
        stripped=bare.stripped,
        parts=(),
    )


# --- As a side's own code has them ----------------------------------------------------------------


def given_by(own: OwnData, ids: Array) -> Inputs | None:
    """Rows of a table as a side's own code gives them, padded; None if they are stored so."""
    if own.stripped is None or own.padding is None:
        return None
    x = padded(own.rows.take(ids).reshape(len(ids), *own.shape), own.padding.of(ids))
    return _together(x, own.stripped, ids) if own.stripped.parts else x


def _together(x: Array, stripped: Stripped, ids: Array) -> Inputs:
    others = iter(stripped.others)
    arrays = [
        x.astype(part.dtype) if k == stripped.at else next(others)[ids]
        for k, part in enumerate(stripped.parts)
    ]
    if stripped.parts[0].name:
        return {part.name: a for part, a in zip(stripped.parts, arrays, strict=True)}
    return tuple(arrays)


def as_padded_by(rows: PairRows, own: OwnData | None) -> PairRows:
    """Rows of one input, padded as another side pads its own, where that is known."""
    if own is None or own.padding is None or rows.padding is None:
        return rows
    if not isinstance(rows.x, np.ndarray):
        return rows
    theirs = own.padding
    longest = int(rows.padding.lengths.max(initial=1))
    width = max(theirs.width, longest)
    return repadded(rows, replace(theirs, lengths=rows.padding.lengths, width=width, parts=(0,)))


def repadded(rows: PairRows, padding: Padding) -> PairRows:
    """Rows padded otherwise, what goes with each step with them."""
    before = rows.padding
    assert before is not None

    def again(number: int, x: Array) -> Array:
        if number not in before.parts:
            return x
        bare = unpadded(x, before.lengths, in_front=before.in_front)
        whole = x.ndim > 1 and number == before.parts[0]
        return padded(bare, padding, fill=None if whole else 0)

    made = replace(padding, parts=before.parts)
    if isinstance(rows.x, np.ndarray):
        return replace(rows, x=again(0, rows.x), padding=made)
    if isinstance(rows.x, dict):
        names = sorted(rows.x)
        x: Inputs = {name: again(k, rows.x[name]) for k, name in enumerate(names)}
    else:
        x = tuple(again(k, a) for k, a in enumerate(rows.x))
    return replace(rows, x=x, padding=made)


def drawn_for(draws: Sequence[Draw], of_a: Padding | None, of_b: Padding | None) -> list[Draw]:
    """Draws of one side, for the steps that the other side's rows have."""
    if of_a is None or of_b is None:
        return list(draws)
    found = []
    for draw in draws:
        fill, first = 0 if draw.normal else 1, draw.channels_last is not False
        keep = moved(draw.keep, of_a, of_b, fill=fill, steps_first=first)
        found.append(replace(draw, keep=keep))
    return found


def refuse_lengths(brought: Sequence[PairBrought], labels: Sequence[str]) -> None:
    """What of rows of different lengths cannot be judged.

    Raises
    ------
    UsageError
        Batches of different lengths are accumulated, or are several inputs that are not known to
        be the other side's.
    """
    for side, label in zip(brought, labels, strict=True):
        own = side.own
        if own is None or own.padding is None or not own.padding.by_batch:
            continue
        if any(each.accumulated > 1 for each in brought):
            raise UsageError(
                f"{label}: its batches are padded to different lengths, and gradients of several "
                f"batches are accumulated, which check cannot judge together.\n"
                f"Pad all rows to one length for the check."
            )
        if own.parts:
            raise UsageError(
                f"{label}: its batches are padded to different lengths and have {len(own.parts)} "
                f"inputs, none of which is known to be the other side's rows.\n"
                f"Pad all rows to one length for the check."
            )


def refuse_beside(stripped: Stripped) -> None:
    """Rows of the original's cannot be given to a port that wants more with each of them.

    Raises
    ------
    UsageError
        It does.
    """
    if stripped.others:
        raise UsageError(
            "the port's batches have something beside each row, as its length or its mask, and "
            "some of the original's rows are none of the port's, so it is not known for them.\n"
            "Give both the same rows; longer ones may be cut to another length, or at another end."
        )


def cut_words(a: OwnData, b: OwnData, extra: Array, missing: Array) -> str:
    """What is said of rows that only one side has, where they may be cut otherwise; else empty.

    `extra` and `missing` are the places of such rows in the tables of the port and the original.
    """
    if a.padding is None or b.padding is None or not len(extra) or not len(missing):
        return ""
    mine, theirs = a.padding.lengths[missing], b.padding.lengths[extra]
    longest = int(a.padding.lengths.max()), int(b.padding.lengths.max())
    if longest[0] != longest[1] and min(mine.min(), theirs.min()) >= min(longest):
        return f"rows are cut to {longest[1]} steps, in the original to {longest[0]}"
    if (mine == longest[0]).all() and (theirs == longest[1]).all():
        return f"all of them as long as the longest, {longest[1]}: cut at the other end, perhaps"
    return ""


def differs(a: PairRows | None, b: PairRows) -> bool:
    """Whether some batches of two sides have the steps of the same rows at other places."""
    if a is None or a.padding is None or b.padding is None:
        return False
    steps = [list(b.rows_of(step)) for step in range(b.steps)]
    return any(a.padding.of(rows).alike != b.padding.of(rows).alike for rows in steps)


def padding_words(a: PairRows, b: PairRows) -> str:
    """How the port pads its rows, where the original does otherwise; else empty."""
    if a.padding is None or b.padding is None or not differs(a, b):
        return ""
    return f"{b.padding.told}; in the original {a.padding.told}"


# --- Experiments ----------------------------------------------------------------------------------

PADDINGS = ("padding_side", "padding_length", "lengths_beside")
"""Changes of how the port's rows are padded, and of the lengths that go with them."""


def padded_as_meant(rows: PairRows, mend: Mend) -> PairRows:
    """Rows of the port with one such change."""
    padding = rows.padding
    assert padding is not None
    match mend.field:
        case "padding_side":
            return repadded(rows, replace(padding, in_front=mend.value))
        case "padding_length":
            width, by_batch = mend.value
            return repadded(rows, replace(padding, width=width, by_batch=by_batch))
    arrays = list(arrays_of(rows.x))
    arrays[mend.value] = padding.lengths.astype(arrays[mend.value].dtype)
    if isinstance(rows.x, dict):
        return replace(rows, x=dict(zip(sorted(rows.x), arrays, strict=True)))
    return replace(rows, x=tuple(arrays))


def of_padding(a: PairRows | None, b: PairRows) -> Iterator[Tried]:
    """Rows of the port padded as the original's are, and their lengths as they are."""
    if a is None or a.padding is None or b.padding is None:
        return
    yield from _of_lengths(b)
    text = f"{b.padding.told}; in the original {a.padding.told}"
    if a.padding.in_front != b.padding.in_front:
        mends = (Mend(None, "padding_side", a.padding.in_front),)
        yield mends, Cause("padding_side", text)
    theirs, ours = ((x.by_batch, x.width * (not x.by_batch)) for x in (b.padding, a.padding))
    if theirs != ours:
        width = max(a.padding.width, int(b.padding.lengths.max(initial=1)))
        mends = (Mend(None, "padding_length", (width, a.padding.by_batch)),)
        yield mends, Cause("padding_length", text)


def _of_lengths(rows: PairRows) -> Iterator[Tried]:
    assert rows.padding is not None
    arrays = arrays_of(rows.x)
    for number, x in enumerate(arrays if len(arrays) > 1 else ()):
        if x.shape != rows.padding.lengths.shape or x.dtype.kind not in "iu":
            continue
        apart = np.unique(x - rows.padding.lengths)
        if not apart.any():
            continue
        most = int(apart[np.argmax(np.abs(apart))])
        text = f"lengths of {abs(most)} too {'many' if most > 0 else 'few'} beside the rows"
        yield (Mend(None, "lengths_beside", number),), Cause("sequence_lengths", text)
