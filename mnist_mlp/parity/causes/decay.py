"""A multiple of the weights in an update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mnist_mlp.parity.causes import rules
from mnist_mlp.parity.causes.hypothesis import Hypothesis
from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.steps.coefficients import fit
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import Recipe

SCOPES = (("all tensors", ""), ("kernels only", "kernel"), ("biases only", "bias"))

COMMON = (0.1, 0.05, 0.01, 5e-3, 1e-3, 5e-4, 1e-4, 5e-5, 1e-5, 1e-6)
"""Adam divides a coupled decay away again, so it is tried instead of fitted."""


def hypotheses(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """Coupled and decoupled; they are told apart by the velocity or the moments they leave."""
    optimizer = recipe.spec.optimizer
    for scope, part in SCOPES:
        fitted = _fitted(recipe, here, part)
        candidates = [] if fitted is None else list(dict.fromkeys((_nice(fitted), fitted.factor)))
        coupled = COMMON if optimizer.name == "adam" else candidates
        for factor in coupled:
            rule = rules.decayed(recipe.update, factor, scope=part)
            yield Hypothesis(_cause(recipe, factor, scope, part), replace(recipe, update=rule))
        if optimizer.momentum or optimizer.name == "adam":
            for factor in candidates:
                rule = rules.decayed_beside(recipe.update, factor, scope=part)
                cause = Cause("decoupled_weight_decay", f"{factor:.3g} on {scope}")
                yield Hypothesis(cause, replace(recipe, update=rule))
    for scope, part in SCOPES:
        shrunk = _shrinkage(recipe, here, part)
        if shrunk is not None:
            cause = Cause("weight_decay", f"{shrunk:.6g} times the weights, {scope}, after a step")
            rule = rules.scaled(recipe.update, shrunk, part)
            yield Hypothesis(cause, replace(recipe, update=rule))


def _cause(recipe: Recipe, factor: float, scope: str, part: str) -> Cause:
    """`factor` comes on top of the specified decay."""
    specified = recipe.spec.optimizer.weight_decay
    if not specified:
        return Cause("weight_decay", f"{factor:.3g} on {scope}")
    if part and abs(factor + specified) < 1e-3 * specified:
        others = "biases only" if part == "kernel" else "kernels only"
        return Cause("weight_decay_scope", others)
    return Cause("weight_decay", f"{specified + factor:.3g} instead of {specified:g} on {scope}")


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


@dataclass(frozen=True)
class DecayFit:
    """A multiple of the weights, and its standard error."""

    factor: float
    error: float


def _fitted(recipe: Recipe, here: Moment, part: str) -> DecayFit | None:
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
    found = fit(
        np.concatenate(residuals), {"weight": np.concatenate(columns)}, np.concatenate(sigmas)
    )
    if found is None or abs(found.value["weight"]) < 8 * found.error["weight"]:
        return None
    return DecayFit(found.value["weight"], found.error["weight"])


def _nice(fitted: DecayFit) -> float:
    """A factor of two digits where it is one within its error."""
    nice = float(f"{fitted.factor:.2g}")
    near = max(1e-3 * abs(nice), 4 * fitted.error)
    return nice if abs(fitted.factor - nice) < near else fitted.factor
