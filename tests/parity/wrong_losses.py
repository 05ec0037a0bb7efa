"""Losses that are not the mean cross-entropy, with their gradients, in float64.

Written from rows of losses; the derivative is taken by a complex step, so no rule is derived twice.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.reference import Array

Rows = Callable[[NDArray[np.complex128], Array], NDArray[np.complex128]]
"""Loss of each row from logits (n, classes) and one-hot labels (n, classes)."""


def one_hot(labels: Array, classes: int) -> Array:
    """Float (n, classes)."""
    return np.eye(classes)[labels]


def probabilities(z: Array) -> Array:
    """Softmax over the classes."""
    e = np.exp(z - z.real.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(z: Array, y: Array) -> Array:
    """`logsumexp(z) - z[label]`."""
    top = z.real.max(axis=1)
    return top + np.log(np.exp(z - top[:, None]).sum(axis=1)) - (z * y).sum(axis=1)


def mean_of(rows: Rows) -> Callable[[Array, Array], tuple[float, Array]]:
    """The mean of row losses over the batch."""
    return times(rows, lambda n: 1 / n)


def sum_of(rows: Rows) -> Callable[[Array, Array], tuple[float, Array]]:
    """The sum of row losses over the batch."""
    return times(rows, lambda n: 1.0)


def times(
    rows: Rows, factor: Callable[[int], float]
) -> Callable[[Array, Array], tuple[float, Array]]:
    """Row losses summed, times a factor that may depend on their number."""

    def loss(z: Array, labels: Array) -> tuple[float, Array]:
        y, by = one_hot(labels, z.shape[1]), factor(len(z))
        with np.errstate(all="ignore"):
            gradient = np.empty_like(z)
            for column in range(z.shape[1]):
                moved = z.astype(complex)
                moved[:, column] += 1e-30j
                gradient[:, column] = rows(moved, y).imag * 1e30
            return float(rows(z.astype(complex), y).real.sum() * by), gradient * by

    return loss


def by_class(weights: Array, *, divide_by_sum: bool) -> Callable[..., tuple[float, Array]]:
    """Rows weighted by their class; divided by the batch size, or by the weights' sum."""

    def loss(z: Array, labels: Array) -> tuple[float, Array]:
        w = weights[labels]
        below = w.sum() if divide_by_sum else len(z)
        y = one_hot(labels, z.shape[1])
        dz = (probabilities(z) - y) * w[:, None] / below
        return float((w * cross_entropy(z, y)).sum() / below), dz

    return loss


def over_the_batch(z: Array, labels: Array) -> tuple[float, Array]:
    """Softmax down the columns, `dim=0`."""
    y, p = one_hot(labels, z.shape[1]), probabilities(z.T).T
    loss = -(y * np.log(p)).sum() / len(z)
    return float(loss), (p * y.sum(axis=0) - y) / len(z)


def clipped_at(low: float) -> Rows:
    """Log of probabilities that are clipped to [low, 1 - low]; no derivative outside."""

    def rows(z: Array, y: Array) -> Array:
        p = probabilities(z)
        p = np.where(p.real < low, low, np.where(p.real > 1 - low, 1 - low, p))
        return -(y * np.log(p)).sum(axis=1)

    return rows


def smoothed(amount: float) -> Rows:
    """Labels moved towards the uniform distribution."""
    return lambda z, y: (
        cross_entropy(z, np.zeros_like(z))
        + ((z * (-y * (1 - amount) - amount / y.shape[1])).sum(axis=1))
    )


def binary(z: Array, y: Array) -> Array:
    """One sigmoid and binary cross-entropy for each class, their mean."""
    return (np.log(1 + np.exp(z)) - z * y).mean(axis=1)
