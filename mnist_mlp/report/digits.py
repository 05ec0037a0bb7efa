"""Choose test images to show: those on which runs disagree, else the most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.evaluate.measures import mistakes
from mnist_mlp.report.pictures import digit
from mnist_mlp.report.sides import ShownRun
from mnist_mlp.report.words import percent

SHOWN = 24
# The page shows a probability as percent with two decimals.
_DECIMALS = 4


@dataclass(frozen=True)
class Opinion:
    """The class that one run predicts for an image, and the probability of that class."""

    label: str
    number: int
    predicted: int
    probability: str
    right: bool


@dataclass(frozen=True)
class Digit:
    """A test row with its picture and the prediction of every run."""

    row_id: int
    true: int
    picture: str
    opinions: tuple[Opinion, ...]

    @property
    def text(self) -> str:
        """The text alternative of the picture."""
        return f"Test row {self.row_id}, a {self.true}"


@dataclass(frozen=True)
class Gallery:
    """The images shown. `flipped`: the runs disagree on them. `total`: how many such there are."""

    flipped: bool
    total: int
    digits: tuple[Digit, ...]


def gallery(sides: Sequence[ShownRun]) -> Gallery:
    """Images on which the runs disagree, or else the most confident mistakes of the first run.

    Runs that were tested on other rows than the first one are left out.
    """
    first = sides[0]
    asked = [side for side in sides if side is first or first.same_rows(side)]
    rows = np.flatnonzero(np.any([side.predicted != first.predicted for side in asked], axis=0))
    flipped = len(rows) > 0
    if flipped:
        rows = rows[_by_disagreement(asked, rows)]
    else:
        found = mistakes(first.evidence.logits, first.evidence.y_true, first.evidence.ids)
        rows = found.rows
    images = _images(asked)
    shown = [row for row in rows if int(first.evidence.ids[row]) in images][:SHOWN]
    return Gallery(flipped, len(rows), tuple(_digit(asked, int(row), images) for row in shown))


def _by_disagreement(asked: Sequence[ShownRun], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order of rows: the largest change of a probability first, then by id.

    Changes are rounded as the page shows them, so that the last digits do not decide.
    """
    first = asked[0]
    changes = np.max(
        [np.abs(side.probabilities[rows] - first.probabilities[rows]) for side in asked],
        axis=(0, 2),
    )
    return np.lexsort((first.evidence.ids[rows], -changes.round(_DECIMALS)))


def _images(asked: Sequence[ShownRun]) -> dict[int, NDArray[np.uint8]]:
    """Images by row id. If two runs disagree, one is wrong, and its folder has the image."""
    # Reversed, so that the first run's image is kept where several folders have one.
    return {
        int(row): image
        for side in reversed(asked)
        for row, image in zip(side.evidence.example_ids, side.evidence.example_images, strict=True)
    }


def _digit(asked: Sequence[ShownRun], row: int, images: dict[int, NDArray[np.uint8]]) -> Digit:
    first = asked[0]
    row_id, true = int(first.evidence.ids[row]), int(first.evidence.y_true[row])
    return Digit(
        row_id=row_id,
        true=true,
        picture=digit(images[row_id]),
        opinions=tuple(
            Opinion(
                label=side.label,
                number=side.number,
                predicted=int(side.predicted[row]),
                probability=percent(float(side.probabilities[row].max())),
                right=int(side.predicted[row]) == true,
            )
            for side in asked
        ),
    )
