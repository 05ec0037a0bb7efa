"""Find errors of an update that are too small to show in a single weight.

If the learning rate is 1.00001 times too large, each weight is wrong by less than its rounding, but
all of them are wrong in the same direction. So the residual `w' - w'_exact` is fitted to the step,
the weights and the old velocity by weighted least squares. The standard errors of the coefficients
are hundreds of times smaller than a single rounding. The coefficients of a correct update are 0
within a few standard errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from mnist_mlp.parity.steps.arbiter import Expected, adam_cancellation
from mnist_mlp.parity.steps.drift import rms
from mnist_mlp.parity.steps.memory import is_own
from mnist_mlp.parity.steps.moment import Moment, doubles
from mnist_mlp.reference import Array

if TYPE_CHECKING:
    from mnist_mlp.parity.steps.recipe import Recipe

SIGMAS = 8.0
"""A coefficient must be this many standard errors from 0: by chance that happens once in 1e15."""

ROUNDINGS = 4.0
"""It must also differ from 0 by this many `eps`, since a learning rate of 0.01 is rounded too."""

STALLED = 8.0
"""Elements that move by fewer of their own roundings are left out.

Their rounding errors are not random but follow the gradient: a weight that does not move at all has
an error of exactly `lr * g`.
"""

FEWEST = 4
"""Fewer moving elements are not fitted: there are up to three coefficients."""

TINIEST = 1e-45
"""About the smallest float32 above 0. Added to the rounding of an element, so that an element that
is 0 can be divided by it."""


@dataclass(frozen=True)
class Off:
    """A coefficient that is not 0. `size` is its ratio to what chance and rounding explain."""

    value: float
    error: float
    size: float
    text: str


@dataclass(frozen=True)
class Fit:
    """Coefficients by name, with their standard errors."""

    value: Mapping[str, float]
    error: Mapping[str, float]


def fit(residual: Array, columns: Mapping[str, Array], sigma: Array) -> Fit | None:
    """Fit a residual to some columns by weighted least squares; all are flat, of one length.

    `sigma` is the standard deviation of the rounding of each element. Columns of zeros are left
    out. Returns None if no column is left, if columns are almost parallel, or if there are fewer
    elements than columns.
    """
    names = [name for name, column in columns.items() if np.any(column)]
    if not names or len(residual) < len(names):
        return None
    design = np.stack([columns[name] / sigma for name in names], axis=1)
    scale = np.sqrt((design * design).sum(axis=0))
    design = design / scale
    gram = design.T @ design
    # A condition number of 1e8 costs 8 of float64's 16 digits.
    if np.linalg.cond(gram) > 1e8:
        return None
    inverse = np.linalg.inv(gram)
    solution = inverse @ (design.T @ (residual / sigma)) / scale
    errors = np.sqrt(np.diag(inverse)) / scale
    return Fit(
        dict(zip(names, solution.tolist(), strict=True)),
        dict(zip(names, errors.tolist(), strict=True)),
    )


def off_coefficients(
    recipe: Recipe, moment: Moment, exact: Mapping[str, Expected]
) -> dict[str, Off]:
    """For each tensor that has a coefficient too far from 0, the one that is furthest."""
    result: dict[str, Off] = {}
    if moment.step > 1 and is_own(moment):
        # The side's optimizer state was computed from rounded weights (`memory`). These then enter
        # the residual and the columns, so their errors are not independent.
        return result
    slack = relative_slack(recipe, moment)
    weights, after = moment.weights, doubles(moment.now.record.state.weights)
    for name, judged in exact.items():
        w, new = weights[name].ravel(), after[name].ravel()
        move = w - judged.value.ravel()
        moving = np.abs(move) >= STALLED * recipe.eps * np.maximum(np.abs(w), np.abs(new))
        if np.count_nonzero(moving) < FEWEST:
            continue
        sigma = _rounding(w, new, recipe.eps, move)[moving]
        sigma *= np.sqrt(_sharing(w[moving], move[moving]))
        columns = {"step": move[moving], "weight": w[moving]}
        for slot, tensors in moment.slots.items():
            if slot == "velocity":
                columns["velocity"] = tensors[name].ravel()[moving]
        residual = (judged.value.ravel() - new)[moving]
        # Columns may be parallel: at a constant gradient, the old velocity is the step.
        fitted = fit(residual, columns, sigma) or fit(residual, {"step": columns["step"]}, sigma)
        if fitted is None:
            continue
        off = _worst(fitted, columns, slack)
        if off is not None:
            result[name] = off
    return result


def relative_slack(recipe: Recipe, moment: Moment) -> float:
    """The relative error of a learning rate that rounding can explain."""
    optimizer = recipe.spec.optimizer
    slack = ROUNDINGS * recipe.eps
    if optimizer.name == "adam":
        slack *= adam_cancellation(optimizer.beta_1, optimizer.beta_2, moment.step)
    return slack + recipe.step_slack


def _rounding(w: Array, new: Array, eps: float, move: Array) -> Array:
    """Standard deviation of the rounding of a correct update.

    The rounding of the result is uniform within half a unit in the last place, and the step itself
    has two more roundings. The standard deviation of a uniform distribution is its width divided by
    sqrt(12).
    """
    ulp = eps * np.maximum(np.abs(w), np.abs(new))
    return np.sqrt(ulp * ulp + 4 * (eps * move) ** 2) / sqrt(12) + TINIEST


def _sharing(w: Array, move: Array) -> Array:
    """For each element, the number of elements that have the same rounding, including itself.

    Weights with the same exponent that move by the same amount (as sign descent does) are rounded
    by the same amount, so together they count as one independent element.
    """
    sizes = np.abs(move)
    ordered = np.sort(sizes)
    # Grouping costs more than the whole fit, so it is skipped if fewer than a tenth are equal.
    if 10 * np.count_nonzero(ordered[1:] == ordered[:-1]) < len(sizes):
        return np.ones(len(sizes))
    # A complex number holds a pair, so that `np.unique` can group by both.
    pairs = sizes + 1j * np.frexp(w)[1]
    _, group, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    return counts[group]


def _worst(fitted: Fit, columns: Mapping[str, Array], slack: float) -> Off | None:
    found = []
    for name, value in fitted.value.items():
        error = fitted.error[name]
        # Rounding of the learning rate is a share of the step, so it is scaled to each column.
        allowed = slack * rms(columns["step"]) / rms(columns[name])
        size = abs(value) / (SIGMAS * error + allowed)
        if size > 1:
            what = {"step": "step", "weight": "weights", "velocity": "old velocity"}[name]
            text = f"coefficient of the {what} off by {value:.3g} +- {error:.1g}"
            found.append(Off(value=value, error=error, size=size, text=text))
    return max(found, key=lambda off: off.size, default=None)
