"""What was compared: specification, data, versions, devices, threads and times, as table rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from mnist_mlp.report.sides import ShownRun
from mnist_mlp.report.words import seconds
from mnist_mlp.run.record import RunRecord

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
        parts = [(side.run.dataset.train_rows, "training"), (len(side.evidence.ids), "test")]
        return ", ".join(f"{n:,} {what}" for n, what in parts if n is not None)

    tellers: dict[str, Tell] = {
        "Data set": lambda side: side.run.dataset.name,
        "Source": lambda side: _told(side.run.dataset.source),
        "Images": lambda side: "{} x {} pixels, {} classes".format(
            *side.evidence.image_shape, side.evidence.classes
        ),
        "Rows": rows,
        "SHA-256": lambda side: side.run.dataset.sha256,
    }
    return _facts(sides, tellers, code=("SHA-256",), mark=("Data set", "Images", "Rows", "SHA-256"))


def run_facts(sides: Sequence[ShownRun]) -> tuple[Fact, ...]:
    """How each run was made; that these differ is the point of comparing."""

    def told(read: Callable[[RunRecord], Any], *, missing: str = NOT_RECORDED) -> Tell:
        return lambda side: _told(read(side.run.record), missing=missing)

    def device(side: ShownRun) -> str:
        record = side.run.record
        at = _told(record.device)
        return at if record.accelerator in (at, "") else f"{at} ({record.accelerator})"

    tellers: dict[str, Tell] = {
        "Backend": told(lambda record: record.backend.target),
        "Versions": told(lambda record: record.versions),
        "Device": device,
        "CPU threads": told(lambda record: record.threads),
        "Way of fitting": told(lambda record: record.fit_path, missing=""),
        "Flags": told(lambda record: record.flags),
        "Python": told(lambda record: record.machine.python),
        "System": told(lambda record: record.machine.platform),
        "Processor": told(lambda record: record.machine.processor),
        "Core packages": told(lambda record: record.machine.packages, missing=""),
        "Started": lambda side: _when(side.run.record.started),
        "Finished": lambda side: _when(side.run.record.finished),
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
        tellers[name] = lambda side, stage=stage: seconds(side.run.record.timings.get(stage))  # type: ignore[misc]
    return _facts(sides, tellers, mark=())


def epoch_s(side: ShownRun) -> float | None:
    """Median seconds of an epoch, validation included; None without a history."""
    history = side.run.history
    return median(row.seconds for row in history) if history else None


def _pace(side: ShownRun) -> str:
    rows, each = side.run.dataset.train_rows, epoch_s(side)
    return f"{rows / each:,.0f}" if rows is not None and each else NOT_RECORDED


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


def _told(value: Any, *, missing: str = NOT_RECORDED) -> str:
    """A recorded value in words: flags and whatever a backend recorded may hold anything."""
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
