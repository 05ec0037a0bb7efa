"""The report and the numbers behind it, against values computed by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_mlp.errors import EXIT_DATA
from mnist_mlp.evaluate import (
    Evidence,
    EvidenceError,
    History,
    accuracy,
    confusion_matrix,
    loss,
    predictions,
)
from mnist_mlp.evaluate.measures import mistakes
from mnist_mlp.evaluate.report import report_json, report_text

ROOT = Path(__file__).resolve().parents[1]
Y_TRUE = np.array([0, 0, 0, 1, 1, 2], dtype=np.uint8)
Y_PRED = np.array([0, 1, 1, 1, 0, 2])
IDS = np.array([60, 50, 40, 30, 20, 10])
WRONG = [1, 2, 4]


def evidence(**changes: Any) -> Evidence:
    """Six rows of three classes, three of them wrong, 2 x 2 images, two units, one epoch."""
    values: dict[str, Any] = {
        "y_true": Y_TRUE,
        "logits": 5 * np.eye(3, dtype=np.float32)[Y_PRED],
        "ids": IDS,
        "classes": 3,
        "first_kernel": np.ones((4, 2), dtype=np.float32),
        "image_shape": (2, 2),
        "example_ids": IDS[WRONG],
        "example_images": np.zeros((3, 2, 2), dtype=np.uint8),
        "history": History(loss=[1.0], accuracy=[0.5], val_loss=[0.9], val_accuracy=[0.5]),
    }
    return Evidence(**{**values, **changes})


def test_confusion_matrix_has_a_row_per_true_class() -> None:
    counts = confusion_matrix(Y_TRUE, Y_PRED, classes=3)
    assert counts.tolist() == [[1, 2, 0], [1, 1, 0], [0, 0, 1]]


def test_confusion_matrix_of_uint8_labels_does_not_overflow() -> None:
    y_true = np.array([46], dtype=np.uint8)
    assert confusion_matrix(y_true, np.array([45]), classes=47)[46, 45] == 1


def test_accuracy_and_loss_by_hand() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    y_true = np.array([0, 1])
    assert accuracy(logits, y_true) == 0.5
    assert loss(logits, y_true) == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2, rel=1e-14)
    assert loss(logits + 1000.0, y_true) == pytest.approx(loss(logits, y_true), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_of_a_hopeless_row_is_its_gap(dtype: type[np.floating[Any]]) -> None:
    # A probability of exp(-10000) is 0 in float64: a loss from probabilities would be infinite.
    logits = np.array([[1e4, 0.0]], dtype=dtype)
    assert loss(logits, np.array([1])) == 1e4
    assert loss(logits, np.array([0])) == 0.0


def test_loss_of_float32_logits_is_computed_in_float64() -> None:
    logits = np.random.default_rng(0).normal(size=(1000, 10)).astype(np.float32)
    y_true = np.arange(1000) % 10
    assert loss(logits, y_true) == loss(logits.astype(np.float64), y_true)


def test_the_lowest_class_wins_a_tie() -> None:
    assert predictions(np.array([[0.0, 2.0, 2.0]])).tolist() == [1]


def test_mistakes_are_sorted_by_confidence_then_by_id() -> None:
    # Rows 1 and 2 differ by far less than a shown digit: their ids decide, not their rounding.
    p = np.array([[0.9, 0.1], [0.300000001, 0.699999999], [0.3, 0.7], [0.2, 0.8]])
    y_true = np.array([0, 0, 0, 0])
    found = mistakes(np.log(p), y_true, np.array([1, 2, 3, 4]))
    assert found.rows.tolist() == [3, 1, 2]
    assert found.predicted.tolist() == [1, 1, 1]
    assert found.probability.tolist() == [0.8, 0.7, 0.7]
    assert mistakes(np.log(p), y_true, np.array([1, 3, 2, 4])).rows.tolist() == [3, 2, 1]


def test_report_text_by_hand() -> None:
    # Class 0: 1 of 2 predictions right, 1 of 3 rows found; class 1: 1 of 3 and 1 of 2.
    lines = [line.split() for line in report_text(evidence()).splitlines() if line]
    assert lines == [
        ["precision", "recall", "f1-score", "support"],
        ["0", "0.5000", "0.3333", "0.4000", "3"],
        ["1", "0.3333", "0.5000", "0.4000", "2"],
        ["2", "1.0000", "1.0000", "1.0000", "1"],
        ["accuracy", "0.5000", "6"],
        ["macro", "avg", "0.6111", "0.6111", "0.6000", "6"],
        ["weighted", "avg", "0.5278", "0.5000", "0.5000", "6"],
    ]


def test_report_json_by_hand() -> None:
    content = json.loads(report_json(evidence()))
    assert "heading" not in content
    assert (content["n"], content["classes"], content["accuracy"]) == (6, 3, 0.5)
    assert content["confusion_matrix"] == [[1, 2, 0], [1, 1, 0], [0, 0, 1]]
    report = content["classification_report"]
    assert report["1"] == {"precision": 1 / 3, "recall": 0.5, "f1-score": 0.4, "support": 2.0}
    assert report["accuracy"] == 0.5


def test_heading_stands_above_the_report_and_only_there() -> None:
    plain, headed = (evidence(heading=h) for h in (None, "embedded digits, not MNIST"))
    assert report_text(headed) == "embedded digits, not MNIST\n\n" + report_text(plain)
    content = json.loads(report_json(headed))
    assert content.pop("heading") == "embedded digits, not MNIST"
    assert content == json.loads(report_json(plain))


def test_a_class_without_rows_or_predictions_counts_zero_without_a_warning() -> None:
    y_true = np.array([0, 0, 3], dtype=np.uint8)
    logits = np.eye(5)[[0, 0, 1]]  # class 1 never true, 2 and 4 neither, 3 never predicted
    given = evidence(
        y_true=y_true,
        logits=logits,
        ids=IDS[:3],
        classes=5,
        example_ids=IDS[2:3],
        example_images=np.zeros((1, 2, 2), dtype=np.uint8),
    )
    lines = {line.split()[0]: line.split()[1:] for line in report_text(given).splitlines() if line}
    assert lines["2"] == ["0.0000", "0.0000", "0.0000", "0"]
    assert lines["3"] == ["0.0000", "0.0000", "0.0000", "1"]
    assert lines["accuracy"] == ["0.6667", "3"]
    assert "NaN" not in report_json(given)


NAN_LOGITS = np.full((6, 3), np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_true": Y_TRUE[:5]}, r"logits: float32 \(6, 3\), expected floating \(5, 3\)"),
        ({"y_true": Y_TRUE + 1}, "y_true: classes from 1 to 3, expected 0 to 2"),
        ({"y_true": Y_TRUE.astype(float)}, "y_true: float64"),
        ({"y_true": Y_TRUE[:0]}, "no test rows"),
        ({"logits": NAN_LOGITS}, "logits: 18 values are NaN or infinite"),
        ({"classes": 4}, r"expected floating \(6, 4\)"),
        ({"classes": 1}, "at least 2"),
        ({"ids": IDS[:, None]}, r"ids: int64 \(6, 1\), expected integer \(6,\)"),
        ({"ids": np.zeros(6, dtype=np.int64)}, "ids: a row id appears twice"),
        ({"image_shape": (3, 2)}, r"first_kernel: float32 \(4, 2\), expected floating \(6, 2\)"),
        ({"first_kernel": np.ones((4, 0))}, "no units"),
        ({"example_images": np.zeros((3, 4), dtype=np.uint8)}, r"example_images: uint8 \(3, 4\)"),
        ({"example_images": np.zeros((3, 2, 2))}, "example_images: float64"),
        ({"example_ids": np.array([50, 40, 60])}, "1 of 3 wrongly .* the first is row 20"),
        ({"heading": "two\nlines"}, "one line of text"),
        ({"heading": ""}, "one line of text"),
    ],
)
def test_evidence_that_does_not_fit_together_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(EvidenceError, match=message) as caught:
        evidence(**changes)
    assert caught.value.exit_code == EXIT_DATA


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1.0], [0.5], [1.0], []), "epochs per column differ"),
        (([1.0, math.nan], [0.5] * 2, [1.0] * 2, [0.5] * 2), "loss of epoch 2 is nan"),
        (([1.0], [0.5], [math.inf], [0.5]), "val_loss of epoch 1 is inf"),
        (([-1.0], [0.5], [1.0], [0.5]), "loss of epoch 1 is -1.0"),
        (([1.0], [50.0], [1.0], [0.5]), "accuracy of epoch 1 is 50.0, .* 0 to 1"),
    ],
)
def test_history_that_no_run_can_have_is_refused(columns: Any, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        History(*columns)


def test_importing_the_evaluator_loads_neither_sklearn_nor_matplotlib() -> None:
    program = (
        "import sys, numpy, mnist_mlp.evaluate as e\n"
        "assert e.loss(numpy.zeros((1, 2)), numpy.array([0])) > 0.69\n"
        "print(sorted({'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
