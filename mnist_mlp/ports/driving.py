"""Other batches than its own for a training loop of a script, and the loop's end after the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mnist_mlp.ports.script import Catch

Batch = tuple[Any, ...]


class Driving:
    """How far a loop has come with the batches that it is given.

    Parameters
    ----------
    epochs : sequence
        The batches of each epoch.
    on_end : callable
        Called when a step is over: the loop asks for the next batch, or ends.
    """

    def __init__(self, epochs: Sequence[Sequence[Batch]], on_end: Callable[[], None]) -> None:
        self.epochs, self.on_end = epochs, on_end
        self.steps = 0
        self.inputs: list[Any] = []
        """What the model was called with in each step."""
        self._catch: Catch | None = None

    @property
    def wanted(self) -> int:
        """Steps in all."""
        return sum(map(len, self.epochs))

    @property
    def catch(self) -> Catch:
        """That of the script that runs."""
        assert self._catch is not None
        return self._catch

    def begin(self, catch: Catch) -> None:
        """The script runs; `catch` is for its end."""
        self._catch = catch
        catch.on_left = self._left

    def rest_of_epoch(self, *, joined: bool) -> Sequence[Batch]:
        """The batches of the epoch that the loop is at, or of all epochs, joined to one."""
        rest = list(self.epochs)
        if joined:
            return [batch for epoch in rest for batch in epoch]
        done = self.steps
        while len(rest) > 1 and done >= len(rest[0]):
            done -= len(rest.pop(0))
        return rest[0]

    def end_if_done(self) -> None:
        """End the script after the last step."""
        if self.steps >= self.wanted:
            self.over()

    def over(self) -> NoReturn:
        """End the script."""
        self.on_end()
        self.catch.found = self
        self.catch.end()

    def _left(self) -> None:
        """No loop of the script's is left to train: what comes now is after its training."""
        if self.steps:
            self.over()
