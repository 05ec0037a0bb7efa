"""The float64 arbiter: the exact value of each stage of a step, and the size of a rounding.

Each function takes the stage before it *as one side computed it* and returns a pair:

- `value`: the correct result of the stage, in float64;
- `terms`: the sum of the absolute values of all numbers that were added up on the way.

A correct float32 result differs from `value` by a few `eps * terms`. The terms set the scale, and
not the result, because terms may cancel. A logsumexp, a bias gradient or `a * (1 - a)` can then be
hundreds of roundings of its own size away from the exact value, though nothing is wrong (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from mnist_mlp.reference import (
    Array,
    Tensors,
    activate,
    bias_name,
    kernel_name,
    log_softmax,
    sigmoid,
)
from mnist_mlp.spec import activation_parts

TINY = 1e-30
"""Differences below this are ignored: TensorFlow sets denormal numbers to zero on a CPU."""


class Expected(NamedTuple):
    """An exact value, and the sum of the absolute terms it was added up from; of the same shape."""

    value: Array
    terms: Array

    @property
    def is_judged(self) -> bool:
        """Whether a result is compared with this value at all."""
        return not bool(np.isinf(self.terms).all())


NOT_JUDGED = np.inf
"""Terms of an unknown value. They stay infinite in everything that is computed from it."""


def unjudged(value: Array) -> Expected:
    """A value that no result is compared with."""
    return Expected(value, np.full_like(value, NOT_JUDGED))


def eps_of(precision: str) -> float:
    """Distance from 1 to the next larger number: 2^-23 for float32, 2^-52 for float64."""
    return float(np.finfo(precision).eps)


def units(got: Array, judged: Expected, *, eps: float) -> Array:
    """Distance from the exact value in roundings (`eps * terms`); infinite for NaN and infinity."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(got - judged.value)
        result = distance / (eps * judged.terms + TINY)
    return np.where(np.isfinite(distance), result, np.inf)


def keep_bits(tensor: Array, mantissa: int, cut: Callable[[Array], Array] = np.round) -> Array:
    """Round to this many mantissa bits, without the leading one; by default ties go to even."""
    fraction, exponent = np.frexp(np.asarray(tensor, np.float64))
    step = 2.0 ** (mantissa + 1)
    return np.ldexp(cut(fraction * step) / step, exponent)


# --- Forward --------------------------------------------------------------------------------------


def dense(a: Array, kernel: Array, bias: Array) -> Expected:
    """`a @ kernel + bias`."""
    a, kernel, bias = (np.asarray(t, np.float64) for t in (a, kernel, bias))
    return Expected(a @ kernel + bias, np.abs(a) @ np.abs(kernel) + np.abs(bias))


def activation(name: str, z: Array) -> Expected:
    """A hidden activation at `z`. The term `|z * slope|` is for the rounding of `z` itself."""
    z = np.asarray(z, np.float64)
    a, slope = activate(name, z)
    return Expected(a, np.abs(a) + np.abs(z * slope) + _added_up(name, z))


def _added_up(name: str, z: Array) -> Array:
    """Terms that cancel inside an activation, and are therefore larger than its result."""
    kind, _ = activation_parts(name)
    if kind in ("elu", "selu"):
        # Some frameworks compute exp(z) - 1. SELU multiplies it by scale * alpha = 1.76, ELU by 1.
        return np.where(z < 0, 1.8 * (np.exp(np.minimum(z, 0)) + 1), 0)
    if kind == "gelu":
        return np.abs(z)  # z * (1 + erf(..)) / 2, where the sum is nearly 0 for negative z
    if kind == "softplus":
        return np.exp(-np.abs(z))  # the rounding of exp(-|z|) in log(1 + exp(-|z|))
    return np.zeros_like(z)


@dataclass(frozen=True)
class OtherActivation:
    """An activation that no specification can name, for hypotheses: function and derivative."""

    name: str
    function: Callable[[Array], Array]
    derivative: Callable[[Array], Array]

    def judged(self, z: Array) -> Expected:
        """As `activation`."""
        z = np.asarray(z, np.float64)
        a = self.function(z)
        # How the side computes the function is not known, so numbers of the size of z and of 1 may
        # cancel in it.
        return Expected(a, np.abs(a) + np.abs(z * self.derivative(z)) + np.abs(z) + 1)

    def slope(self, z: Array) -> Expected:
        """As `slope`."""
        s = self.derivative(np.asarray(z, np.float64))
        return Expected(s, np.abs(s) + 1)


def slope(name: str, z: Array, a: Array) -> Expected:
    """The derivative of an activation, for sides that compute it from `z` or from `a`."""
    z, a = np.asarray(z, np.float64), np.asarray(a, np.float64)
    _, s = activate(name, z)
    kind, _ = activation_parts(name)
    if kind == "sigmoid":
        terms = a * (1 + a)  # a * (1 - a)
    elif kind == "tanh":
        terms = 1 + a * a  # 1 - a * a
    elif kind in ("elu", "selu"):
        terms = np.abs(a) + 1.8  # a + alpha, for SELU times its scale
    elif kind == "gelu":
        # A rounding of z * z is magnified by its size when exp is taken.
        terms = 1 + np.abs(z) * (1 + z * z) * np.exp(-0.5 * z * z)
    elif kind == "silu":
        terms = sigmoid(z) * (1 + np.abs(z) * (1 + sigmoid(z))) + np.abs(s)
    elif kind == "softplus":
        terms = np.abs(s) * (1 + np.abs(z))
    else:
        terms = np.abs(s)
    return Expected(s, terms)


# --- Loss -----------------------------------------------------------------------------------------


def mean_cross_entropy(logits: Array, labels: Array) -> Expected:
    """Mean categorical cross-entropy over the batch, a scalar."""
    z = np.asarray(logits, np.float64)
    rows = np.arange(len(labels))
    largest = z.max(axis=1)
    losses = -log_softmax(z)[rows, labels]
    shifted = z - largest[:, None]
    logsum = np.log(np.exp(shifted).sum(axis=1))
    terms = np.abs(largest) + np.abs(z[rows, labels]) + np.abs(logsum) + np.abs(losses) + 1
    return Expected(np.asarray(losses.mean()), np.asarray(terms.mean()))


def logit_gradient(logits: Array, labels: Array) -> Expected:
    """Gradient of the mean cross-entropy for the logits, `(softmax - one_hot) / n`."""
    z = np.asarray(logits, np.float64)
    n = len(labels)
    log_p = log_softmax(z)
    p = np.exp(log_p)
    one_hot = np.zeros_like(p)
    one_hot[np.arange(n), labels] = 1
    # exp magnifies a rounding of its argument by the size of that argument, which is the logit
    # after the shift or, for sides that compute exp(log_softmax), log p.
    shift = np.abs(z - z.max(axis=1, keepdims=True))
    return Expected((p - one_hot) / n, (p * (2 + shift + np.abs(log_p)) + one_hot) / n)


# --- Gradient -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ForwardValues:
    """The forward values of one side: `x`, every `z` and every hidden `a`, in its precision."""

    inputs: Array
    pre_activations: Sequence[Array]
    activations: Sequence[Array]


def gradients(
    weights: Tensors,
    activations: Sequence[str | OtherActivation],
    passed: ForwardValues,
    at_logits: Expected,
) -> dict[str, Expected]:
    """The gradient of every tensor, from the forward values of a side and the logits' gradient."""
    result: dict[str, Expected] = {}
    dz = at_logits
    for layer in reversed(range(len(activations))):
        below = passed.activations[layer - 1] if layer else passed.inputs
        result[kernel_name(layer)] = Expected(
            below.T @ dz.value, np.abs(below).T @ np.maximum(dz.terms, np.abs(dz.value))
        )
        result[bias_name(layer)] = Expected(dz.value.sum(axis=0), dz.terms.sum(axis=0))
        if layer:
            kernel = weights[kernel_name(layer)]
            da = Expected(dz.value @ kernel.T, dz.terms @ np.abs(kernel).T)
            name, z = activations[layer - 1], passed.pre_activations[layer - 1]
            s = slope(name, z, below) if isinstance(name, str) else name.slope(z)
            dz = Expected(da.value * s.value, da.terms * np.maximum(s.terms, np.abs(s.value)))
    return result


# --- Update ---------------------------------------------------------------------------------------


def adam_cancellation(beta_1: float, beta_2: float, step: int) -> float:
    """Factor by which Adam's bias corrections `1 - beta^t` magnify a rounding of `beta`.

    A relative rounding of `beta` is `t` times as large in `beta^t`, and is then divided by
    `1 - beta^t`, which is small at first. The second correction counts half, since it is under a
    square root.
    """

    def magnified(beta: float) -> float:
        return (1 + step * beta**step) / (1 - beta**step)

    return magnified(beta_1) + 0.5 * magnified(beta_2)


def update_terms(
    optimizer: Any,
    *,
    weights: Tensors,
    slots: Mapping[str, Tensors],
    new_slots: Mapping[str, Tensors],
    gradient: Tensors,
    step: int,
) -> dict[str, Array]:
    """The absolute terms of each new weight under the rule of `reference.update`."""
    rate = abs(optimizer.rate_at(step))
    terms = {}
    for name, w in weights.items():
        d = np.abs(gradient[name]) + optimizer.weight_decay * np.abs(w)
        if optimizer.name == "adam":
            b1, b2 = optimizer.beta_1, optimizer.beta_2
            m = b1 * np.abs(slots["first_moment"][name]) + (1 - b1) * d
            corrected = rate * sqrt(1 - b2**step) / (1 - b1**step)
            scale = np.sqrt(new_slots["second_moment"][name]) + optimizer.epsilon
            moved = corrected * m / scale
            terms[name] = np.abs(w) + moved * (2 + adam_cancellation(b1, b2, step))
        elif optimizer.momentum:
            v = optimizer.momentum * np.abs(slots["velocity"][name]) + d
            terms[name] = np.abs(w) + rate * (d + (1 + optimizer.momentum) * v)
        else:
            terms[name] = np.abs(w) + rate * d
    return terms
