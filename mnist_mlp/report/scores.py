"""Tables of classification reports and confusion matrices, with differing cells marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.report.sides import ShownRun

METRICS = ("precision", "recall", "f1-score")
LARGEST_MATRIX = 20
"""With more classes a matrix is too wide to read; the commonest mistakes are shown instead."""
# The style sheet has a class for each tint.
_TINTS = 9


@dataclass(frozen=True)
class Cell:
    """A value as text. `differs`: it is not the value of the first run. `tint`: 0 to 9."""

    text: str
    differs: bool = False
    tint: int = 0


@dataclass(frozen=True)
class Line:
    """A row of the report: for each metric one cell per run, and the support of each run."""

    name: str
    metrics: tuple[tuple[Cell, ...], ...]
    support: tuple[Cell, ...]


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix with one row of cells for each true class."""

    label: str
    number: int
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class ConfusedPair:
    """A common mistake, and how often each run made it."""

    true: int
    predicted: int
    counts: tuple[Cell, ...]


def report_lines(sides: Sequence[ShownRun]) -> tuple[Line, ...]:
    """The reports of all runs, row by row, with four digits."""
    tables = [report_values(side.confusion) for side in sides]
    return tuple(
        Line(
            name,
            tuple(
                _cells([table[name][metric] for table in tables], digits=4)
                for metric in range(len(METRICS))
            ),
            _cells([table[name][-1] for table in tables], digits=0),
        )
        for name in tables[0]
    )


def report_values(confusion: NDArray[np.int64]) -> dict[str, tuple[float | None, ...]]:
    """Precision, recall, F1 and support by row of the report. Accuracy is in the column of F1.

    The values are those of scikit-learn's `classification_report` with `zero_division=0`: a
    quotient by zero is 0, "macro" is the mean over classes, and "weighted" is weighted by support.
    """
    right = np.diag(confusion).astype(float)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = _ratio(right, predicted), _ratio(right, support)
    f1 = _ratio(2 * right, support + predicted)
    columns = np.stack([precision, recall, f1])
    total = float(support.sum())
    table: dict[str, tuple[float | None, ...]] = {
        str(k): (*(float(value) for value in columns[:, k]), float(support[k]))
        for k in range(len(confusion))
    }
    table["accuracy"] = (None, None, float(right.sum() / total), total)
    macro, weighted = columns.mean(axis=1), np.average(columns, axis=1, weights=support)
    table["macro avg"] = (*(float(value) for value in macro), total)
    table["weighted avg"] = (*(float(value) for value in weighted), total)
    return table


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def _cells(values: Sequence[float | None], *, digits: int) -> tuple[Cell, ...]:
    """The values of all runs as text.

    The texts are compared and not the values, so that a mark means a difference that is visible.
    """
    texts = ["" if value is None else f"{value:,.{digits}f}" for value in values]
    return tuple(Cell(text, differs=text != texts[0]) for text in texts)


def matrices(sides: Sequence[ShownRun]) -> tuple[Matrix, ...]:
    """One matrix for each run, or a single one if all are equal; none for many classes."""
    first = sides[0].confusion
    if len(first) > LARGEST_MATRIX:
        return ()
    shown = sides if any((side.confusion != first).any() for side in sides) else sides[:1]
    return tuple(
        Matrix(
            side.label,
            side.number,
            tuple(
                tuple(
                    Cell(str(cell), differs=bool(cell != first[i, j]), tint=_tint(cell, row.sum()))
                    for j, cell in enumerate(row)
                )
                for i, row in enumerate(side.confusion)
            ),
        )
        for side in shown
    )


def _tint(cell: int, total: int) -> int:
    """0 (white) to 9 on a square-root scale, on which a good network's few mistakes are visible."""
    return 0 if cell == 0 else max(1, round(_TINTS * float(np.sqrt(cell / total))))


def confusions(sides: Sequence[ShownRun], *, most: int = 12) -> tuple[ConfusedPair, ...]:
    """The first run's commonest mistakes, and how often the other runs make them."""
    off = sides[0].confusion.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:most]
    found = []
    for true, predicted in zip(*np.unravel_index(order, off.shape), strict=True):
        if off[true, predicted]:
            counts = [float(side.confusion[true, predicted]) for side in sides]
            found.append(ConfusedPair(int(true), int(predicted), _cells(counts, digits=0)))
    return tuple(found)
