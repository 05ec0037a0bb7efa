"""The shared evaluator: makes the report and the figures of a run from its results.

All backends use this one evaluator. `evaluate` is a pure function: the same evidence gives the same
bytes in every process. No text and no figure contains anything that differs between backends, such
as a name, a date, a path or a version. Continuous values are rounded before they are sorted or set
a scale, so that the last digits of a float do not change a picture visibly.

    files = evaluate(evidence)      # {"report.txt": b"...", "figures/curves.svg": b"...", ...}

Importing this package loads only NumPy. The first call loads scikit-learn and Matplotlib.
"""

from __future__ import annotations

from mnist_mlp.evaluate.evidence import Evidence, EvidenceError, History
from mnist_mlp.evaluate.measures import accuracy, confusion_matrix, loss, predictions

__all__ = [
    "Evidence",
    "EvidenceError",
    "History",
    "accuracy",
    "confusion_matrix",
    "evaluate",
    "loss",
    "predictions",
]


def evaluate(evidence: Evidence, *, figures: bool = True) -> dict[str, bytes]:
    """Make the report of one run and, unless told not to, its figures.

    Returns
    -------
    dict
        Content by file name relative to the run folder: `report.txt`, `report.json` and
        `figures/NAME.svg`, `figures/NAME.png` for curves (left out when there is no history),
        confusion, mistakes and weights.
    """
    from mnist_mlp.evaluate.report import report_json, report_text

    drawn = {}
    if figures:
        from mnist_mlp.evaluate.figures import figure_files

        drawn = figure_files(evidence)
    return {
        "report.txt": report_text(evidence).encode(),
        "report.json": report_json(evidence).encode(),
        **drawn,
    }
