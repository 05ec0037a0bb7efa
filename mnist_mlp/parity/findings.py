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
class Place:
    """A place in a training run; what does not apply is None.

    `epoch` and `step` count from 1, `step` over all epochs; both are 0 before training. `layer`
    counts from 0.
    """

    epoch: int | None = None
    step: int | None = None
    layer: int | None = None
    tensor: str | None = None


@dataclass(frozen=True, kw_only=True)
class Break:
    """A rung that broke on one side, where, by how much, and why.

    `size` is the distance in roundings, where it was measured. `layers` are all the layers in which
    it is seen, where that was looked at; the place's layer is the first.
    """

    side: Side
    rung: str
    place: Place = Place()
    cause: Cause = field(default_factory=lambda: Cause(UNKNOWN))
    size: float | None = None
    got: str = ""
    expected: str = ""
    batch: str | None = None
    layers: tuple[int, ...] = ()

    @property
    def epoch(self) -> int | None:
        """The place's."""
        return self.place.epoch

    @property
    def step(self) -> int | None:
        """The place's."""
        return self.place.step

    @property
    def layer(self) -> int | None:
        """The place's."""
        return self.place.layer

    @property
    def tensor(self) -> str | None:
        """The place's."""
        return self.place.tensor

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
