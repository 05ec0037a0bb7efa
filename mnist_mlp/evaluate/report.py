"""The classification report, as text and as JSON. It depends only on the predicted classes."""

from __future__ import annotations

import json
from typing import Any

from mnist_mlp.evaluate.evidence import Evidence
from mnist_mlp.evaluate.measures import accuracy, confusion_matrix, predictions


def report_text(evidence: Evidence) -> str:
    """scikit-learn's classification report with four digits, below the heading if there is one."""
    report: str = _classification_report(evidence, digits=4)
    return report if evidence.heading is None else f"{evidence.heading}\n\n{report}"


def report_json(evidence: Evidence) -> str:
    """The same report with full precision, as JSON with its keys in a fixed order.

    Keys: `heading` (only if there is one), `n` test rows, `classes`, `accuracy` (0 to 1),
    `confusion_matrix` (row is the true class, column the predicted one) and
    `classification_report` (as scikit-learn's `output_dict`).
    """
    y_pred = predictions(evidence.logits)
    heading = {} if evidence.heading is None else {"heading": evidence.heading}
    content = {
        **heading,
        "n": len(evidence.y_true),
        "classes": evidence.classes,
        "accuracy": accuracy(evidence.logits, evidence.y_true),
        "confusion_matrix": confusion_matrix(
            evidence.y_true, y_pred, classes=evidence.classes
        ).tolist(),
        "classification_report": _classification_report(evidence, output_dict=True),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _classification_report(evidence: Evidence, **how: Any) -> Any:
    from sklearn.metrics import classification_report

    labels = range(evidence.classes)
    return classification_report(
        evidence.y_true,
        predictions(evidence.logits),
        labels=list(labels),
        target_names=[str(label) for label in labels],
        zero_division=0,  # a class that is never predicted has precision 0; no warning
        **how,
    )
