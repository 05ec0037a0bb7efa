"""Which runs of a sweep are compared: the first backend with each other one, at equal settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnist_mlp.sweep.cases import in_words
from mnist_mlp.sweep.equivalence import Comparison, compare, decide
from mnist_mlp.sweep.table import Row


def accuracies(rows: Sequence[Row]) -> dict[tuple[str, str], list[float]]:
    """Accuracies of the complete runs, by backend and setting."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        values = found.setdefault((row.backend, in_words(row.settings)), [])
        if row.accuracy is not None:
            values.append(row.accuracy)
    return found


def comparisons(rows: Sequence[Row], *, margin: float) -> list[Comparison]:
    """Compare the backends of a sweep, pair by pair of runs with one seed and one setting."""
    first, *others = dict.fromkeys(row.backend for row in rows)
    groups = dict.fromkeys(in_words(row.settings) for row in rows)
    found = {
        (row.backend, in_words(row.settings), row.seed): row.accuracy
        for row in rows
        if row.accuracy is not None
    }
    result = []
    for group in groups:
        seeds = list(dict.fromkeys(row.seed for row in rows if in_words(row.settings) == group))
        for other in others:
            pairs = [(found.get((first, group, s)), found.get((other, group, s))) for s in seeds]
            whole = [(a, b) for a, b in pairs if a is not None and b is not None]
            a, b = np.array(whole, np.float64).reshape(-1, 2).T
            result.append(
                compare(
                    *(a, b),
                    names=(first, other),
                    margin=margin,
                    paired=True,
                    group=group,
                    missing=len(pairs) - len(whole),
                    of=len(groups) * len(others),
                )
            )
    return decide(result)
