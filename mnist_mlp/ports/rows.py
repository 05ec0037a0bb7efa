"""Which training rows a loader gave, found by their content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.contract import TrainingData
from mnist_mlp.ports.protocol import OwnValidation
from mnist_mlp.reference import Array

Positions = NDArray[np.int64]
Scaling = tuple[float, float]

WHOLE = 0.02
"""Pixels count as greys when a scaling brings them this close to whole numbers."""


def classes_of(labels: Array) -> NDArray[np.int64]:
    """Classes (n,) of labels that are integers or one-hot."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1:
        return labels.argmax(axis=1).astype(np.int64)
    return labels.ravel().astype(np.int64)


def is_soft(labels: Array) -> bool:
    """Whether labels (n, classes) are other numbers than 0 and a single 1."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.shape[1] < 2:
        return False
    return not np.array_equal(labels, np.eye(labels.shape[1])[labels.argmax(axis=1)])


def read_validation(
    batches: Iterable[tuple[Array, Array]], data: TrainingData
) -> OwnValidation | None:
    """What one pass over validation batches `(x, y)` holds; None if there is no batch."""
    read = [(np.asarray(x), classes_of(y)) for x, y in batches]
    if not read:
        return None
    finder = RowFinder(data.test_images)
    finder.start_epoch()
    found = [finder.find(x) for x, _ in read]
    strange = [x[at < 0] for (x, _), at in zip(read, found, strict=True) if (at < 0).any()]
    of_training = RowFinder(data.train_images).find(np.concatenate(strange)) if strange else ()
    return OwnValidation(
        positions=np.concatenate(found),
        labels=np.concatenate([labels for _, labels in read]),
        pixels=read[0][0],
        training_rows=int((np.asarray(of_training) >= 0).sum()),
    )


class RowFinder:
    """Finds rows of `images`, uint8 (m, inputs), batch by batch.

    Each epoch begins with `start_epoch`, from where equal rows take their first position again.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images
        self._scalings: list[Scaling] = [(255, 0), (1, 0), (256, 0), (127.5, 127.5), (-255, 255)]
        self._usual: Scaling | None = None
        self._epoch = self._batch = 0
        self._taken: defaultdict[bytes, int] = defaultdict(int)
        self.rescaled: tuple[int, int] | None = None
        """The first batch (epoch and batch, from 1) that is scaled otherwise than the first."""

    def start_epoch(self) -> None:
        """Forget which of several equal rows were given out; count batches anew."""
        self._epoch += 1
        self._batch = 0
        self._taken.clear()

    def find(self, pixels: Array) -> Positions:
        """Positions in `images` of the rows of an epoch's next batch.

        Parameters
        ----------
        pixels : (n, ...)
            Any number type; pixels may be scaled and shifted, all by the same two numbers (mean
            and deviation, -1 .. 1, inverted), or come in another order within the image.

        Returns
        -------
        int64 (n,)
            -1 where a row is no row of `images`. Equal rows take their positions in turn.
        """
        self._batch += 1
        rows = np.asarray(pixels, np.float64).reshape(len(pixels), -1)
        best = np.full(len(rows), -1, np.int64)
        if not rows.size or rows.shape[1] != self.images.shape[1] or not np.isfinite(rows).all():
            return best
        used: Scaling | None = None
        readings = list(self._as_greys(rows))
        for arranged in (False, True):
            for scaling, greys in readings:
                found = self._look_up(greys, arranged=arranged)
                if (found >= 0).sum() > (best >= 0).sum():
                    best = found
                    used = scaling
                    self._scalings = [scaling, *(s for s in self._scalings if s != scaling)][:8]
                if (best >= 0).all():
                    break
            if (best >= 0).any():
                break
        self._note(used)
        for number in np.flatnonzero(best >= 0):
            best[number] = self._in_turn(int(best[number]))
        return best

    def _note(self, scaling: Scaling | None) -> None:
        self._usual = self._usual or scaling
        if scaling is not None and not np.allclose(scaling, self._usual or scaling, rtol=1e-3):
            self.rescaled = self.rescaled or (self._epoch, self._batch)

    def _as_greys(self, rows: Array) -> Iterator[tuple[Scaling, NDArray[np.uint8]]]:
        """The rows as greys, under every scaling that makes whole numbers of them."""
        low, high = float(rows.min()), float(rows.max())
        dark, light = int(self.images.min()), int(self.images.max())
        known = list(self._scalings)
        if high > low:
            slope = (light - dark) / (high - low)
            known += [(slope, dark - slope * low), (-slope, light + slope * low)]
        for slope, offset in known:
            greys = slope * rows + offset
            whole = np.round(greys)
            if np.abs(greys - whole).max() < WHOLE and whole.min() >= 0 and whole.max() <= 255:
                yield (slope, offset), whole.astype(np.uint8)

    def _look_up(self, greys: NDArray[np.uint8], *, arranged: bool) -> Positions:
        places = self._arranged if arranged else self._exact
        greys = np.sort(greys, axis=1) if arranged else greys
        found = [places.get(row.tobytes(), (-1,))[0] for row in greys]
        return np.array(found, np.int64)

    def _in_turn(self, first: int) -> int:
        """The next position of the rows that equal this one."""
        key = self.images[first].tobytes()
        equal = self._exact[key]
        if len(equal) == 1:
            return first
        self._taken[key] += 1
        return equal[(self._taken[key] - 1) % len(equal)]

    @cached_property
    def _exact(self) -> dict[bytes, list[int]]:
        return _places(self.images)

    @cached_property
    def _arranged(self) -> dict[bytes, list[int]]:
        """By their greys alone, wherever they stand."""
        return _places(np.sort(self.images, axis=1))


def _places(images: NDArray[np.uint8]) -> dict[bytes, list[int]]:
    places: dict[bytes, list[int]] = {}
    for position, row in enumerate(images):
        places.setdefault(row.tobytes(), []).append(position)
    return places
