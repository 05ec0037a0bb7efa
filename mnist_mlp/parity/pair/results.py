"""What two whole networks give: scores on one side may be probabilities on the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mnist_mlp.parity.pair.arrange import laid_like
from mnist_mlp.reference import Array


def results_apart(got: Array | None, expected: Array | None) -> float | None:
    """The relative difference of two networks' results (n, ...), or of what they stand for.

    None if one is not known, or has another shape.
    """
    if got is None or expected is None or not expected.size:
        return None
    laid = laid_like(got, expected)
    if laid is None:
        return None
    sizes = [
        float(np.abs(x - y).max()) / (float(np.abs(y).max()) or 1.0)
        for x, y in _meanings(laid, expected)
    ]
    return min((size for size in sizes if np.isfinite(size)), default=None)


def _meanings(got: Array, expected: Array) -> Iterator[tuple[Array, Array]]:
    """Both as they are, and with the scores of either side as the probabilities of the other."""
    from scipy.special import expit, log_softmax, softmax

    yield got, expected
    yield expit(got), expected
    yield got, expit(expected)
    if expected.ndim < 2 or expected.shape[-1] < 2:
        return
    for meaning in (softmax, log_softmax):
        yield meaning(got, axis=-1), expected
        yield got, meaning(expected, axis=-1)
    yield log_softmax(got, axis=-1), log_softmax(expected, axis=-1)
