"""Where a user's code makes modules, optimizers, schedules and loaders."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from mnist_mlp.ports.lines import (
    UserLine,
    here,
    line_of,
    line_of_function,
    marking,
    note_line,
    noted,
    shown,
)

_watching: list[type] = []


def watch() -> None:
    """Mark what is made from now on; once in a process."""
    for kind in (nn.Module, Optimizer, DataLoader):
        if kind not in _watching:
            _watching.append(kind)
            kind.__init__ = marking(kind.__init__)
    for kind in (LRScheduler, ReduceLROnPlateau):
        if kind not in _watching:
            _watching.append(kind)
            kind.__init__ = _marking_optimizer(kind.__init__)


def _marking_optimizer(own: Callable[..., None]) -> Callable[..., None]:
    """A schedule's attributes are what it saves: so its line is kept by its optimizer."""

    @functools.wraps(own)
    def init(self: Any, optimizer: Any, *args: Any, **options: Any) -> None:
        if isinstance(optimizer, Optimizer) and (line := here(self, name="__init__")) is not None:
            optimizer.__dict__.setdefault(SCHEDULE, line)
        own(self, optimizer, *args, **options)

    return init


SCHEDULE = "_schedule_of_user"


def of_call(module: Any) -> UserLine | None:
    """Of a call within a module: where that was made, if it is torch's, else where it is called."""
    native = module is not None and type(module).__module__.startswith("torch.")
    if native and (line := line_of(module)) is not None:
        return line
    called = here()
    return None if called is None else shown(called, "layer")


def note_loader(loader: Any, source: Any) -> None:
    """Where a loader is made, or the function that gives it."""
    note_line("loader", line_of(loader, "loader") or line_of_function(source, "loader"))


def roles(
    optimizers: Sequence[Any], loss: UserLine | None, trainer: Mapping[str, Any]
) -> dict[str, UserLine]:
    """Lines of a training by what they are about."""
    optimizer = getattr(optimizers[0], "optimizer", optimizers[0]) if optimizers else None
    scheduled = getattr(optimizer, "__dict__", {}).get(SCHEDULE)
    found = {
        "loss": loss.as_role("loss") if loss else None,
        "optimizer": line_of(optimizer, "optimizer"),
        "schedule": shown(scheduled, "schedule") if scheduled else None,
        "clipping": noted("trainer") if "gradient_clip_val" in trainer else None,
        **{role: noted(role) for role in ("loader", "fit", "trainer", "backward", "step")},
    }
    return {role: line for role, line in found.items() if line is not None}
