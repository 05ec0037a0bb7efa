"""Batches that a training loop makes itself, by slices of tensors or all rows at once.

They are known by what its module and its loss are given. So that they can be compared, the loop
runs for a few of its own epochs: one ends where a row comes again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mnist_mlp_torch.port.layers import to_array
from mnist_mlp_torch.port.pair_layers import LOSSES, call_of

EPOCHS = 3
LEAST = 2
"""Epochs of which the order in each can be told; with fewer, the data are not known."""

LONGEST_S = 10.0
"""Time for running the loop itself."""

Batch = tuple[Tensor, Tensor]


class Targets(TorchFunctionMode):
    """Sees what the losses of torch are given as targets, and gives them others."""

    def __init__(self, instead: Tensor | None = None) -> None:
        super().__init__()
        self.instead = instead
        self.seen: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        call = call_of(func, args, given)
        if call is None or call.kind not in LOSSES:
            return func(*args, **given)
        self.seen = call.arguments["target"]
        if self.instead is None:
            return func(*args, **given)
        return func(**{**call.arguments, "target": self.instead})


class Recording:
    """The batches of a loop's first epochs; iterated once for each of them, as a loader is."""

    def __init__(self) -> None:
        self.epochs: list[list[Batch]] = []
        self._rows: set[bytes] = set()
        self._start = time.perf_counter()
        self._next = 0

    def add(self, x: Tensor, y: Tensor) -> bool:
        """One more batch; whether enough epochs are whole."""
        row = to_array(x[:1]).tobytes()
        if row in self._rows or not self.epochs:
            if len(self.epochs) == EPOCHS:
                return True
            self.epochs.append([])
            self._rows.clear()
        self._rows |= {to_array(each).tobytes() for each in x}
        self.epochs[-1].append((x.detach().clone(), y.detach().clone()))
        return time.perf_counter() - self._start > LONGEST_S

    def close(self, *, whole: bool) -> None:
        """No batch comes any more; `whole` says that the last epoch is."""
        if not whole:
            self.epochs.pop()

    @property
    def known(self) -> bool:
        """Whether there are enough epochs to compare."""
        return len(self.epochs) >= LEAST

    def __iter__(self) -> Iterator[Batch]:
        self._next += 1
        return iter(self.epochs[(self._next - 1) % len(self.epochs)])

    def __len__(self) -> int:
        return len(self.epochs[0])


class SliceWatch:
    """Runs a loop whose batches come from no loader, until its epochs are recorded.

    `done` is called then, with the recording, or with None and the reason why there is none.
    """

    def __init__(self, done: Callable[[Recording | None, str], None]) -> None:
        self.done = done
        self.targets = Targets()
        self.recording = Recording()
        self.inputs: list[Tensor] = []
        """What the module was given since the last update."""

    def enter(self, args: Any) -> None:
        """The module is called."""
        single = len(args) == 1 and isinstance(args[0], Tensor)
        self.inputs.append(args[0] if single else torch.empty(0))

    def step(self) -> None:
        """An update is about to be made."""
        x, y = self.inputs, self.targets.seen
        self.inputs, self.targets.seen = [], None
        if len(x) != 1:
            self.done(None, f"its module is called {len(x)} times for one update")
        elif not len(x[0]):
            self.done(None, "its module is given more than one tensor")
        elif y is None or len(y) != len(x[0]):
            self.done(None, "its batches come from no DataLoader, and its loss is none of torch's")
        elif self.recording.add(x[0], y):
            self.recording.close(whole=len(self.recording.epochs) == EPOCHS)
            self.finish()

    def left(self) -> None:
        """The loop has ended."""
        self.recording.close(whole=True)
        self.finish()

    def finish(self) -> None:
        """What there is."""
        if self.recording.known:
            self.done(self.recording, "")
        else:
            self.done(None, "its batches come from no DataLoader, and it makes no two epochs")
