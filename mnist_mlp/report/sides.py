"""The runs of a report, read and checked once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.errors import UsageError
from mnist_mlp.evaluate import Evidence, accuracy, confusion_matrix, predictions
from mnist_mlp.reference import log_softmax
from mnist_mlp.run.evaluation import evidence
from mnist_mlp.run.folder import Run
from mnist_mlp.spec import Spec


@dataclass(frozen=True, eq=False)
class ShownRun:
    """One run on the page; `number` counts from 0 and chooses its colour."""

    run: Run
    label: str
    number: int
    evidence: Evidence

    @property
    def spec(self) -> Spec:
        """What was trained."""
        return self.run.spec

    @property
    def epsilon(self) -> float:
        """One rounding of the run's precision, relative."""
        return float(np.finfo(self.spec.training.precision).eps)

    def coarsest(self, sides: Sequence[ShownRun]) -> str:
        """The precision with the largest rounding."""
        return max(sides, key=lambda side: side.epsilon).spec.training.precision

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted classes (n,)."""
        return predictions(self.evidence.logits)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Softmax of the logits (n, classes)."""
        shares: NDArray[np.float64] = np.exp(log_softmax(self.evidence.logits.astype(np.float64)))
        return shares

    @cached_property
    def accuracy(self) -> float:
        """Share of right test rows."""
        return accuracy(self.evidence.logits, self.evidence.y_true)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Row is the true class, column the predicted one."""
        return confusion_matrix(self.evidence.y_true, self.predicted, classes=self.evidence.classes)

    def same_rows(self, other: ShownRun) -> bool:
        """Whether both were tested on the same rows of the same data set, in one order."""
        return self.run.dataset.sha256 == other.run.dataset.sha256 and np.array_equal(
            self.evidence.ids, other.evidence.ids
        )

    def flipped(self, other: ShownRun) -> int:
        """Test rows to which the two give different classes; call where `same_rows`."""
        return int(np.count_nonzero(self.predicted != other.predicted))


def read_sides(runs: Sequence[Run]) -> tuple[ShownRun, ...]:
    """Read what the page needs of each run.

    Raises
    ------
    UsageError
        Runs with different numbers of classes: no row of one report belongs to one of the other.
    RunFolderError
        Files that are missing, damaged or don't fit together.
    """
    sides = tuple(
        ShownRun(run=run, label=label, number=number, evidence=evidence(run))
        for number, (run, label) in enumerate(zip(runs, _labels(runs), strict=True))
    )
    first = sides[0]
    for side in sides[1:]:
        if side.evidence.classes != first.evidence.classes:
            raise UsageError(
                f"{side.run.path} has {side.evidence.classes} classes, {first.run.path} has "
                f"{first.evidence.classes}: make a report of each"
            )
    return sides


def _labels(runs: Sequence[Run]) -> list[str]:
    """The backends' names; where one comes twice, with the folder's, and a number if need be."""
    shared = Counter(run.label for run in runs)
    labels = [
        run.label if shared[run.label] == 1 else f"{run.label} ({run.path.resolve().name})"
        for run in runs
    ]
    again = Counter(labels)
    return [
        label if again[label] == 1 else f"{label} {labels[: number + 1].count(label)}"
        for number, label in enumerate(labels)
    ]
