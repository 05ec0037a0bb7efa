"""Batches that a training loop makes itself, by slices of tensors or all rows at once.

They are known by what its module and its loss are given. So that they can be compared, the loop
runs for a few of its own epochs (`mnist_mlp.ports.recording`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mnist_mlp.ports.recording import Recording
from mnist_mlp_torch.port.layers import to_array
from mnist_mlp_torch.port.pair_layers import LOSSES, call_of


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


def same(a: Tensor, b: Tensor) -> bool:
    """Whether they hold the same numbers, whatever their shapes."""
    if a.numel() != b.numel():
        return False
    return bool(torch.equal(a.detach().reshape(-1).double(), b.detach().reshape(-1).double()))


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
            reason = "its loss is none of torch's, and its targets come from no DataLoader"
            self.done(None, reason)
        elif self.recording.add(to_array(x[0]), (x[0].detach().clone(), y.detach().clone())):
            self.recording.close(ended=False)
            self.finish()

    def left(self) -> None:
        """The loop has ended."""
        self.recording.close(ended=True)
        self.finish()

    def finish(self) -> None:
        """What there is."""
        if self.recording.known:
            self.done(self.recording, "")
        else:
            self.done(None, "its batches come from no DataLoader, and it makes no two epochs")
