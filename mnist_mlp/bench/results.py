"""Results from raw samples: one row for each case, as text and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from mnist_mlp.bench.record import Case, Document
from mnist_mlp.bench.statistics import (
    Ratio,
    Spread,
    epoch_medians,
    median,
    phase_values,
    ratio,
    spread,
)
from mnist_mlp.registry import label_of

PHASES = (
    *("spawn_s", "import_s", "build_s", "first_epoch_s", "predict_s", "process_s"),
    "first_words_s",
)
_MIB = 2**20

_HEAD = (
    *("case", "runs", "import", "build", "first", "epoch", "fastest", "slowest"),
    *("steps/s", "images/s", "evaluate", "first words", "whole", "peak MiB", "+import"),
)

REMEDY = (
    "close other programs, take more rounds (--rounds), pin fewer threads than there are cores "
    "(--threads)"
)


@dataclass(frozen=True)
class Row:
    """The figures of a case: medians over its processes, in seconds and bytes; None if missing."""

    key: str
    status: str
    message: str
    processes: int
    epoch_s: float | None
    fastest_s: float | None
    slowest_s: float | None
    steps_per_s: float | None
    images_per_s: float | None
    phases: dict[str, float]
    peak: float | None
    over_import: float | None
    gpu_peak: float | None
    spread: Spread


def row(document: Document, case: Case) -> Row:
    """Summarise one case."""
    samples = document.of(case.key)
    bad = next((s for s in document.samples if s.case == case.key and s.status != "ok"), None)
    epochs = [value for sample in samples for value in sample.epochs_s]
    epoch = median(list(epoch_medians(samples).values()))
    rows = rows_of(document, case)
    steps = ceil(rows / case.spec.training.batch_size)
    phases = {name: median(list(phase_values(samples, name).values())) for name in PHASES}
    peaks = [s.memory["peak"] for s in samples if "peak" in s.memory]
    over = [
        s.memory["peak"] - s.memory["import_peak"]
        for s in samples
        if {"peak", "import_peak"} <= s.memory.keys()
    ]
    gpu = [s.memory["gpu_peak"] for s in samples if "gpu_peak" in s.memory]
    status = "ok" if samples else (bad.status if bad else "not run")
    return Row(
        key=case.key,
        status=status,
        message=bad.message if bad else "",
        processes=len(samples),
        epoch_s=epoch,
        fastest_s=min(epochs, default=None),
        slowest_s=max(epochs, default=None),
        steps_per_s=steps / epoch if epoch else None,
        images_per_s=rows / epoch if epoch else None,
        phases={name: value for name, value in phases.items() if value is not None},
        peak=median(peaks),
        over_import=median(over),
        gpu_peak=median(gpu),
        spread=spread(samples),
    )


def rows_of(document: Document, case: Case) -> int:
    """Number of training rows of a case."""
    samples = document.of(case.key)
    recorded = samples[0].facts.get("train_rows") if samples else None
    return document.train_rows if recorded is None else int(recorded)


def gpu_ratios(document: Document) -> dict[str, Ratio]:
    """Ratio of CPU time to GPU time, by backend and path, where both were measured."""
    found = {}
    for case in document.cases:
        if case.kind != "worker" or case.accelerator != "gpu":
            continue
        same = _on_cpu(document, case)
        on_cpu = epoch_medians(document.of(same.key)) if same else {}
        on_gpu = epoch_medians(document.of(case.key))
        if on_cpu and on_gpu:
            variant = case.key.removeprefix(case.group)
            name = f"{label_of(case.backend)}/{case.fit_path}{variant}"
            found[name] = ratio(on_cpu, on_gpu)
    return found


def _on_cpu(document: Document, case: Case) -> Case | None:
    """The CPU case that is otherwise equal to this one."""
    wanted = case.model_copy(update={"accelerator": "cpu", "key": ""})
    cases = (c for c in document.cases if c.model_copy(update={"key": ""}) == wanted)
    return next(cases, None)


def results(document: Document) -> dict[str, Any]:
    """All derived results, for `--json`."""
    return {
        "cases": [
            {**asdict(each), "unstable": each.spread.unstable}
            for each in (row(document, case) for case in document.cases)
        ],
        "gpu_over_cpu": {key: asdict(value) for key, value in gpu_ratios(document).items()},
    }


def table(document: Document) -> str:
    """All cases as a text table, with notes below it."""
    rows = [row(document, case) for case in document.cases]
    cells: list[tuple[str, ...]] = [_HEAD]
    for each in rows:
        if each.status != "ok":
            continue
        p = each.phases
        cells.append(
            (
                each.key + (" *" if each.spread.unstable else ""),
                str(each.processes),
                *(_seconds(p.get(name)) for name in ("import_s", "build_s", "first_epoch_s")),
                *(_seconds(value) for value in (each.epoch_s, each.fastest_s, each.slowest_s)),
                _count(each.steps_per_s),
                _count(each.images_per_s),
                _seconds(p.get("predict_s")),
                _seconds(p.get("first_words_s")),
                _seconds(p.get("process_s")),
                _count(each.peak and each.peak / _MIB),
                _count(each.over_import and each.over_import / _MIB),
            )
        )
    width = max(len(each.key) for each in rows)
    gone = [f"{each.key:<{width}}  {_why(each)}" for each in rows if _worth_a_line(each, rows)]
    return "\n".join([aligned(cells), *gone, "", *_notes(document, rows)]).rstrip()


def _why(each: Row) -> str:
    return each.message or each.status


def _worth_a_line(each: Row, rows: Sequence[Row]) -> bool:
    """Whether to list a case without a value.

    A variant is left out if its backend's own case failed for the same reason: once is enough.
    """
    if each.status == "ok":
        return False
    others = [other for other in rows if each.key.startswith(other.key + "/")]
    return not any(_why(other) == _why(each) for other in others)


def _notes(document: Document, rows: Sequence[Row]) -> list[str]:
    machine = document.environment
    load = f"load {machine.get('load_before')} before, {machine.get('load_after')} after"
    notes = [
        f"{machine.get('processor')}, {machine.get('cores')} cores; {load}; "
        f"{document.train_rows:,} training and {document.test_rows:,} test rows.",
        "Seconds are medians over processes. An epoch is any but the first, which has a column of "
        "its own. It includes validation, unless the case says training, and the copy of the "
        "weights, so the device has finished.",
    ]
    for each in rows:
        if each.status == "ok" and each.message:
            notes.append(f"{each.key}: one process failed: {each.message}")
        if each.gpu_peak is not None:
            notes.append(f"{each.key}: {each.gpu_peak / _MIB:,.0f} MiB of GPU memory")
        if each.spread.unstable:
            notes.append(f"* {each.key} is unstable: {each.spread.words}")
    if any(each.spread.unstable for each in rows):
        notes.append(f"Remedy: {REMEDY}.")
    for key, value in gpu_ratios(document).items():
        notes.append(f"{key}: an epoch on the GPU is {value} times as fast as on the CPU")
    return notes


def stability(document: Document) -> list[str]:
    """One line that names the unstable cases, for tables of many small cases; empty if none is."""
    rows = [row(document, case) for case in document.cases]
    shaky = [each for each in rows if each.spread.unstable]
    if not shaky:
        return []
    named = "; ".join(f"{each.key}: {each.spread.words}" for each in shaky[:3])
    more = "" if len(shaky) <= 3 else f"; and {len(shaky) - 3} more"
    return [f"{len(shaky)} of {len(rows)} cases are unstable ({named}{more}). Remedy: {REMEDY}."]


def aligned(cells: Sequence[Sequence[str]], *, words_last: bool = False) -> str:
    """Text in columns: the first aligned left, the others right, empty ones left out.

    `words_last` aligns the last column left too.
    """
    columns = [column for column in zip(*cells, strict=True) if any(cell for cell in column[1:])]
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = []
    for line in zip(*columns, strict=True):
        first, *rest = line
        padded = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        if words_last:
            padded[-1] = rest[-1]
        lines.append("  ".join([first.ljust(widths[0]), *padded]).rstrip())
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.4f}"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
