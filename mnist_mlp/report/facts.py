"""What was compared: specification, data, versions, devices, threads and times, as table rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from mnist_mlp.report.sides import ShownRun
from mnist_mlp.report.words import seconds

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Fact:
    """A row: one value where all runs agree, else one each, and whether that is a difference."""

    name: str
    values: tuple[str, ...]
    code: bool = False
    marked: bool = False

    @property
    def shared(self) -> bool:
        """Whether one value stands for all runs."""
        return len(set(self.values)) == 1


Tell = Callable[[ShownRun], str]


def _facts(
    sides: Sequence[ShownRun],
    tellers: Mapping[str, Tell],
    *,
    code: Sequence[str] = (),
    mark: Sequence[str],
) -> tuple[Fact, ...]:
    facts = []
    for name, tell in tellers.items():
        values = tuple(tell(side) for side in sides)
        if set(values) != {""}:
            facts.append(
                Fact(name, values, name in code, marked=name in mark and len(set(values)) > 1)
            )
    return tuple(facts)


def spec_facts(sides: Sequence[ShownRun]) -> tuple[Fact, ...]:
    """The specification. What differs is marked: other settings make another run."""
    tellers: dict[str, Tell] = {
        "Name": lambda side: side.spec.name,
        "Layers": _layers,
        "Optimizer": _optimizer,
        "Batch size": lambda side: f"{side.spec.training.batch_size:,}",
        "Epochs": lambda side: f"{side.spec.training.epochs:,}",
        "Precision": lambda side: side.spec.training.precision,
        "Seed": lambda side: str(side.spec.seed),
        "Test fraction": lambda side: f"{side.spec.data.test_fraction:g}",
        "Digest": lambda side: side.spec.digest,
    }
    mark = [name for name in tellers if name != "Name"]
    return _facts(sides, tellers, code=("Digest",), mark=mark)


def data_facts(sides: Sequence[ShownRun]) -> tuple[Fact, ...]:
    """The data set; a difference is marked."""

    def rows(side: ShownRun) -> str:
        data = side.run.dataset
        parts = [(data.get("train_rows"), "training"), (len(side.evidence.ids), "test")]
        return ", ".join(f"{n:,} {what}" for n, what in parts if isinstance(n, int))

    tellers: dict[str, Tell] = {
        "Data set": lambda side: str(side.run.dataset["name"]),
        "Source": lambda side: str(side.run.dataset.get("source", NOT_RECORDED)),
        "Images": lambda side: "{} x {} pixels, {} classes".format(
            *side.evidence.image_shape, side.evidence.classes
        ),
        "Rows": rows,
        "SHA-256": lambda side: str(side.run.dataset["sha256"]),
    }
    return _facts(sides, tellers, code=("SHA-256",), mark=("Data set", "Images", "Rows", "SHA-256"))


def run_facts(sides: Sequence[ShownRun]) -> tuple[Fact, ...]:
    """How each run was made; that these differ is the point of comparing."""

    def key(*keys: str) -> Tell:
        return lambda side: _told(_at(side, *keys))

    def device(side: ShownRun) -> str:
        accelerator, at = _told(_at(side, "accelerator")), _told(_at(side, "device"))
        return at if accelerator in (at, "", NOT_RECORDED) else f"{at} ({accelerator})"

    def optional(*keys: str) -> Tell:
        return lambda side: _told(_at(side, *keys), missing="")

    tellers: dict[str, Tell] = {
        "Backend": key("backend", "target"),
        "Versions": key("versions"),
        "Device": device,
        "CPU threads": key("threads"),
        "Way of fitting": optional("path"),
        "Flags": key("flags"),
        "Python": key("machine", "python"),
        "System": key("machine", "platform"),
        "Processor": key("machine", "processor"),
        "Core packages": optional("machine", "packages"),
        "Started": lambda side: _when(_at(side, "started")),
        "Finished": lambda side: _when(_at(side, "finished")),
    }
    return _facts(sides, tellers, code=("Backend",), mark=())


def timing_facts(sides: Sequence[ShownRun]) -> tuple[Fact, ...]:
    """Seconds of each stage."""
    stages = {
        "Start of the framework": "open_s",
        "Training": "fit_s",
        "Prediction": "predict_s",
        "Everything": "total_s",
    }
    tellers: dict[str, Tell] = {
        "One epoch (median)": lambda side: seconds(epoch_s(side)),
        "Images a second": _pace,
    }
    for name, stage in stages.items():
        tellers[name] = lambda side, stage=stage: seconds(_at(side, "timings", stage))  # type: ignore[misc]
    return _facts(sides, tellers, mark=())


def epoch_s(side: ShownRun) -> float | None:
    """Median seconds of an epoch, validation included; None without a history."""
    history = side.run.history
    return median(row.seconds for row in history) if history else None


def _pace(side: ShownRun) -> str:
    rows, each = side.run.dataset.get("train_rows"), epoch_s(side)
    return f"{rows / each:,.0f}" if isinstance(rows, int) and each else NOT_RECORDED


def _layers(side: ShownRun) -> str:
    sizes, activations = side.spec.model.layer_sizes, side.spec.model.activations
    return " → ".join(
        [str(sizes[0]), *(f"{n} {name}" for n, name in zip(sizes[1:], activations, strict=True))]
    )


def _optimizer(side: ShownRun) -> str:
    """The name and every option that is not at its default."""
    spec = side.spec.optimizer
    parts = [f"{spec.name}, learning rate {spec.learning_rate:g}"]
    for key, field in type(spec).model_fields.items():
        value = getattr(spec, key)
        if key not in ("name", "learning_rate") and value != field.default:
            parts.append(f"{key.replace('_', ' ')} {_told(value)}")
    return ", ".join(parts)


def _when(value: Any) -> str:
    """`2026-01-31T12:00:00+00:00` as `2026-01-31 12:00:00 UTC`; else as it stands."""
    text = _told(value)
    return re.sub(r"^([0-9-]{10})T([0-9:]{8})\+00:00$", r"\1 \2 UTC", text)


def _at(side: ShownRun, *keys: str) -> Any:
    value: Any = side.run.record
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _told(value: Any, *, missing: str = NOT_RECORDED) -> str:
    """A recorded value in words: a run made elsewhere may hold anything here."""
    match value:
        case None | "":
            return missing
        case True | False:
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{key} {_told(part)}" for key, part in value.items()) or missing
        case list() | tuple():
            return ", ".join(_told(part) for part in value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
