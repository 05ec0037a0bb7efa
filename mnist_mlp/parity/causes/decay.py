"""A multiple of the weights in an update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mnist_mlp.parity.causes import rules
from mnist_mlp.parity.causes.hypothesis import Hypothesis
from mnist_mlp.parity.coefficients import Fit, fit
from mnist_mlp.parity.evidence import Cause
from mnist_mlp.parity.moment import Moment
from mnist_mlp.parity.recipe import Recipe

SCOPES = (("all tensors", ""), ("kernels only", "kernel"), ("biases only", "bias"))

COMMON = (0.1, 0.05, 0.01, 5e-3, 1e-3, 5e-4, 1e-4, 5e-5, 1e-5, 1e-6)
"""Adam divides a coupled decay away again, so it is tried instead of fitted."""


def hypotheses(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """Coupled and decoupled; they are told apart by the velocity or the moments they leave."""
    optimizer = recipe.spec.optimizer
    for scope, part in SCOPES:
        factor = _factor(recipe, here, part)
        coupled = COMMON if optimizer.name == "adam" else (factor,)
        for decay in coupled:
            if decay is not None:
                rule = rules.decayed(recipe.update, decay, scope=part)
                cause = Cause("weight_decay", f"{decay:.3g} on {scope}")
                yield Hypothesis(cause, replace(recipe, update=rule))
        if factor is not None and (optimizer.momentum or optimizer.name == "adam"):
            rule = rules.decayed_beside(recipe.update, factor, scope=part)
            cause = Cause("decoupled_weight_decay", f"{factor:.3g} on {scope}")
            yield Hypothesis(cause, replace(recipe, update=rule))
    for scope, part in SCOPES:
        shrunk = _shrinkage(recipe, here, part)
        if shrunk is not None:
            cause = Cause("weight_decay", f"{shrunk:.6g} times the weights, {scope}, after a step")
            yield Hypothesis(
                cause, replace(recipe, update=rules.scaled(recipe.update, shrunk, part))
            )


def _shrinkage(recipe: Recipe, here: Moment, part: str) -> float | None:
    """What new weights are multiplied by, all with the same number."""
    top = bottom = 0.0
    for name, judged in recipe.updated(here).weights.items():
        if name.endswith(part):
            new = np.asarray(here.now.record.state.weights[name], np.float64)
            top += float((new * judged.value).sum())
            bottom += float((judged.value**2).sum())
    factor = top / bottom if bottom else 0.0
    if not 0.5 < factor < 2 or abs(factor - 1) < 1e-6:
        return None
    nice = float(f"{factor:.4g}")
    if abs(nice - factor) < 1e-6:  # as the side's own arithmetic has that number
        return float(np.asarray(nice, recipe.spec.training.precision))
    return factor


def _factor(recipe: Recipe, here: Moment, part: str) -> float | None:
    rate = recipe.spec.optimizer.rate_at(here.step)
    residuals, columns, sigmas = [], [], []
    for name, judged in recipe.updated(here).weights.items():
        if not name.endswith(part):
            continue
        w = here.weights[name].ravel()
        new = np.asarray(here.now.record.state.weights[name], np.float64).ravel()
        residuals.append(judged.value.ravel() - new)
        columns.append(rate * w)
        sigmas.append(recipe.eps * (np.abs(w) + np.abs(w - new)) + 1e-45)
    fitted = fit(
        np.concatenate(residuals), {"weight": np.concatenate(columns)}, np.concatenate(sigmas)
    )
    return None if fitted is None else _rounded(fitted)


def _rounded(fitted: Fit) -> float | None:
    """A factor of two digits where it is one within its error; None where there is none."""
    factor, error = fitted.value["weight"], fitted.error["weight"]
    if abs(factor) < 8 * error:
        return None
    nice = float(f"{factor:.2g}")
    return nice if abs(factor - nice) < max(1e-3 * abs(nice), 4 * error) else factor
