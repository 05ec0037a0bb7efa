"""What a script has made so far: modules, loaders, optimizers and schedules, by their order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from mnist_mlp.ports.script import patched


class Made:
    """What a script has made so far, in order."""

    def __init__(self) -> None:
        self.modules: list[Any] = []
        self.loaders: list[Any] = []
        self.optimizers: list[Any] = []
        self.schedulers: list[Any] = []
        self.lines: list[Lines] = []
        """Where each loader was made."""
        self.before: int | None = None
        """Loaders that were made before the training, once it has begun."""

    def is_loader(self, loader: Any, wanted: int | None) -> bool:
        """Whether a loader is one that is `wanted`, or is made in its place in a later epoch.

        A line may make several loaders, as one of training and one of validation.
        """
        place = place_of(loader, self.loaders)
        if place is None or wanted is None or place == wanted or self.before is None:
            return place is not None and place == wanted
        alike = [n for n, lines in enumerate(self.lines) if lines == self.lines[wanted]]
        first = [n for n in alike if n < self.before]
        return place in alike and alike.index(place) % len(first) == first.index(wanted)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what is made, while this lasts."""
        kinds = (
            (torch.nn.Module, self.modules),
            (DataLoader, self.loaders),
            (torch.optim.Optimizer, self.optimizers),
            (LRScheduler, self.schedulers),
            (ReduceLROnPlateau, self.schedulers),
        )
        with ExitStack() as stack:
            for kind, into in kinds:
                stack.enter_context(patched(kind, __init__=self._noting(kind.__init__, into)))
            yield

    def _noting(self, own: Callable[..., None], into: list[Any]) -> Callable[..., None]:
        def init(one: Any, *args: Any, **options: Any) -> None:
            if not any(one is known for known in into[-1:]):
                into.append(one)
                if into is self.loaders:
                    self.lines.append(_lines())
            own(one, *args, **options)

        return init


Lines = tuple[tuple[str, int], ...]
"""All lines of a stack, by their files."""


def _lines() -> Lines:
    frame: FrameType | None = sys._getframe(2)
    found = []
    while frame is not None:
        found.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


def place_of(thing: Any, among: Sequence[Any]) -> int | None:
    """Where it stands, by identity."""
    return next((place for place, known in enumerate(among) if known is thing), None)
