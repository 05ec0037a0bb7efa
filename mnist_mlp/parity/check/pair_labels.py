"""The targets of both sides' rows, held against each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.parity.check.own_data import (
    label_cause,
)
from mnist_mlp.parity.check.pair_brought import PORT, Pair
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.plan import Ids
from mnist_mlp.ports.protocol import OwnPass
from mnist_mlp.reference import Array

MANY_TARGETS = 4
"""Fewer targets are on a line, or in another order, by chance."""


def label_breaks(
    pair: Pair,
    theirs: tuple[OwnPass, ...],
    ours: tuple[OwnPass, ...],
    *,
    step: int | None,
) -> Iterator[Break]:
    """Each row has to have a label that the original has for an equal one; the first that has not.

    `step` is where to tell it; None where rows belong to steps of training.
    """
    where = "in validation" if step else "in the loader"
    columns = [_columns(own) for own in (theirs[0], ours[0])]
    if columns[0] != columns[1]:
        text = f"labels of {columns[1]} numbers, the original's have {columns[0]}"
        yield _label_break(Cause(UNKNOWN, f"{text}, {where}"), 1, step or 1, "", "")
        return
    known = _Labels(pair, theirs)
    for epoch, own in enumerate(ours, start=1):
        contents, targets = pair.contents(own, side="b"), _as_columns(own)
        expected, wrong = known.wrong(contents, targets)
        if not wrong.any():
            continue
        at = int(np.flatnonzero(wrong)[0])
        both = ~np.isnan(expected).any(axis=1)
        cause = Cause(UNKNOWN, f"{wrong.sum()} of {len(wrong)} rows have other labels, {where}")
        if own.targets.ndim == 1:
            right = expected[both, 0].astype(np.int64)
            most = int(max(right.max(), own.targets.max())) + 1
            named = label_cause(own.targets[both], right, most, where)
            cause = cause if named.name == UNKNOWN else named
        if cause.name == UNKNOWN:
            cause = _other_targets(targets[both], expected[both], where) or cause
        if step is None:
            ends = np.cumsum(own.sizes)
            number = int(np.searchsorted(ends, at, side="right")) + 1
            told_at = (epoch - 1) * pair.steps_per_epoch + number
        else:
            told_at = step
        yield _label_break(cause, epoch, told_at, _short(targets[at]), _short(expected[at]))
        return


def _other_targets(got: Array, expected: Array, where: str) -> Cause | None:
    """Targets that are the original's, but for a factor and a shift, or in another order."""
    if len(got) < MANY_TARGETS:
        return None
    slope, offset = _line_through(expected, got)
    if slope and _equal(got, slope * expected + offset).all():
        return Cause("targets_scaled", f"{_affine(slope, offset)}, {where}")
    order, other = (np.lexsort(each.T[::-1]) for each in (got, expected))
    if _equal(got[order], expected[other]).all():
        wrong = int((~_equal(got, expected)).sum())
        text = f"{wrong} of {len(got)} rows have the label of another row, {where}"
        return Cause("labels_shuffled", text)
    return None


def _line_through(x: Array, y: Array) -> tuple[float, float]:
    """Slope and offset of the line through the points of least and largest `x`; 0, 0 for none."""
    low, high = int(x.argmin()), int(x.argmax())
    span = x.flat[high] - x.flat[low]
    if not span:
        return 0.0, 0.0
    slope = float((y.flat[high] - y.flat[low]) / span)
    return slope, float(y.flat[low] - slope * x.flat[low])


def _affine(slope: float, offset: float) -> str:
    shift = f" {'+' if offset > 0 else '-'} {abs(offset):.6g}" if abs(offset) > 1e-9 else ""
    return f"{slope:.6g} * the original's{shift}"


class _Labels:
    """What labels an original has for each content."""

    def __init__(self, pair: Pair, theirs: tuple[OwnPass, ...]) -> None:
        contents = [pair.contents(own, side="a") for own in theirs]
        targets = [_as_columns(own) for own in theirs]
        if pair.lenient:  # all that the data set knows, not only the plan's part of it
            contents, targets = [pair.theirs], [pair.dataset.labels.astype(np.float64)[:, None]]
        all_contents, all_targets = np.concatenate(contents), np.concatenate(targets)
        self.first = np.full((len(pair.a.rows) + 1, all_targets.shape[1]), np.nan)
        # In reverse, so that the first label of a content stays.
        self.first[all_contents[::-1]] = all_targets[::-1]
        other = ~_equal(all_targets, self.first[all_contents])
        self.others: dict[int, list[Array]] = {}
        for content, target in zip(all_contents[other].tolist(), all_targets[other], strict=True):
            self.others.setdefault(content, []).append(target)
        self._once = contents[0], targets[0]

    def wrong(self, contents: Ids, targets: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Of each row the label it should have (NaN: nobody knows), and whether it has another."""
        expected = self.first[np.minimum(contents, len(self.first) - 1)]
        wrong = ~_equal(targets, expected) & ~np.isnan(expected).any(axis=1)
        for at in np.flatnonzero(wrong):
            others = self.others.get(int(contents[at]), ())
            wrong[at] = not any(_equal(targets[at][None], other[None])[0] for other in others)
        for content in self.others:
            theirs = self._once[1][self._once[0] == content]
            here = np.flatnonzero(contents == content)
            if len(theirs) == len(here):  # as often as in the original: each label, too
                mine = targets[here]
                by_value = np.lexsort(mine.T[::-1])
                wrong[here[by_value]] |= ~_equal(mine[by_value], theirs[np.lexsort(theirs.T[::-1])])
        return expected, wrong


def _equal(a: Array, b: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isclose(a, b, rtol=1e-5, atol=1e-6).all(axis=1))


def _label_break(cause: Cause, epoch: int, step: int, got: str, expected: str) -> Break:
    place = Place(epoch=epoch, step=step, tensor="labels")
    return Break(side=PORT, rung="data", place=place, got=got, expected=expected, cause=cause)


def _columns(own: OwnPass) -> int:
    return 1 if own.targets.ndim == 1 else int(own.targets.shape[1])


def _as_columns(own: OwnPass) -> Array:
    return np.asarray(own.targets, np.float64).reshape(len(own.targets), -1)


def _short(label: Array) -> str:
    return ", ".join(f"{number:.6g}" for number in label[:4])
