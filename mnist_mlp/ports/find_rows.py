"""Find rows again by their content.

Only the values of such rows are known. Two sides may scale images differently or order their pixels
differently, and still use the same rows. `find` recognises them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.ports.protocol import OwnPass, Rows
from mnist_mlp.ports.rows import Positions, digest
from mnist_mlp.reference import Array

CHUNK = 4096
"""Rows that are decompressed at once, so that memory stays small."""

PER_ROW = 16
"""Least number of values in a row for scaling each row to 0 .. 1 by its own range. Shorter rows
would become equal too easily, so they are all scaled by the range of the whole table."""

AS_GIVEN, STRETCHED = 1e-5, 1e-3
"""Largest distance of two equal rows, as a share of their range. Rows as given may be rounded to
float32; scaled rows to float16. Both limits are below 1/255, the distance of two greys."""

ENOUGH = 0.9
"""If this share of rows is found, the search ends: no other scaling would find the rest."""

FEW = 0.5
"""If more than this share of rows is found, no other pixel order is tried: with sorted values,
different images may look equal."""

MOST_VALUES = 2 * 10**7
"""Most values of a table whose features are scaled one by one, which needs all rows at once."""

FITTED, FITS = 32, 8
"""Least different rows of a table to which another is fitted, feature by feature, and how often it
is tried; fewer rows would fit any others."""

UNLIKE = 0.5
"""Deviations of the same rows don't differ by so large a share between the two tables."""

PROJECTIONS = 6
"""Number of random directions that rows are projected on to find the nearest row quickly. Then
all values of the two rows are compared."""

Reading = Callable[[Rows, Positions], Array]


def find(rows: Rows, within: Rows) -> Positions:
    """Find the position of each row in another table, by content.

    Rows are first compared as given, then scaled and shifted, then inverted, and at last by their
    sorted values, regardless of the pixel order.

    Returns
    -------
    int64 (n,)
        -1 if a row is not in the table. If the table has equal rows, any of them.
    """
    best = np.full(len(rows), -1, np.int64)
    if not len(rows) or not len(within) or rows.inputs != within.inputs or not rows.inputs:
        return best
    for reading, other, tolerance, last in _readings(rows, within):
        if last and (best >= 0).mean() > FEW:
            break
        found = _nearest(rows, within, reading, other, tolerance)
        if (found >= 0).sum() > (best >= 0).sum():
            best = found
        if (best >= 0).mean() >= ENOUGH:
            break
    return best


def _readings(rows: Rows, within: Rows) -> Iterator[tuple[Reading, Reading, float, bool]]:
    """Ways to compare the tables, strictest first: two readings, tolerance, last resort or not."""
    (low, high), (dark, light) = rows.span, within.span
    if not np.isfinite([low, high, dark, light]).all():
        return
    span = light - dark or 1.0
    # If the ranges differ, only blank rows can be equal as given.
    if abs(low - dark) <= 0.1 * span and abs(high - light) <= 0.1 * span:
        yield _as_given, _as_given, AS_GIVEN * span, False
    if rows.inputs < PER_ROW:
        yield _alike(low, high), _alike(dark, light), STRETCHED, False
        yield from _by_feature(rows, within)
        return
    yield _stretched, _stretched, STRETCHED, False
    yield _inverted, _stretched, STRETCHED, False
    yield from _by_feature(rows, within)
    yield _sorted, _sorted, STRETCHED, True


def _as_given(rows: Rows, ids: Positions) -> Array:
    return np.asarray(rows.take(ids), np.float64)


def _alike(low: float, high: float) -> Reading:
    return lambda rows, ids: (_as_given(rows, ids) - low) / (high - low or 1.0)


def _standardised(table: Rows) -> Reading:
    """Each feature without its mean and scale: one side may standardise them in its model."""
    x = _as_given(table, np.arange(len(table)))
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    return lambda rows, ids: (_as_given(rows, ids) - mean) / np.where(deviation > 0, deviation, 1)


def _by_feature(rows: Rows, within: Rows) -> Iterator[tuple[Reading, Reading, float, bool]]:
    """Each feature scaled for itself: by its mean and deviation, then as nearby rows have it.

    The second is for tables of which one has more rows than the other, and so other means.
    """
    if max(len(rows), len(within)) * rows.inputs > MOST_VALUES:
        return
    mine, theirs = _standardised(rows), _standardised(within)
    yield mine, theirs, STRETCHED, False
    if min(len(rows), len(within)) >= FITTED:
        yield _fitted(rows, within, mine, theirs), theirs, STRETCHED, False


def _fitted(rows: Rows, within: Rows, mine: Reading, theirs: Reading) -> Reading:
    """Rows with each feature scaled and shifted, so that most come to lie on a row of the other
    table."""
    from scipy.spatial import cKDTree

    x, y = (read(table, np.arange(len(table))) for read, table in ((mine, rows), (theirs, within)))
    slope, offset = np.ones(rows.inputs), np.zeros(rows.inputs)
    draw = np.random.default_rng(0).normal(size=(rows.inputs, PROJECTIONS))
    if len(np.unique(x @ draw[:, 0])) < FITTED:  # one row many times would be shifted onto any
        return mine
    tree = cKDTree(y @ draw)
    for _ in range(FITS):
        moved = slope * x + offset
        near = y[tree.query(moved @ draw)[1]]
        apart = np.abs(moved - near).max(axis=1)
        best = apart <= np.median(apart)
        from_x, from_y = x[best] - x[best].mean(axis=0), near[best] - near[best].mean(axis=0)
        spread = (from_x**2).sum(axis=0)
        slope = np.where(spread > 0, (from_x * from_y).sum(axis=0), 1) / np.where(spread, spread, 1)
        if np.abs(slope - 1).max() > UNLIKE:  # of other rows, all would come to lie on a single one
            return mine
        offset = near[best].mean(axis=0) - slope * x[best].mean(axis=0)
    return lambda table, ids: slope * mine(table, ids) + offset


def _stretched(rows: Rows, ids: Positions) -> Array:
    x = np.asarray(rows.take(ids), np.float32)
    low = x.min(axis=1, keepdims=True)
    span = x.max(axis=1, keepdims=True) - low
    return (x - low) / np.where(span > 0, span, 1)


def _inverted(rows: Rows, ids: Positions) -> Array:
    x = _stretched(rows, ids)
    return x.max(axis=1, keepdims=True) - x


def _sorted(rows: Rows, ids: Positions) -> Array:
    return np.sort(_stretched(rows, ids), axis=1)


def _nearest(
    rows: Rows, within: Rows, reading: Reading, other: Reading, tolerance: float
) -> Positions:
    from scipy.spatial import cKDTree

    draw = np.random.default_rng(0).normal(size=(rows.inputs, PROJECTIONS))
    points = _projected(rows, reading, draw)
    tree = cKDTree(_projected(within, other, draw))
    _, nearest = tree.query(points)
    nearest = nearest.astype(np.int64)
    for ids in _chunks(len(rows)):
        apart = np.abs(reading(rows, ids) - other(within, nearest[ids])).max(axis=1)
        nearest[ids[~(apart <= tolerance)]] = -1
    return nearest


def _projected(rows: Rows, reading: Reading, draw: Array) -> Array:
    return np.concatenate([reading(rows, ids) @ draw for ids in _chunks(len(rows))])


def _chunks(n: int) -> Iterator[Positions]:
    for start in range(0, n, CHUNK):
        yield np.arange(start, min(start + CHUNK, n))


def first_of_equal(rows: Rows) -> Positions:
    """For each row of a table, the position of the first equal row, int64 (n,)."""
    seen: dict[bytes, int] = {}
    values = np.ascontiguousarray(rows.values)
    return np.array([seen.setdefault(digest(row), at) for at, row in enumerate(values)], np.int64)


class Finder:
    """Finds the rows of a port's own data among labelled images.

    Equal images are distinguished by their labels. If these are equal, too, a pass uses each image
    once before any is used again.

    Parameters
    ----------
    images : uint8 (m, inputs)
    labels : (m,)
    """

    def __init__(self, images: NDArray[np.uint8], labels: Array, rows: Rows) -> None:
        self.labels = np.asarray(labels)
        self.places = find(rows, Rows(images))
        self._equal: defaultdict[bytes, list[int]] = defaultdict(list)
        for place, row in enumerate(np.ascontiguousarray(images)):
            self._equal[digest(row)].append(place)
        self._key = [b"" if at < 0 else digest(images[at]) for at in self.places]

    def positions(self, own: OwnPass) -> tuple[Positions, ...]:
        """Positions of the rows of a pass, batch by batch; -1 if a row is none of the images."""
        taken: dict[bytes, list[int]] = {}
        places = self.places[own.ids] if own.batches else self.places[:0]
        classes = own.targets if own.targets.ndim == 1 else np.full(len(places), -1)
        for at, number in enumerate(own.ids if own.batches else ()):
            key = self._key[number]
            equal = self._equal[key] if key else ()
            if len(equal) < 2:
                continue
            free = taken.get(key) or list(equal)
            chosen = next((place for place in free if self.labels[place] == classes[at]), free[0])
            free.remove(chosen)
            taken[key] = free
            places[at] = chosen
        return tuple(np.split(places, np.cumsum(own.sizes)[:-1])) if own.batches else ()


def scalings(got: Rows, expected: Rows, places: Positions) -> Array:
    """Slope and offset, float64 (n, 2), that turn each row's image in `expected` into the row.

    NaN if the row was not found or is blank.
    """
    result = np.full((len(got), 2), np.nan)
    for chunk in _chunks(len(got)):
        ids = chunk[places[chunk] >= 0]
        if not len(ids):
            continue
        x = np.asarray(got.take(ids), np.float64)
        images = np.asarray(expected.take(places[ids]), np.float64)
        dark, light = images.argmin(axis=1)[:, None], images.argmax(axis=1)[:, None]
        low = np.take_along_axis(x, dark, 1)[:, 0]
        high = np.take_along_axis(x, light, 1)[:, 0]
        base = np.take_along_axis(images, dark, 1)[:, 0]
        span = np.ptp(images, axis=1)
        # With another pixel order, the extreme values are at other places. All pixels tell that:
        # by chance, the other extremes may be at these two.
        shares = (images - base[:, None]) / np.where(span > 0, span, 1)[:, None]
        apart = np.abs(x - low[:, None] - shares * (high - low)[:, None]).max(axis=1)
        moved = apart > STRETCHED * np.ptp(x, axis=1)
        low, high = np.where(moved, x.min(axis=1), low), np.where(moved, x.max(axis=1), high)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(span > 0, (high - low) / span, np.nan)
        result[ids] = np.stack([slope, low - slope * base], axis=1)
    return result


def rescaled(epochs: Sequence[OwnPass], scales: Array, span: float) -> tuple[int, int] | None:
    """The first batch (epoch and batch, from 1) whose scaling differs from the first batch's.

    `scales` are the `scalings` of all rows; `span` is the range of the values before scaling.
    """
    usual: Array | None = None
    for epoch, own in enumerate(epochs, start=1):
        for number, batch in enumerate(own.batches, start=1):
            here = scales[batch]
            here = here[np.isfinite(here).all(axis=1)]
            if not len(here):
                continue
            usual = np.median(here, axis=0) if usual is None else usual
            allowed = np.abs(usual[0]) * STRETCHED * np.array([2.0, 2.0 * span])
            if (np.abs(here - usual) > allowed).any():
                return epoch, number
    return None
