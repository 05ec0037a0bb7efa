"""Read and check the runs of a report once."""

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
from mnist_mlp.run.evaluation import evidence_of
from mnist_mlp.run.folder import Run
from mnist_mlp.run.network import Network
from mnist_mlp.spec import Spec


@dataclass(frozen=True, eq=False)
class ShownRun:
    """One run on the page. `number` counts from 0 and selects its colour."""

    network: Network
    label: str
    number: int
    evidence: Evidence

    @property
    def run(self) -> Run:
        """The run, which may be unfinished."""
        return self.network.run

    @property
    def spec(self) -> Spec:
        """The specification of the run."""
        return self.run.spec

    @property
    def epsilon(self) -> float:
        """The relative size of one rounding in the run's precision."""
        return float(np.finfo(self.spec.training.precision).eps)

    def coarsest(self, sides: Sequence[ShownRun]) -> str:
        """The name of the precision with the largest rounding among `sides`."""
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
        """Share of correct test rows, 0 to 1."""
        return accuracy(self.evidence.logits, self.evidence.y_true)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Counts: the row is the true class, the column the predicted one."""
        return confusion_matrix(self.evidence.y_true, self.predicted, classes=self.evidence.classes)

    def same_rows(self, other: ShownRun) -> bool:
        """Whether both were tested on the same rows of the same data set, in the same order."""
        return self.run.dataset.sha256 == other.run.dataset.sha256 and np.array_equal(
            self.evidence.ids, other.evidence.ids
        )

    def flipped(self, other: ShownRun) -> int:
        """Number of test rows with different predicted classes. Both must have `same_rows`."""
        return int(np.count_nonzero(self.predicted != other.predicted))


def read_sides(runs: Sequence[Run | Network]) -> tuple[ShownRun, ...]:
    """Read what the page needs from each run. An unfinished one is given as its network.

    Raises
    ------
    UsageError
        The runs have different numbers of classes, so their reports have different rows.
    RunFolderError
        Files are missing or damaged, or do not fit together; or results of an unfinished run have
        to be computed, and its data set is not at hand.
    """
    networks = [one if isinstance(one, Network) else Network(one) for one in runs]
    labels = _labels([network.run for network in networks])
    sides = tuple(
        ShownRun(network, label, number, evidence_of(network, noted=False))
        for number, (network, label) in enumerate(zip(networks, labels, strict=True))
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
    """Different labels: the backend's name, if needed with the folder's name and a number."""
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
