"""Measures computed from logits, with NumPy alone.

All arithmetic is float64, whatever the run's precision, so that measures add no visible rounding to
a comparison. The loss is not computed from probabilities: a probability that underflows to 0 (at a
gap of 750 between logits) would turn a finite loss into infinity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.reference import log_softmax, sample_losses

Integers = NDArray[np.integer[Any]]
Logits = NDArray[np.floating[Any]]

# Probabilities are compared as they are shown: as percent with one decimal. So two runs whose
# probabilities differ only by rounding list their mistakes in the same order.
PROBABILITY_DECIMALS = 3


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Wrongly classified rows, the most confident first.

    `rows` int64 (k,) are positions in the test set, `predicted` int64 (k,) the predicted classes.
    `probability` float64 (k,) is that of the predicted class, rounded to `PROBABILITY_DECIMALS`.
    """

    rows: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]


def predictions(logits: Logits) -> NDArray[np.int64]:
    """The class of the largest logit; of several equal ones, the lowest class: int64 (n,).

    >>> predictions(np.array([[0.1, 0.7, 0.7]])).tolist()
    [1]
    """
    classes: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
    return classes


def accuracy(logits: Logits, y_true: Integers) -> float:
    """Share of rows whose largest logit (n, classes) is that of the true class (n,): 0 to 1.

    >>> accuracy(np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([0, 1]))
    0.5
    """
    return float(np.mean(predictions(logits) == y_true))


def loss(logits: Logits, y_true: Integers) -> float:
    """Mean categorical cross-entropy, in nats, of logits (n, classes) for true classes (n,)."""
    return float(np.mean(sample_losses(logits.astype(np.float64), y_true)))


def confusion_matrix(y_true: Integers, y_pred: Integers, *, classes: int) -> NDArray[np.int64]:
    """Counts int64 (classes, classes): row is the true class, column the predicted one.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = y_true.astype(np.int64) * classes + y_pred
    counts = np.bincount(cells, minlength=classes * classes).astype(np.int64)
    return counts.reshape(classes, classes)


def mistakes(logits: Logits, y_true: Integers, ids: Integers) -> Mistakes:
    """Wrongly classified rows, sorted by falling rounded probability, then by rising id (n,)."""
    y_pred = predictions(logits)
    rows = np.flatnonzero(y_pred != y_true)
    top = np.exp(log_softmax(logits[rows].astype(np.float64))[np.arange(len(rows)), y_pred[rows]])
    probability: NDArray[np.float64] = top.round(PROBABILITY_DECIMALS)
    order = np.lexsort((ids[rows], -probability))
    rows = rows[order]
    return Mistakes(rows=rows, predicted=y_pred[rows], probability=probability[order])
