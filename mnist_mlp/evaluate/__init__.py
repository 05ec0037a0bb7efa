"""The shared evaluator: from what a run leaves behind to its report and figures.

Every run, whichever backend trained it, is judged by this one program. `evaluate` is a pure
function: the same evidence gives the same bytes in every process, and nothing that could tell two
backends apart (a name, a date, a path, a version) enters a text or a figure. What is continuous is
rounded before it is sorted or sets a scale: a float's last digits change no picture visibly.

    files = evaluate(evidence)      # {"report.txt": b"...", "figures/curves.svg": b"...", ...}

Importing this package costs only NumPy: scikit-learn and Matplotlib are loaded by the first call.
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


def evaluate(evidence: Evidence) -> dict[str, bytes]:
    """Make the report and the figures of one run.

    Returns
    -------
    dict
        Content by file name relative to the run folder: `report.txt`, `report.json` and
        `figures/NAME.svg`, `figures/NAME.png` for curves (left out when there is no history),
        confusion, mistakes and weights.
    """
    from mnist_mlp.evaluate.figures import figure_files
    from mnist_mlp.evaluate.report import report_json, report_text

    return {
        "report.txt": report_text(evidence).encode(),
        "report.json": report_json(evidence).encode(),
        **figure_files(evidence),
    }
