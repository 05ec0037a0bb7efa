"""More than two runs at a glance: verdicts, largest differences and times.

The ladder judges each run against the first one. The differences between the weights are known for
every pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.reference import Tensors
from mnist_mlp.run.folder import Run

GAP = "  "


def largest_difference(a: Tensors, b: Tensors) -> float | None:
    """Largest difference between two weights of the same name; None if the networks differ."""
    if {name: w.shape for name, w in a.items()} != {name: w.shape for name, w in b.items()}:
        return None
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


def matrix(runs: Sequence[Run], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The matrix as JSON values.

    Parameters
    ----------
    runs : sequence of Run
        The first one is the one that all others were compared with.
    outcomes : sequence of Outcome
        One for each of the others.

    Returns
    -------
    dict
        `runs`, the names of the folders; `verdicts` against the first run, null for itself;
        `fit_s`, seconds of training or null; `largest_difference` of the weights, as rows of
        columns, null for other networks.
    """
    return {
        "runs": [run.path.name for run in runs],
        "verdicts": [None, *(outcome.verdict for outcome in outcomes)],
        "fit_s": [run.record.timings.get("fit_s") for run in runs],
        "largest_difference": [
            [largest_difference(a.weights, b.weights) for b in runs] for a in runs
        ],
    }


def as_table(content: dict[str, Any]) -> str:
    """The matrix as text: a line for each run, and the differences from it to every run."""
    names = content["runs"]
    head = ["", f"against {names[0]}", "training", *(f"to {name}" for name in names)]
    lines = [
        [
            name,
            verdict or "",
            "not recorded" if fit_s is None else f"{fit_s:.2f} s",
            *("-" if value is None else f"{value:.1e}" for value in row),
        ]
        for name, verdict, fit_s, row in zip(
            names,
            content["verdicts"],
            content["fit_s"],
            content["largest_difference"],
            strict=True,
        )
    ]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    text = [
        GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *lines)
    ]
    return "\n".join([*text, "", "verdicts, seconds of training, largest difference of weights"])
