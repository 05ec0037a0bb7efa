"""How often a training loop of a script asks its schedules of the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from mnist_mlp.ports.lines import here
from mnist_mlp.ports.loop_code import depends
from mnist_mlp.ports.script import patched

PROBED = 2
"""Epochs, and batches of each, in which it is seen."""

LONGEST = 1000
"""Batches of an epoch of a loop's own that are gone through for that."""


@dataclass(frozen=True)
class LoopSchedule:
    """A scheduler of a loop.

    `interval` is how often the loop asks it, `step` or `epoch`; empty where that is not known.
    """

    scheduler: Any
    interval: str = ""
    monitor: str = ""
    frequency: int = 1

    @property
    def reduce_on_plateau(self) -> bool:
        """Whether it follows a loss; what it is given, only the loop knows."""
        return isinstance(self.scheduler, ReduceLROnPlateau)

    @property
    def regular(self) -> bool:
        """Whether it can be run alone."""
        return bool(self.interval) and not self.reduce_on_plateau


@dataclass(eq=False)
class Asked:
    """After how many updates a loop has asked each of its schedules.

    `calls` has, for each call, the schedule, the number of updates before it, and whether it is
    made in the same way in each epoch, as far as the code shows.
    """

    updates: int = 0
    calls: list[tuple[Any, int, bool]] = field(default_factory=list)
    _depth: int = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts."""
        kinds = [
            kind
            for kind in vars(lr_scheduler).values()
            if isinstance(kind, type) and issubclass(kind, LRScheduler)
        ]
        with ExitStack() as stack:
            for kind in kinds:
                if "step" in vars(kind):
                    stack.enter_context(patched(kind, step=self._noting(vars(kind)["step"])))
                if "__init__" in vars(kind):
                    init = self._within(vars(kind)["__init__"])
                    stack.enter_context(patched(kind, __init__=init))
            yield

    def _within(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """A schedule asks itself when it is made, and one of several schedules asks those."""

        def call(*args: Any, **options: Any) -> Any:
            self._depth += 1
            try:
                return own(*args, **options)
            finally:
                self._depth -= 1

        return call

    def _noting(self, own: Callable[..., Any]) -> Callable[..., Any]:
        within = self._within(own)

        def step(schedule: Any, *args: Any, **options: Any) -> Any:
            if not self._depth:
                regular = not args and not options and not depends(here())
                self.calls.append((schedule, self.updates, regular))
            return within(schedule, *args, **options)

        return step

    def interval(self, schedule: Any, epochs: Sequence[int]) -> str:
        """`step` or `epoch`, where that is how it was asked in epochs of so many updates."""
        mine = [call for call in self.calls if call[0] is schedule]
        at, ends = [updates for _, updates, _ in mine], list(accumulate(epochs))
        if not all(regular for *_, regular in mine):
            return ""
        every = list(range(1, sum(epochs) + 1))
        # What a loop does behind the last judged update may not be seen.
        if at in (every, every[:-1]):
            return "step"
        return "epoch" if at and at in (ends, ends[:-1]) else ""


def parts_of(schedules: Sequence[Any]) -> set[int]:
    """The schedules that others are made of, by identity."""
    return {
        id(part)
        for each in schedules
        for part in getattr(each, "_schedulers", ())
        if part is not each
    }
