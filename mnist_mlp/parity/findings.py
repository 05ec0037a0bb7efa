"""The values of a comparison: judged steps, findings, breaks and causes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from mnist_mlp.contract import State, StepRecord
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.reference import Array

# The order of cause and effect: if a rung breaks, the rungs after it differ as a consequence.
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
    """One training step of one side, started from a state that both sides and the reference share.

    `shared` is that state in the side's precision, and `record` is what the side computed from it.
    Steps with the same `window` are consecutive. `step` counts from 1 over all epochs. The stress
    batch has epoch 0 and step 0.
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
    """A named cause with its fitted value. The catalogue has the rest under its name."""

    name: str
    value: str | None = None
    text: str = ""
    fix: str = ""


UNKNOWN = "unknown"

FEW_VALUES = 4
"""If at most this many values of a file differ, the file was altered. A fault of the training, or
another random draw, changes nearly all of them."""


@dataclass(frozen=True)
class Finding:
    """The error of one tensor in one stage of one step, measured in roundings.

    `size` is the distance from the exact value in units of `eps * terms` at the worst element.
    `got` and `expected` are the two values of that element.
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
    """A place in a training run. A field that does not apply is None.

    `epoch` and `step` count from 1, `step` over all epochs; both are 0 before training. `layer`
    counts from 0.
    """

    epoch: int | None = None
    step: int | None = None
    layer: int | None = None
    tensor: str | None = None


PLACE = tuple(field.name for field in fields(Place))


class Value(BaseModel):
    """A frozen value that is written as JSON and read back. Unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Measured = Annotated[
    float, PlainSerializer(lambda x: x if isfinite(x) else None, return_type=float | None)
]
"""A number that may be infinite or NaN. It is then written as null: strict JSON has neither."""


class Break(Value):
    """A rung that broke on one side: where, by how much, and why.

    `size` is the distance in roundings, if it was measured. `layers` are all layers that show the
    break, if they were searched; the layer of `place` is the first of them. `lines` are the lines
    of users' code that are to blame, of each side, as far as they are known. In JSON the fields of
    `place` are written beside the others.
    """

    side: Side
    rung: str
    place: Place = Place()
    size: Measured | None = None
    got: str = ""
    expected: str = ""
    batch: str | None = None
    cause: Cause = Cause(UNKNOWN)
    lines: Mapping[Side, UserLine] = {}
    layers: Annotated[tuple[int, ...], Field(exclude=True)] = ()

    @property
    def epoch(self) -> int | None:
        """The epoch of the place, from 1; 0 before training."""
        return self.place.epoch

    @property
    def step(self) -> int | None:
        """The step of the place, from 1 over all epochs; 0 before training."""
        return self.place.step

    @property
    def layer(self) -> int | None:
        """The layer of the place, from 0."""
        return self.place.layer

    @property
    def tensor(self) -> str | None:
        """The tensor of the place."""
        return self.place.tensor

    def caused_by(self, cause: Cause) -> Break:
        """The same break with another cause."""
        return self.model_copy(update={"cause": cause})

    def blaming(self, lines: Mapping[Side, UserLine]) -> Break:
        """The same break with the lines that are to blame."""
        return self.model_copy(update={"lines": lines})

    @model_validator(mode="before")
    @classmethod
    def _gather_place(cls, value: Any) -> Any:
        if isinstance(value, dict) and "place" not in value:
            return {**value, "place": {key: value.get(key) for key in PLACE}}
        return value

    @model_serializer(mode="wrap")
    def _spread_place(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content = dump(self)
        return {"rung": self.rung, "side": self.side, **content.pop("place"), **content}


@dataclass(eq=False, kw_only=True)
class Evidence:
    """The results that a comparison collects while it goes through the rungs.

    `missing` maps each rung that could not be tested to the reason. `margins` maps a rung to its
    largest deviation, as a share of what is allowed. `compared` maps a rung without tolerance
    to the number of fields, tensors or rows compared.
    """

    breaks: list[Break] = field(default_factory=list)
    noted: list[Cause] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    steps: list[JudgedStep] = field(default_factory=list)
    margins: dict[str, float] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)

    def broken(self, *rungs: str) -> bool:
        """Whether any of these rungs broke."""
        return any(item.rung in rungs for item in self.breaks)

    def leave_out(self, *rungs: str, reason: str) -> None:
        """Record why these rungs are not tested."""
        self.missing |= dict.fromkeys(rungs, reason)

    def add(self, other: Evidence) -> None:
        """Add the results of another collection to this one."""
        self.breaks += other.breaks
        self.noted += [cause for cause in other.noted if cause not in self.noted]
        self.missing |= other.missing
        self.steps += other.steps
        for rung, margin in other.margins.items():
            self.margins[rung] = max(margin, self.margins.get(rung, 0.0))
        for rung, count in other.compared.items():
            # Both sides were looked at as far as the one that was looked at least.
            self.compared[rung] = min(count, self.compared.get(rung, count))
