"""Compare two sittings: which cases became faster, which slower, and which did not change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from mnist_mlp.bench.cases import LIMIT
from mnist_mlp.bench.measure import with_epochs
from mnist_mlp.bench.record import WHOLE, Case, Document
from mnist_mlp.bench.results import aligned, rows_of
from mnist_mlp.bench.statistics import (
    FEWEST_PROCESSES,
    Ratio,
    epoch_medians,
    median,
    phase_values,
    ratio,
)

Verdict = Literal["faster", "slower", "not significant", "unknown", "not comparable", "missing"]


@dataclass(frozen=True)
class Change:
    """One measure of one case, old and new, in seconds. `ratio` is new divided by old."""

    key: str
    measure: str
    verdict: Verdict
    detail: str = ""
    old_s: float | None = None
    new_s: float | None = None
    ratio: Ratio | None = None


def compare(old: Document, new: Document) -> list[Change]:
    """All cases of both sittings; those of the old one come first, in its order."""
    keys = list(dict.fromkeys([case.key for case in (*old.cases, *new.cases)]))
    return [change for key in keys for change in _changes(key, old, new)]


def _changes(key: str, old: Document, new: Document) -> list[Change]:
    before, after = old.case(key), new.case(key)
    if before is None or after is None:
        which = "old" if before is None else "new"
        return [Change(key, "", "missing", f"not in the {which} file")]
    if why := _not_comparable(before, after) or _other_rows(old, new, before):
        return [Change(key, "", "not comparable", why)]
    changes = []
    for measure in ("epoch", "whole"):
        x, y = _values(old, before, measure), _values(new, after, measure)
        if not x and not y:
            continue
        if not x or not y:
            which = "old" if not x else "new"
            changes.append(Change(key, measure, "missing", f"no value in the {which} file"))
            continue
        changes.append(_change(key, measure, x, y))
    return changes or [Change(key, "", "missing", "no value in either file")]


def _change(key: str, measure: str, x: dict[int, float], y: dict[int, float]) -> Change:
    measured = ratio(y, x)
    verdict: Verdict = "not significant"
    detail = ""
    if measured.low is None or measured.high is None:
        verdict = "unknown"
        detail = (
            f"{len(x)} and {len(y)} processes; an interval needs {FEWEST_PROCESSES} on each side "
            f"(--rounds {FEWEST_PROCESSES})"
        )
    elif measured.high < 1:
        verdict = "faster"
    elif measured.low > 1:
        verdict = "slower"
    return Change(
        key=key,
        measure=measure,
        verdict=verdict,
        detail=detail,
        old_s=median(list(x.values())),
        new_s=median(list(y.values())),
        ratio=measured,
    )


def _values(document: Document, case: Case, measure: str) -> dict[int, float]:
    """Seconds by round.

    `epoch` is the median steady epoch. `whole` is the whole process. It has values only for
    commands and peers, since the length of a worker's process is chosen freely.
    """
    samples = document.of(case.key)
    if measure == "epoch":
        return epoch_medians(samples)
    return phase_values(samples, "process_s") if case.kind in WHOLE else {}


def _not_comparable(before: Case, after: Case) -> str:
    if with_epochs(before.spec, 1).digest != with_epochs(after.spec, 1).digest:
        return "the specifications differ"
    if before.kind in WHOLE and before.epochs != after.epochs:
        return f"{before.epochs} and {after.epochs} epochs"
    if (before.validated, before.kind) != (after.validated, after.kind):
        return "the kinds of case differ"
    return ""


def _other_rows(old: Document, new: Document, case: Case) -> str:
    x, y = rows_of(old, case), rows_of(new, case)
    return "" if x == y else f"{x:,} and {y:,} training rows"


def notes(old: Document, new: Document, changes: list[Change]) -> list[str]:
    """Differences of the environments and threads, and whether the machine itself changed speed."""
    lines = []
    for name in ("processor", "cores", "python", "platform", "packages", "variables", "gpus"):
        a, b = old.environment.get(name), new.environment.get(name)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            for key in sorted(a.keys() | b.keys()):
                if a.get(key) != b.get(key):
                    lines.append(f"{key}: {a.get(key)} before, {b.get(key)} now")
        else:
            lines.append(f"{name}: {a} before, {b} now")
    for case in old.cases:
        other = new.case(case.key)
        if other is not None and case.threads != other.threads:
            lines.append(f"{case.key}: {case.threads} threads before, {other.threads} now")
    # The matrix products use none of our code, so a change there is a change of the machine.
    controls = [change for change in changes if change.key == LIMIT]
    for machine in [change for change in controls if change.verdict in ("faster", "slower")]:
        lines.append(
            f"the machine itself is {machine.verdict} ({LIMIT}: {machine.ratio}); "
            f"the other ratios include that change"
        )
    return lines


def as_text(old: Document, new: Document) -> str:
    """The comparison as a table, with notes."""
    changes = compare(old, new)
    cells = [("case", "measure", "old s", "new s", "new / old", "verdict")]
    for each in changes:
        cells.append(
            (
                each.key,
                each.measure,
                "" if each.old_s is None else f"{each.old_s:.4g}",
                "" if each.new_s is None else f"{each.new_s:.4g}",
                "" if each.ratio is None else str(each.ratio),
                each.verdict + (f": {each.detail}" if each.detail else ""),
            )
        )
    return "\n".join([aligned(cells, words_last=True), "", *notes(old, new, changes)]).rstrip()


def as_data(old: Document, new: Document) -> dict[str, Any]:
    """The comparison for programs."""
    changes = compare(old, new)
    return {
        "schema_version": 1,
        "changes": [asdict(change) for change in changes],
        "notes": notes(old, new, changes),
    }
