"""How many batches make one update on each side of a pair, and what an epoch ends with.

Judged steps are updates of equally large batches. What is left at the end of an epoch, too few
batches or a smaller one, is told by each side's rule, or was found out by running its loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import Break, Cause, Place
from mnist_mlp.ports.pair import REST
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import OwnData, OwnPass
from mnist_mlp.reference import Array

SAME = 1e-4
"""Relative difference of two weights of a row, which losses in float32 tell."""


def by_updates(brought: Sequence[PairBrought]) -> list[PairBrought]:
    """What both sides bring, with the batches of one update as one batch, where the sides make the
    same updates of other batches."""
    parts = [side.accumulated for side in brought]
    rows = _rows(brought)
    if parts[0] == parts[1] or None in rows or rows[0] != rows[1]:
        return list(brought)
    return [replace(side, own=_joined(side.own, side.accumulated)) for side in brought]


def _rows(brought: Sequence[PairBrought]) -> list[int | None]:
    """Rows of an update, where a side brings its batches."""
    return [
        side.accumulated * max(side.own.epochs[0].sizes)
        if side.own is not None and side.own.epochs
        else None
        for side in brought
    ]


def _joined(own: OwnData | None, parts: int) -> OwnData | None:
    if own is None or parts == 1:
        return own

    def whole(one: OwnPass) -> OwnPass:
        starts = range(0, len(one.batches), parts)
        return replace(
            one, batches=tuple(np.concatenate(one.batches[k : k + parts]) for k in starts)
        )

    return replace(own, epochs=tuple(map(whole, own.epochs)))


def look_at_accumulation(seen: PairEvidence, brought: Sequence[PairBrought]) -> None:
    """Enter what differs, and what is not known."""
    parts = [side.accumulated for side in brought]
    if parts == [1, 1]:
        return
    rows = _rows(brought)
    if parts[0] != parts[1] and (None in rows or rows[0] != rows[1]):
        text = f"{parts[1]} batches for an update instead of {parts[0]}"
        if None not in rows:
            text += f", {rows[1]} rows instead of {rows[0]}"
        cause = Cause("gradient_accumulation", text)
        seen.breaks.append(Break(side="b", rung="update", place=Place(), cause=cause))
        return
    if None in rows:
        seen.not_judged.append(
            "the last update of an epoch, which may be one of fewer batches: not both sides bring "
            "their data"
        )
        return
    ends = [_end(side, rest) for side, rest in zip(brought, seen.rests, strict=True)]
    if ends == [None, None] or rows[0] != rows[1]:  # another batch size is told with the data
        return
    if brought[0].epochs == brought[1].epochs == 1:  # nothing comes after it
        ends = [_nothing_later(end) for end in ends]
    known = [end for end in ends if end is not None and end[0]]
    if len(known) < len(ends):
        seen.not_judged.append(
            "the last update of an epoch, for which too few rows are left: what becomes of them is "
            "not known of both sides"
        )
        return
    (first, ours), (second, theirs) = known
    if first == second and (first == "dropped" or _alike(ours, theirs)):
        return
    steps = -(-len(_sizes(brought[0])) // parts[0])
    text = f"{_words(second, theirs)}; in the original, {_words(first, ours)}"
    cause = Cause("accumulation_remainder", text)
    place = Place(epoch=1, step=steps)
    seen.breaks.append(Break(side="b", rung="update", place=place, cause=cause))


End = tuple[str, Array]
"""What becomes of the last rows of an epoch, one of `REST`, and what each counts in an update."""


def _sizes(side: PairBrought) -> tuple[int, ...]:
    assert side.own is not None
    return side.own.epochs[0].sizes


def _end(side: PairBrought, rest: tuple[str, tuple[float, ...]]) -> End | None:
    """None where all updates are whole; no name where nobody knows."""
    sizes, parts = _sizes(side), side.accumulated
    left = len(sizes) % parts
    if not left and len(set(sizes)) == 1:
        return None
    last = np.array(sizes[-(left or parts) :])
    if parts == 1:
        return "update", np.full(int(last.sum()), 1 / float(last.sum()))
    name, weights = rest
    if not left and name:  # all of them make an update, in which the last counts as much
        name = "update"
    counted = np.array(weights or [1 / parts] * len(last))
    if len(counted) != len(last):
        return "", counted
    return name, np.repeat(counted / last, last)


def _nothing_later(end: End | None) -> End | None:
    return ("dropped", end[1]) if end is not None and end[0] in ("later", "added") else end


def _alike(a: Array, b: Array) -> bool:
    return len(a) == len(b) and bool(np.allclose(a, b, rtol=SAME))


def _words(name: str, weights: Array) -> str:
    text = f"the last {len(weights)} rows of an epoch {REST[name]}"
    if name != "update":
        return text
    counts = ", ".join(f"1/{1 / w:.6g}" for w in dict.fromkeys(weights.round(12).tolist()))
    return f"{text}, in which each counts {counts}"
