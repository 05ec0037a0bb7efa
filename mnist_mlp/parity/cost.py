"""What a difference costs: the histories of whole training runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite

from mnist_mlp.parity.findings import Measured, Side, Value

History = Mapping[str, tuple[Measured | None, ...]]

COLUMNS = {
    "loss": "loss",
    "accuracy": "accuracy",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "auc": "area under the curve",
}
"""Names of a history's columns in words; those of validation begin with `val_`."""

JUDGED_BY = ("val_accuracy", "val_loss", "accuracy", "loss")
"""What the costs are told by, the best first."""


class TrainedRun(Value):
    """One run, trained freely.

    `history` has a column for each number that is known, with a value for each epoch; None is one
    that was not finite, or not reported. `problem` says why the run ended early.
    """

    side: Side
    label: str
    history: Mapping[str, tuple[Measured | None, ...]] = {}
    problem: str = ""

    @property
    def epochs(self) -> int:
        """How many there are."""
        return max(map(len, self.history.values()), default=0)

    def last(self, column: str) -> float | None:
        """The value after the last epoch, if it is known."""
        values = self.history.get(column) or (None,)
        return values[-1]


class Cost(Value):
    """All runs, the original's or the specification's first.

    Of a dense network there are the accuracies of the port on the test rows, from its own initial
    weights (`as_it_is`) and from the specified ones (`with_specified_start`).
    """

    as_it_is: Measured | None = None
    with_specified_start: Measured | None = None
    runs: tuple[TrainedRun, ...] = ()

    @property
    def judged_by(self) -> str | None:
        """The column by which the runs are told apart, if all have one."""
        shared = (name for name in JUDGED_BY if all(r.last(name) is not None for r in self.runs))
        return next(shared, None)

    @property
    def sentences(self) -> Iterator[str]:
        """What it comes to, for people."""
        if self.as_it_is is not None and self.with_specified_start is not None:
            port = next(run for run in self.runs if run.side == "b")
            yield (
                f"accuracy after {_count(port.epochs)}: {self.as_it_is:.4f} from the port's own "
                f"initial weights, {self.with_specified_start:.4f} from the specified ones"
            )
        name = self.judged_by
        if name and self.as_it_is is None:
            words = name.removeprefix("val_")
            told = [
                f"{run.last(name):.4g} in {run.label} after {_count(run.epochs)}"
                for run in self.runs
            ]
            yield f"{'validation ' if words != name else ''}{words}: {', '.join(told)}"
        for run in self.runs:
            if run.problem:
                yield f"{run.label} was not trained to its end: {run.problem}"


def _count(epochs: int) -> str:
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"


def history(epochs: list[Mapping[str, float]]) -> History:
    """Columns of the numbers of epochs."""
    names = dict.fromkeys(name for numbers in epochs for name in numbers)
    return {
        name: tuple(
            value if (value := numbers.get(name)) is not None and isfinite(value) else None
            for numbers in epochs
        )
        for name in names
    }
