"""The results of a sweep: one row for each run, as JSON and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from mnist_mlp.errors import EXIT_ENVIRONMENT, EXIT_OK, MnistMlpError
from mnist_mlp.run.folder import Run
from mnist_mlp.sweep.cases import Case, in_words

SCHEMA_VERSION = 1

State = Literal["complete", "failed", "not run"]


@dataclass(frozen=True)
class Row:
    """What came of one run.

    `seconds` is what the run took, `attempts` how often it was begun by this command (0: it was
    finished before), `error` and `exit_code` tell why it failed.
    """

    name: str
    backend: str
    seed: int
    settings: dict[str, Any]
    state: State
    loss: float | None = None
    accuracy: float | None = None
    seconds: float | None = None
    attempts: int = 0
    error: str = ""
    kind: str = ""
    exit_code: int = EXIT_OK

    @property
    def label(self) -> str:
        """Backend and settings, for a line of text."""
        return " ".join(filter(None, (self.backend, in_words(self.settings))))


def row_of(case: Case, run: Run) -> Row:
    """The row of a complete run."""
    metrics = run.metrics
    return Row(
        *(case.name, case.label, case.seed, case.settings, "complete"),
        loss=metrics.loss,
        accuracy=metrics.accuracy,
        seconds=run.record.timings.get("total_s"),
    )


def failed(case: Case, error: MnistMlpError) -> Row:
    """The row of a run that ended in an error."""
    return Row(
        *(case.name, case.label, case.seed, case.settings, "failed"),
        error=str(error),
        kind=type(error).__name__,
        exit_code=error.exit_code,
    )


def not_run(case: Case) -> Row:
    """The row of a run that belongs to another shard."""
    return Row(case.name, case.label, case.seed, case.settings, "not run")


def exit_code_of(rows: Sequence[Row]) -> int:
    """0 if no run failed; the code of the failures if they share one, else 3."""
    codes = {row.exit_code for row in rows if row.state == "failed"}
    return codes.pop() if len(codes) == 1 else EXIT_ENVIRONMENT if codes else EXIT_OK


def document(rows: Sequence[Row], *, about: dict[str, Any]) -> dict[str, Any]:
    """The content of `sweep.json`; `about` says what was asked for."""
    return {
        "schema_version": SCHEMA_VERSION,
        **about,
        "counts": dict(Counter(row.state for row in rows)),
        "runs": [asdict(row) for row in rows],
    }


def as_text(rows: Sequence[Row]) -> str:
    """How many runs there are, their failures, and the accuracies of each backend and setting."""
    lines = [_counts(rows), *_accuracies(rows)]
    lines += [f"failed: {row.name}: {row.error}" for row in rows if row.state == "failed"]
    return "\n".join(lines)


def _counts(rows: Sequence[Row]) -> str:
    count = Counter(row.state for row in rows)
    before = sum(row.state == "complete" and not row.attempts for row in rows)
    again = sum(row.attempts > 1 for row in rows)
    parts = [f"{count['complete']} complete"]
    if before:
        parts[0] += f" ({before} of them before)"
    parts += [f"{count[state]} {state}" for state in ("failed", "not run") if count[state]]
    if again:
        parts.append(f"{again} tried twice")
    return f"{len(rows)} runs: {', '.join(parts)}"


def _accuracies(rows: Sequence[Row]) -> list[str]:
    labels = list(dict.fromkeys(row.label for row in rows))
    width = max(len("backend"), *map(len, labels))
    table = []
    for label in labels:
        values = [row.accuracy for row in rows if row.label == label and row.accuracy is not None]
        if values:
            spread = f"{stdev(values):.4f}" if len(values) > 1 else "-"
            table.append(
                f"{label:{width}}  {len(values):5}  {fmean(values):.4f}  {spread:>9}  "
                f"{min(values):.4f}  {max(values):.4f}"
            )
    head = (
        f"{'backend':{width}}  {'runs':>5}  {'mean':>6}  {'deviation':>9}  {'lowest':>6}  highest"
    )
    return ["", "accuracy on the test rows", head, *table] if table else []
