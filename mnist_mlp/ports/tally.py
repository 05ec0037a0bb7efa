"""The mean loss of each epoch of a user's own loop, which reports nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mnist_mlp.ports.pair_rows import WholeRun
from mnist_mlp.ports.script import Catch


class Tally:
    """Counts the steps of a loop, and ends its script when the loop has ended.

    An epoch ends after the run's `steps`; one that a loop breaks off is not told.
    """

    def __init__(self, run: WholeRun, on_epoch: Callable[[Mapping[str, float]], None]) -> None:
        self.run, self.on_epoch = run, on_epoch
        self.steps = self.epochs = 0
        self._catch: Catch | None = None
        self._loss: float | None = None
        self._rows: int | None = None
        self._sums = [0.0, 0]

    def begin(self, catch: Catch) -> None:
        """The script runs; `catch` is for its end."""
        self._catch = catch
        catch.on_left = self._left

    def rows(self, shape: Sequence[int | None]) -> None:
        """The model that is meant is called, with so many rows."""
        self._rows = (shape[0] if len(shape) else None) or 1

    def loss(self, value: float) -> None:
        """A backward pass begins with this; the first since the model was called counts."""
        if self._loss is None and self._rows is not None:
            self._loss = value

    def step(self) -> None:
        """An update was made."""
        if self._loss is None or self._rows is None:
            return
        self._sums[0] += self._loss * self._rows
        self._sums[1] += self._rows
        self._loss = self._rows = None
        self.steps += 1
        if self.run.steps and self.steps % self.run.steps == 0:
            self.epochs += 1
            self.on_epoch({"loss": self._sums[0] / self._sums[1]})
            self._sums = [0.0, 0]
            # A loop in another file is not seen to end.
            if self.epochs == self.run.epochs:
                self._over()

    def _left(self) -> None:
        """No loop of the script's is left to train: what comes now is after its training."""
        if self.steps:
            self._over()

    def _over(self) -> None:
        assert self._catch is not None
        self._catch.found = self
        self._catch.end()
