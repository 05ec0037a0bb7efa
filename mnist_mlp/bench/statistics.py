"""Statistics of raw samples: medians, ratios with intervals, and whether a result is unstable.

The independent unit is the process, not the epoch. The epochs of one process share its conditions
(memory layout, other programs), so 20 epochs of one process say little about the next process. The
value of a process is the median of its steady epochs. The value of a case is the median over its
processes.

Intervals are 95 % bootstrap percentile intervals of the ratio of medians (`scipy.stats.bootstrap`,
seeded). They are widened for few processes after Hesterberg, "What Teachers Should Know About the
Bootstrap" (2015): the percentile `alpha / 2` becomes `Phi(-sqrt(n / (n - 1)) * t(n - 1))`.

Error rates, simulated with a log-normal spread of 10 %: two equal cases count as different in 10 of
100 comparisons with 3 processes on each side, in 3 with 4, and in about 1 with 5 or more. A
difference of 30 % is found in 78, 74, 61, 88 and 99 of 100 with 3, 4, 5, 7 and 10 processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnist_mlp.bench.record import Sample

FEWEST_PROCESSES = 3
"""Fewer processes on a side give no interval: their spread is not known well enough."""

EPOCH_LIMIT = 0.10
"""Unstable above this spread of the epochs of a process: 1.4826 x MAD / median."""

PROCESS_LIMIT = 0.20
"""Unstable above this spread of the processes' medians: (max - min) / median."""

OTHERS_LIMIT = 0.25
"""Unstable if other programs kept more cores busy than this meanwhile."""

_RESAMPLES = 9999
"""Resamples of the bootstrap: SciPy's default."""


@dataclass(frozen=True)
class Spread:
    """How stable a result is.

    `epochs` and `processes` are spreads as shares of the median; None with too few values. `others`
    is the median number of cores that other programs kept busy.
    """

    epochs: float | None
    processes: float | None
    others: float | None

    @property
    def unstable(self) -> bool:
        """Whether any of the three is above its limit."""
        return (
            (self.epochs or 0) > EPOCH_LIMIT
            or (self.processes or 0) > PROCESS_LIMIT
            or (self.others or 0) > OTHERS_LIMIT
        )

    @property
    def words(self) -> str:
        """The three values with their limits, as text."""
        parts = []
        if self.processes is not None:
            parts.append(f"processes differ by {self.processes:.1%} (limit {PROCESS_LIMIT:.0%})")
        if self.epochs is not None:
            parts.append(f"epochs of one by {self.epochs:.1%} (limit {EPOCH_LIMIT:.0%})")
        if self.others is not None and self.others > OTHERS_LIMIT:
            parts.append(f"other programs used {self.others:.1f} cores (limit {OTHERS_LIMIT:g})")
        return ", ".join(parts) or "too few values to tell"


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians with its interval; `low` and `high` are None with too few processes."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{interval}"

    def holds(self, value: float) -> bool:
        """Whether the interval contains a value."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high


def epoch_medians(samples: Sequence[Sample]) -> dict[int, float]:
    """Median steady epoch of each process, by round."""
    return {s.round: float(np.median(s.epochs_s)) for s in samples if s.epochs_s}


def phase_values(samples: Sequence[Sample], phase: str) -> dict[int, float]:
    """A phase of each process, by round."""
    return {s.round: s.phases[phase] for s in samples if phase in s.phases}


def median(values: Sequence[float]) -> float | None:
    """The median; None if there are no values."""
    return float(np.median(values)) if len(values) else None


def spread(samples: Sequence[Sample]) -> Spread:
    """Spread within and between the processes of a case."""
    within = []
    for sample in samples:
        if len(sample.epochs_s) >= 3:
            x = np.array(sample.epochs_s)
            # The factor 1.4826 turns the median absolute deviation into the standard deviation of a
            # normal distribution. One slow epoch does not change it.
            within.append(1.4826 * np.median(np.abs(x - np.median(x))) / np.median(x))
    medians = np.array(list(epoch_medians(samples).values()))
    between = float(np.ptp(medians) / np.median(medians)) if len(medians) >= 2 else None
    others = [sample.others_cores for sample in samples if sample.others_cores is not None]
    return Spread(epochs=median(within), processes=between, others=median(others))


def ratio(above: dict[int, float], below: dict[int, float]) -> Ratio:
    """Ratio of the medians of two cases, given as values by round.

    The bootstrap does not draw rounds in pairs, even within one sitting: with 3 rounds, pairs would
    call two equal cases different in 27 of 100 comparisons.
    """
    x, y = (np.array(list(values.values())) for values in (above, below))
    value = float(np.median(x) / np.median(y))
    fewest = min(len(x), len(y))
    if fewest < FEWEST_PROCESSES:
        return Ratio(value)
    from scipy import stats

    # The bootstrap has no interval for values without any spread.
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        return Ratio(value, value, value)

    def statistic(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    # The percentile interval of a few values is too narrow. So its level is raised as a t interval
    # would be wider than a normal one: the expanded percentile interval (Hesterberg, 2015).
    tail = stats.norm.cdf(-math.sqrt(fewest / (fewest - 1)) * stats.t.ppf(0.975, fewest - 1))
    interval = stats.bootstrap(
        (x, y),
        statistic,
        vectorized=True,
        n_resamples=_RESAMPLES,
        confidence_level=1 - 2 * tail,
        method="percentile",
        rng=np.random.default_rng(0),  # fixed, so that a stored file always gives the same table
    ).confidence_interval
    return Ratio(value, float(interval.low), float(interval.high))
