"""More than two runs in one table: verdicts, times and largest differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnist_mlp.parity.matrix import largest_difference
from mnist_mlp.report.comparison import Pair
from mnist_mlp.report.sides import ShownRun
from mnist_mlp.report.words import seconds, small


@dataclass(frozen=True)
class Line:
    """One run: its verdict against the first one, time of training, and differences to all runs."""

    label: str
    number: int
    verdict: str
    training: str
    differences: tuple[str, ...]


def matrix(sides: Sequence[ShownRun], pairs: Sequence[Pair]) -> tuple[Line, ...]:
    """A line for each run; none for two runs or one, of which the page says it elsewhere."""
    if len(sides) < 3:
        return ()
    verdicts = ["", *(pair.comparison.verdict if pair.comparison else "-" for pair in pairs)]
    return tuple(
        Line(
            label=side.label,
            number=side.number,
            verdict=verdict,
            training=seconds(side.run.record.timings.get("fit_s")),
            differences=tuple(_difference(side, other) for other in sides),
        )
        for side, verdict in zip(sides, verdicts, strict=True)
    )


def _difference(a: ShownRun, b: ShownRun) -> str:
    value = largest_difference(a.network.weights, b.network.weights)
    return "-" if value is None else small(value)
