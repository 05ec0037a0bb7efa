"""Known initialisers, and which of them drawn tensors came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from mnist_mlp.reference import Array

ALPHA = 1e-9
"""Significance level: the chance, for each tensor, that a right draw is called a wrong one.

A check makes several of these tests and must practically never give a false alarm. The draws of
many instances are pooled, so wrong distributions are found even at this level.

"""

Shape = tuple[int, int]


@dataclass(frozen=True)
class Initialiser:
    """A distribution whose scale depends on the shape of the kernel.

    `kind` says what `scale` is: `uniform`: the bound; `normal`: the standard deviation;
    `truncated`: the standard deviation of the result, which is cut at two deviations of the normal
    distribution before the cut; `constant`: the value.
    """

    cause: str
    text: str
    kind: str
    scale: Callable[[Shape], float]


TRUNCATED = 0.87962566103423978
"""Standard deviation of a unit normal distribution cut at +-2. Keras divides by it, so that a
truncated initialiser has the deviation that its formula says."""

KERNELS = (
    Initialiser("glorot_uniform", "Glorot uniform", "uniform", lambda s: sqrt(6 / (s[0] + s[1]))),
    Initialiser(
        "torch_default_kernel_init",
        "uniform within 1/sqrt(inputs), torch's Linear",
        "uniform",
        lambda s: 1 / sqrt(s[0]),
    ),
    Initialiser("he_uniform", "He uniform", "uniform", lambda s: sqrt(6 / s[0])),
    Initialiser("lecun_uniform", "LeCun uniform", "uniform", lambda s: sqrt(3 / s[0])),
    Initialiser("random_uniform", "uniform within 0.05", "uniform", lambda s: 0.05),
    Initialiser("unit_uniform", "uniform within 1", "uniform", lambda s: 1.0),
    Initialiser(
        "glorot_normal", "Glorot normal (torch)", "normal", lambda s: sqrt(2 / (s[0] + s[1]))
    ),
    Initialiser(
        "glorot_normal", "Glorot normal, truncated", "truncated", lambda s: sqrt(2 / (s[0] + s[1]))
    ),
    Initialiser("he_normal", "He normal (torch)", "normal", lambda s: sqrt(2 / s[0])),
    Initialiser("he_normal", "He normal, truncated", "truncated", lambda s: sqrt(2 / s[0])),
    Initialiser("lecun_normal", "LeCun normal", "normal", lambda s: sqrt(1 / s[0])),
    Initialiser("lecun_normal", "LeCun normal, truncated", "truncated", lambda s: sqrt(1 / s[0])),
    Initialiser("random_normal", "normal, deviation 0.05", "normal", lambda s: 0.05),
    Initialiser("random_normal", "normal, deviation 0.01", "normal", lambda s: 0.01),
    Initialiser("random_normal", "normal, deviation 0.02", "normal", lambda s: 0.02),
    Initialiser("unit_normal", "normal, deviation 1", "normal", lambda s: 1.0),
    Initialiser("zeros", "all zero", "constant", lambda s: 0.0),
    Initialiser("ones", "all one", "constant", lambda s: 1.0),
)

BIASES = (
    Initialiser("zeros", "all zero", "constant", lambda s: 0.0),
    Initialiser(
        "torch_default_bias_init",
        "uniform within 1/sqrt(inputs), torch's Linear",
        "uniform",
        lambda s: 1 / sqrt(s[0]),
    ),
    Initialiser("bias_ones", "all one", "constant", lambda s: 1.0),
    Initialiser("bias_random_normal", "normal, deviation 0.05", "normal", lambda s: 0.05),
    Initialiser("bias_random_uniform", "uniform within 0.05", "uniform", lambda s: 0.05),
)


def follows(values: Array, initialiser: Initialiser, shape: Shape) -> bool:
    """Whether an initialiser can have drawn the values.

    Tests the range, and the distribution by a Kolmogorov-Smirnov test at level `ALPHA`.
    """
    scale = initialiser.scale(shape)
    values = np.asarray(values, np.float64)
    if initialiser.kind == "constant":
        return bool((values == scale).all())
    if np.ptp(values) == 0:
        return False
    x = np.sort(values) / scale
    if initialiser.kind == "uniform":
        widest = float(np.abs(x).max())
        if widest > 1 + 1e-6 or is_narrower(widest, len(x)):
            return False
        expected = (x + 1) / 2
    else:
        from scipy.special import ndtr

        if initialiser.kind == "normal":
            expected = ndtr(x)
        else:
            if np.abs(x).max() * TRUNCATED > 2 + 1e-6:
                return False
            tail = ndtr(-2.0)
            expected = (ndtr(x * TRUNCATED) - tail) / (1 - 2 * tail)
    # The p-value of a distance d is at most 2 exp(-2 n d^2) (Massart, 1990).
    n = len(x)
    steps = np.arange(n + 1) / n
    distance = max(float((steps[1:] - expected).max()), float((expected - steps[:-1]).max()))
    return distance < sqrt(-0.5 * np.log(ALPHA / 2) / n)


def is_narrower(share: float, n: int) -> bool:
    """Whether `n` uniform values that fill a `share` of a range were surely drawn from less of it.

    All of them lie in that share with a probability of `share ** n`. A few values tell two widths
    apart in this way, where a test of the whole distribution needs thousands.
    """
    return share < 1 and n * np.log(share) < np.log(ALPHA)


def log_likelihood(values: Array, initialiser: Initialiser, shape: Shape) -> float:
    """Log-likelihood of values under an initialiser that they follow.

    A truncated normal distribution counts as an untruncated one: the two have the same cause, so
    they need not be told apart.
    """
    scale, n = initialiser.scale(shape), len(values)
    if initialiser.kind == "constant":
        return float("inf")
    if initialiser.kind == "uniform":
        return -n * float(np.log(2 * scale))
    square = float((np.asarray(values, np.float64) ** 2).sum())
    return -n * float(np.log(scale * sqrt(2 * np.pi))) - square / (2 * scale**2)


CLEARLY = 7.0
"""How much the best initialiser's log-likelihood must exceed the next one's: odds of 1000 to 1."""


def named(drawn: Sequence[tuple[Array, Shape]], part: str) -> Initialiser | None:
    """The known initialiser that drew all tensors, if one is clearly the likeliest.

    `drawn` holds the values and the kernel's shape of each tensor. All tensors are judged together,
    since two deviations can't be told apart by a small last layer alone.
    """

    fitting = [
        (sum(log_likelihood(values, initialiser, shape) for values, shape in drawn), initialiser)
        for initialiser in (KERNELS if part == "kernel" else BIASES)
        if all(follows(values, initialiser, shape) for values, shape in drawn)
    ]
    fitting.sort(key=lambda pair: pair[0], reverse=True)
    if not fitting:
        return None
    others = [value for value, other in fitting[1:] if other.cause != fitting[0][1].cause]
    if others and fitting[0][0] - others[0] < CLEARLY:
        return None
    return fitting[0][1]
