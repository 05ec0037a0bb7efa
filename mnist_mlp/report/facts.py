"""The tables of specification, data, versions, devices, threads and times of the runs."""

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
    """A table row with one value for each run. `marked`: differing values are highlighted."""

    name: str
    values: tuple[str, ...]
    code: bool = False
    marked: bool = False

    @property
    def shared(self) -> bool:
        """Whether all runs have the same value."""
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
    """The specification. Differences are marked, since they make a different training run."""
    tellers: dict[str, Tell] = {
        "Name": lambda side: side.spec.name,
        "Layers": _layers,
        "Optimizer": _optimizer,
        "Batch size": lambda side: f"{side.spec.training.batch_size:,}",
        "Epochs": lambda side: f"{side.spec.training.epochs:,}",
        "Early stopping": _early_stopping,
        "Precision": lambda side: side.spec.training.precision,
        "Seed": lambda side: str(side.spec.seed),
        "Test fraction": lambda side: f"{side.spec.data.test_fraction:g}",
        "Digest": lambda side: side.spec.digest,
    }
    mark = [name for name in tellers if name != "Name"]
    return _facts(sides, tellers, code=("Digest",), mark=mark)


def data_facts(sides: Sequence[ShownRun]) -> tuple[Fact, ...]:
    """The data set. Differences are marked."""

    def rows(side: ShownRun) -> str:
        parts = [(side.run.dataset.train_rows, "training"), (len(side.evidence.ids), "test")]
        return ", ".join(f"{n:,} {what}" for n, what in parts if n is not None)

    tellers: dict[str, Tell] = {
        "Data set": lambda side: side.run.dataset.name,
        "Source": lambda side: _text(side.run.dataset.source),
        "Images": lambda side: "{} x {} pixels, {} classes".format(
            *side.evidence.image_shape, side.evidence.classes
        ),
        "Rows": rows,
        "SHA-256": lambda side: side.run.dataset.sha256,
    }
    return _facts(sides, tellers, code=("SHA-256",), mark=("Data set", "Images", "Rows", "SHA-256"))


def run_facts(sides: Sequence[ShownRun]) -> tuple[Fact, ...]:
    """How each run was made. Differences are not marked: comparing such runs is the purpose."""

    def recorded(read: Callable[[RunRecord], Any], *, missing: str = NOT_RECORDED) -> Tell:
        return lambda side: _text(read(side.run.record), missing=missing)

    def device(side: ShownRun) -> str:
        record = side.run.record
        at = _text(record.device)
        return at if record.accelerator in (at, "") else f"{at} ({record.accelerator})"

    def status(side: ShownRun) -> str:
        if all(each.run.is_complete for each in sides):
            return ""
        return _text(side.run.record.status)

    tellers: dict[str, Tell] = {
        "Status": status,
        "Backend": recorded(lambda record: record.backend.target),
        "Versions": recorded(lambda record: record.versions),
        "Device": device,
        "Devices": lambda side: _devices(side.run.record),
        "CPU threads": recorded(lambda record: record.threads),
        "Fit path": recorded(lambda record: record.fit_path, missing=""),
        "Flags": recorded(lambda record: record.flags),
        "Python": recorded(lambda record: record.machine.python),
        "System": recorded(lambda record: record.machine.platform),
        "Processor": recorded(lambda record: record.machine.processor),
        "Core packages": recorded(lambda record: record.machine.packages, missing=""),
        "Started": lambda side: _when(side.run.record.started),
        "Finished": lambda side: _when(side.run.record.finished),
    }
    return _facts(sides, tellers, code=("Backend",), mark=())


def _devices(record: RunRecord) -> str:
    """How many devices trained together; empty for one."""
    if record.devices * record.num_nodes == 1 and record.strategy == "auto":
        return ""
    each = f", on each of {record.num_nodes} machines" if record.num_nodes > 1 else ""
    return f"{record.devices}{each}, by DDP"


def timing_facts(sides: Sequence[ShownRun]) -> tuple[Fact, ...]:
    """The time of each stage."""
    stages = {
        "Start of the framework": "open_s",
        "Training": "fit_s",
        "Prediction": "predict_s",
        "Whole run": "total_s",
    }
    tellers: dict[str, Tell] = {
        "One epoch (median)": lambda side: seconds(epoch_s(side)),
        "Images a second": _pace,
    }
    for name, stage in stages.items():
        tellers[name] = lambda side, stage=stage: seconds(side.run.record.timings.get(stage))  # type: ignore[misc]
    return _facts(sides, tellers, mark=())


def epoch_s(side: ShownRun) -> float | None:
    """Median seconds of an epoch, including validation; None without a history."""
    history = side.network.history
    return median(row.seconds for row in history) if history else None


def _pace(side: ShownRun) -> str:
    rows, each = side.run.dataset.train_rows, epoch_s(side)
    return f"{rows / each:,.0f}" if rows is not None and each else NOT_RECORDED


def _layers(side: ShownRun) -> str:
    sizes, activations = side.spec.model.layer_sizes, side.spec.model.activations
    return " → ".join(
        [str(sizes[0]), *(f"{n} {name}" for n, name in zip(sizes[1:], activations, strict=True))]
    )


def _early_stopping(side: ShownRun) -> str:
    """Its settings, and after which epoch it stopped this run; "" without early stopping."""
    training = side.spec.training
    if training.patience == 0:
        return ""
    asked = f"patience {training.patience}, min delta {training.min_delta:g}"
    early = side.run.record.stopped_early
    return f"{asked}; stopped after epoch {len(side.run.history)}" if early else asked


def _optimizer(side: ShownRun) -> str:
    """The name, the learning rate, and every option that does not have its default value."""
    spec = side.spec.optimizer
    parts = [f"{spec.name}, learning rate {spec.learning_rate:g}"]
    for key, field in type(spec).model_fields.items():
        value = getattr(spec, key)
        if key not in ("name", "learning_rate") and value != field.default:
            parts.append(f"{key.replace('_', ' ')} {_text(value)}")
    return ", ".join(parts)


def _when(value: Any) -> str:
    """`2026-01-31T12:00:00+00:00` as `2026-01-31 12:00:00 UTC`; other texts unchanged."""
    text = _text(value)
    return re.sub(r"^([0-9-]{10})T([0-9:]{8})\+00:00$", r"\1 \2 UTC", text)


def _text(value: Any, *, missing: str = NOT_RECORDED) -> str:
    """A recorded value as text. Backends may record values of any type."""
    match value:
        case None | "":
            return missing
        case True | False:
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{key} {_text(part)}" for key, part in value.items()) or missing
        case list() | tuple():
            return ", ".join(_text(part) for part in value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
