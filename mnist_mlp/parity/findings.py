"""What the ladder looks at: judged steps, and what it says of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mnist_mlp.contract import State, StepRecord
from mnist_mlp.reference import Array

RUNGS = (
    "spec",
    "data",
    "order",
    "init",
    "forward",
    "loss",
    "gradient",
    "update",
    "trajectory",
    "metrics",
    "predictions",
    "report",
)
STEP_RUNGS = ("data", "forward", "loss", "gradient", "update")

Side = Literal["a", "b"]


@dataclass(frozen=True, eq=False)
class JudgedStep:
    """One step of one side, from a state that the other side and the reference share.

    `shared` is that state, in the side's precision; `record` is what the side made of it; `window`
    numbers runs of consecutive steps. `step` counts from 1; None is the stress batch.
    """

    epoch: int
    step: int
    window: int
    shared: State
    images: Array
    labels: Array
    record: StepRecord
    stress: bool = False


@dataclass(frozen=True)
class Cause:
    """A named cause with what was fitted; the catalogue knows the rest by name."""

    name: str
    value: str | None = None
    text: str = ""
    fix: str = ""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "value": self.value, "text": self.text, "fix": self.fix}


UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One tensor of one stage of one step, measured in roundings.

    `size` is the distance from the exact value in units of `eps * terms`, at the worst element,
    where `got` and `expected` are its two values.
    """

    rung: str
    epoch: int
    step: int
    layer: int | None
    tensor: str
    size: float
    got: float
    expected: float
    stress: bool = False
    note: str = ""


@dataclass(frozen=True)
class Break:
    """A rung that broke on one side, where, by how much, and why."""

    side: Side
    rung: str
    epoch: int | None
    step: int | None
    layer: int | None
    tensor: str | None
    size: float | None
    got: str = ""
    expected: str = ""
    cause: Cause = field(default_factory=lambda: Cause(UNKNOWN))
    batch: str | None = None
    layers: tuple[int, ...] = ()
    """All the layers it is seen in, where that was looked at; `layer` is the first."""

    def document(self) -> dict[str, Any]:
        """For JSON; a size that is not finite becomes null, for strict JSON has no infinity."""
        size = self.size if self.size is not None and np.isfinite(self.size) else None
        return {
            "rung": self.rung,
            "epoch": self.epoch,
            "step": self.step,
            "batch": self.batch,
            "layer": self.layer,
            "tensor": self.tensor,
            "side": self.side,
            "size": size,
            "got": self.got,
            "expected": self.expected,
            "cause": self.cause.document(),
        }
