"""How the time grows with the width, the batch size, the rows or the epochs.

Each point of a series is a case of its own. The *ideal line* of a series is the work of each point
times the best time per unit of work that any of its points reached. Work is the arithmetic of an
epoch (`sgemm.flops`); for the axis `epochs` it is the number of epochs. The batch size does not
change the work, so its ideal line is flat. A point is on the line if it takes at most 1.25 times
the line's time. Going outwards from the best point, the series leaves the line at the first point
that takes more.

For width, batch and rows the time is that of a steady epoch. For epochs it runs from the start of
the process to the end of training, so that it includes start-up and compiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

import numpy as np

from mnist_mlp.bench.cases import Choice
from mnist_mlp.bench.record import Case, Document
from mnist_mlp.bench.results import aligned, rows_of, stability
from mnist_mlp.bench.sgemm import flops
from mnist_mlp.bench.statistics import epoch_medians, median, phase_values
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.memory import machine_memory
from mnist_mlp.shown import one_line, size
from mnist_mlp.spec import MAX_COUNT, Spec

POINTS: dict[str, tuple[int, ...]] = {
    "width": (64, 128, 256, 512, 1024, 2048, 4096),
    "batch": (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
    "rows": (10_000, 20_000, 35_000, 70_000, 140_000, 350_000, 700_000),
    "epochs": (1, 2, 5, 10, 20, 50),
}
"""The axes and their default points; `--points` replaces the points."""

TOLERANCE = 1.25
"""Factor up to which a point counts as on the ideal line: above the spread of an honest timing."""


def scale_cases(spec: Spec, choice: Choice, *, axis: str, points: Sequence[int]) -> list[Case]:
    """One case for each backend, accelerator, path and point."""
    cases = []
    for backend in choice.backends:
        for accelerator in choice.accelerators:
            for fit_path in choice.fit_paths:
                base = choice.worker(backend, spec, accelerator=accelerator, fit_path=fit_path)
                for point in points:
                    change = {"key": f"{base.key}/{axis}-{point}", "point": point}
                    change |= {"spec": at(spec, axis=axis, point=point)}
                    if axis == "epochs":
                        change |= {"epochs": point - 1}  # a warm-up epoch comes on top
                    cases.append(base.model_copy(update=change))
    return cases


def checked_points(axis: str, text: str | None) -> tuple[int, ...]:
    """The points of `--points`, or the default ones of the axis; rising, each once.

    Raises
    ------
    UsageError
        An unknown axis, a point that is no whole number, or one that is too small.
    """
    if axis not in POINTS:
        raise UsageError(f"--scale {axis}: expected one of {', '.join(POINTS)}")
    if text is None:
        return POINTS[axis]
    try:
        points = sorted({int(part.replace("_", "")) for part in text.split(",")})
    except ValueError:
        raise UsageError(
            f"--points {one_line(text)}: expected whole numbers such as 64,256,1024"
        ) from None
    least = 10 if axis == "rows" else 1
    if points[0] < least or points[-1] > MAX_COUNT:
        raise UsageError(
            f"--points {one_line(text)}: the points of {axis} are from {least} to {MAX_COUNT:,}"
        )
    return tuple(points)


def at(spec: Spec, *, axis: str, point: int) -> Spec:
    """The specification at a point. With the width, all hidden layers grow in proportion."""
    changed: dict[str, object]
    if axis == "width":
        first, *hidden, last = spec.model.layer_sizes
        if not hidden:
            raise UsageError("--scale width: the network has no hidden layer")
        sizes = [max(1, round(units * point / hidden[0])) for units in hidden]
        changed = {"model": spec.model.model_copy(update={"layer_sizes": (first, *sizes, last)})}
    elif axis == "batch":
        changed = {"training": spec.training.model_copy(update={"batch_size": point})}
    elif axis == "rows":
        changed = {"data": spec.data.model_copy(update={"rows": point})}
    else:
        changed = {"training": spec.training.model_copy(update={"epochs": point})}
    return spec.model_copy(update=changed)


@lru_cache(maxsize=1)
def tiled(dataset: Dataset, rows: int) -> Dataset:
    """A data set repeated until it has `rows` rows; for timing, not for learning.

    Groups are left out: copies of one image on both sides of a split do not change the time.
    """
    needed, memory = rows * dataset.inputs, machine_memory()
    if memory is not None and needed > memory:
        raise UsageError(
            f"{rows:,} rows of {dataset.inputs} pixels take {size(needed)}, but this machine has "
            f"{size(memory)} of memory: choose smaller --points"
        )
    times = ceil(rows / len(dataset))
    return replace(
        dataset,
        source=f"{dataset.source}, {times} times over",
        images=np.concatenate([dataset.images] * times)[:rows],
        labels=np.concatenate([dataset.labels] * times)[:rows],
        groups=None,
    )


@dataclass(frozen=True)
class Series:
    """The series of one backend.

    `x` are the points, `y` the seconds, `ideal` the seconds of the ideal line. `slope` is that of
    log y over log x, `slope_error` its standard error; both are None with fewer than 3 points. All
    points from `low` to `high` are on the ideal line.
    """

    name: str
    x: tuple[int, ...]
    y: tuple[float, ...]
    ideal: tuple[float, ...]
    slope: float | None
    slope_error: float | None
    ideal_slope: float | None
    low: int
    high: int

    @property
    def words(self) -> str:
        """Where the series leaves the ideal line, as text."""
        parts = []
        for end, side in ((self.low, "below"), (self.high, "above")):
            index = self.x.index(end) + (-1 if side == "below" else 1)
            if 0 <= index < len(self.x):
                times = self.y[index] / self.ideal[index]
                parts.append(f"leaves it {side} {end:,} (at {self.x[index]:,}: {times:.2f} x)")
        return "; ".join(parts) or "on it throughout"


def series(document: Document) -> list[Series]:
    """All series of a scale sitting."""
    groups: dict[str, list[Case]] = {}
    for case in document.cases:
        if case.point is not None:
            groups.setdefault(case.group, []).append(case)
    lines = []
    for name, cases in groups.items():
        points = []
        for case in cases:
            value = _seconds(document, case)
            if value is not None and case.point is not None:
                points.append((case.point, value, _work(document, case)))
        if points:
            x, y, work = zip(*sorted(points), strict=True)
            lines.append(fit(name, x, y, work))
    return lines


def fit(name: str, x: Sequence[int], y: Sequence[float], work: Sequence[float]) -> Series:
    """One series: its slope, its ideal line and the range of points on that line."""
    from scipy.stats import linregress

    times = np.array(y) / np.array(work)
    ideal = times.min() * np.array(work)
    on = np.array(y) <= TOLERANCE * ideal
    best = low = high = int(times.argmin())
    while low > 0 and on[low - 1]:
        low -= 1
    while high < len(x) - 1 and on[high + 1]:
        high += 1
    assert low <= best <= high
    slope = error = ideal_slope = None
    if len(set(x)) >= 3:  # two points fit any line, and have no standard error
        line = linregress(np.log(x), np.log(y))
        slope, error = float(line.slope), float(line.stderr)
        ideal_slope = float(linregress(np.log(x), np.log(ideal)).slope)
    return Series(
        name=name,
        x=tuple(x),
        y=tuple(y),
        ideal=tuple(ideal.tolist()),
        slope=slope,
        slope_error=error,
        ideal_slope=ideal_slope,
        low=x[low],
        high=x[high],
    )


def _seconds(document: Document, case: Case) -> float | None:
    samples = document.of(case.key)
    if document.axis == "epochs":
        return median(list(phase_values(samples, "trained_s").values()))
    return median(list(epoch_medians(samples).values()))


def _work(document: Document, case: Case) -> float:
    if document.axis == "epochs":
        return case.spec.training.epochs
    return flops(case.spec, rows=rows_of(document, case))


def as_text(document: Document) -> str:
    """A table for each series, with its slope and where it leaves its ideal line."""
    blocks = []
    for line in series(document):
        cells = [(document.axis, "seconds", "ideal", "x ideal")]
        for x, y, ideal in zip(line.x, line.y, line.ideal, strict=True):
            cells.append((f"{x:,}", f"{y:.4g}", f"{ideal:.4g}", f"{y / ideal:.2f}"))
        fitted = "slope: too few points"
        if line.slope is not None:
            fitted = (
                f"slope in log-log {line.slope:.2f} +- {line.slope_error:.2f} "
                f"(its ideal line: {line.ideal_slope:.2f})"
            )
        blocks.append(f"{line.name}\n{aligned(cells)}\n{fitted}; {line.words}")
    rule = f"On the ideal line: at most {TOLERANCE} x the best time per unit of work."
    missing = [f"{s.case}: {s.message}" for s in document.samples if s.status != "ok"]
    return "\n\n".join([*blocks, "\n".join([rule, *missing, *stability(document)])])
