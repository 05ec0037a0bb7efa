"""The float64 arbiter: for each stage of a step the exact value, and the size of a rounding.

Each function takes the stage before it *as one side computed it* and answers with a pair:

- `value`: what the stage should have made of it, in float64;
- `terms`: the sum of the absolute values of everything that was added up on the way.

An honest float32 result lies within a few `eps * terms` of `value`. The terms, not the result, set
the scale: a logsumexp, a bias gradient or `a * (1 - a)` cancels, and is then hundreds of roundings
of its own size away from the truth without anything being wrong (Higham, Accuracy and Stability of
Numerical Algorithms, 2nd edition, section 3.1).
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
"""Below this, magnitudes are noise of any kind: TensorFlow flushes denormals to zero on a CPU."""


class Expected(NamedTuple):
    """An exact value and the absolute terms it was summed from, of one shape."""

    value: Array
    terms: Array

    @property
    def is_judged(self) -> bool:
        """Whether there is anything to hold a result against."""
        return not bool(np.isinf(self.terms).all())


NOT_JUDGED = np.inf
"""Terms of a value that says nothing. They stay what they are in all that is computed from it."""


def unjudged(value: Array) -> Expected:
    """A value that no result is held against."""
    return Expected(value, np.full_like(value, NOT_JUDGED))


def eps_of(precision: str) -> float:
    """Distance from 1 to the next number: 2^-23 or 2^-52."""
    return float(np.finfo(precision).eps)


def units(got: Array, judged: Expected, *, eps: float) -> Array:
    """Distance from the exact value in roundings; infinite where the result is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(np.asarray(got, np.float64) - judged.value)
        result = distance / (eps * judged.terms + TINY)
    return np.where(np.isfinite(distance), result, np.inf)


def keep_bits(tensor: Array, mantissa: int, cut: Callable[[Array], Array] = np.round) -> Array:
    """Cut to so many mantissa bits (the leading one not counted): to nearest, ties to even."""
    fraction, exponent = np.frexp(np.asarray(tensor, np.float64))
    step = 2.0 ** (mantissa + 1)
    return np.ldexp(cut(fraction * step) / step, exponent)


# --- Forward --------------------------------------------------------------------------------------


def dense(a: Array, kernel: Array, bias: Array) -> Expected:
    """`a @ kernel + bias`."""
    a, kernel, bias = (np.asarray(t, np.float64) for t in (a, kernel, bias))
    return Expected(a @ kernel + bias, np.abs(a) @ np.abs(kernel) + np.abs(bias))


def activation(name: str, z: Array) -> Expected:
    """A hidden activation at `z`; its argument's own rounding counts, hence `|z * slope|`."""
    z = np.asarray(z, np.float64)
    a, slope = activate(name, z)
    return Expected(a, np.abs(a) + np.abs(z * slope) + _added_up(name, z))


def _added_up(name: str, z: Array) -> Array:
    """What cancels inside an activation, beyond the result itself."""
    kind, _ = activation_parts(name)
    if kind in ("elu", "selu"):
        return np.where(z < 0, 1.8 * (np.exp(np.minimum(z, 0)) + 1), 0)  # exp(z) - 1
    if kind == "gelu":
        return np.abs(z)  # z * (1 + erf(..)) / 2, where the sum is nearly 0 for negative z
    if kind == "softplus":
        return np.exp(-np.abs(z))
    return np.zeros_like(z)


@dataclass(frozen=True)
class OtherActivation:
    """An activation that no specification has, for hypotheses: a function and its derivative."""

    name: str
    function: Callable[[Array], Array]
    derivative: Callable[[Array], Array]

    def judged(self, z: Array) -> Expected:
        """As `activation`."""
        z = np.asarray(z, np.float64)
        a = self.function(z)
        return Expected(a, np.abs(a) + np.abs(z * self.derivative(z)) + np.abs(z) + 1)

    def slope(self, z: Array) -> Expected:
        """As `slope`."""
        s = self.derivative(np.asarray(z, np.float64))
        return Expected(s, np.abs(s) + 1)


def slope(name: str, z: Array, a: Array) -> Expected:
    """An activation's derivative, for a side that has `z` and `a`, whichever it starts from."""
    z, a = np.asarray(z, np.float64), np.asarray(a, np.float64)
    _, s = activate(name, z)
    kind, _ = activation_parts(name)
    if kind == "sigmoid":
        terms = a * (1 + a)
    elif kind == "tanh":
        terms = 1 + a * a
    elif kind in ("elu", "selu"):
        terms = np.abs(a) + 1.8
    elif kind == "gelu":
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
    shift = np.abs(z - z.max(axis=1, keepdims=True))
    return Expected((p - one_hot) / n, (p * (2 + shift + np.abs(log_p)) + one_hot) / n)


# --- Gradient -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ForwardValues:
    """What one side computed going forward: `x`, every `z`, every hidden `a`, in its precision."""

    inputs: Array
    pre_activations: Sequence[Array]
    activations: Sequence[Array]


def gradients(
    weights: Tensors,
    activations: Sequence[str | OtherActivation],
    passed: ForwardValues,
    at_logits: Expected,
) -> dict[str, Expected]:
    """Gradient of every tensor, from one side's forward values and a gradient at the logits."""
    result: dict[str, Expected] = {}
    dz = at_logits
    for layer in reversed(range(len(activations))):
        below = passed.activations[layer - 1] if layer else passed.inputs
        below = np.asarray(below, np.float64)
        result[kernel_name(layer)] = Expected(
            below.T @ dz.value, np.abs(below).T @ np.maximum(dz.terms, np.abs(dz.value))
        )
        result[bias_name(layer)] = Expected(dz.value.sum(axis=0), dz.terms.sum(axis=0))
        if layer:
            kernel = np.asarray(weights[kernel_name(layer)], np.float64)
            da = Expected(dz.value @ kernel.T, dz.terms @ np.abs(kernel).T)
            name, z = activations[layer - 1], passed.pre_activations[layer - 1]
            s = slope(name, z, below) if isinstance(name, str) else name.slope(z)
            dz = Expected(da.value * s.value, da.terms * np.maximum(s.terms, np.abs(s.value)))
    return result


# --- Update ---------------------------------------------------------------------------------------


def adam_cancellation(beta_1: float, beta_2: float, step: int) -> float:
    """How much `1 - beta^t` magnifies a rounding of `beta`, both corrections together.

    A relative rounding of `beta` is `t` times as large in `beta^t`, and is then divided by what is
    left of 1; the second correction is under a root.
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
    """Absolute terms of each new weight under `reference.update`."""
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
