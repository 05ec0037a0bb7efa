"""Weight decay: a multiple of the weights in an update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnist_mlp.parity.causes import rules
from mnist_mlp.parity.causes.hypothesis import Hypothesis
from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.steps.coefficients import SIGMAS, TINIEST, fit
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import Recipe

SCOPES = (("all tensors", ""), ("kernels only", "kernel"), ("biases only", "bias"))
"""The tensors that a decay may act on, in words, and how their names end."""

COMMON = (0.1, 0.05, 0.01, 5e-3, 1e-3, 5e-4, 1e-4, 5e-5, 1e-5, 1e-6)
"""Factors that are tried where none can be fitted: Adam divides by the size of the gradient, and so
also by that of a coupled decay."""


def hypotheses(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """Coupled and decoupled decay. They differ in the velocity or the moments that they leave.

    Without momentum, both are the same update, so only the coupled one is tried.
    """
    optimizer = recipe.spec.optimizer
    for scope, part in SCOPES:
        for factor in candidates_on(recipe, here, part, coupled=True):
            coupled = rules.decayed(recipe.update, factor, scope=part)
            yield Hypothesis(
                _coupled_cause(recipe, factor, scope, part), replace(recipe, update=coupled)
            )
        if optimizer.momentum or optimizer.name == "adam":
            for factor in candidates_on(recipe, here, part, coupled=False):
                decoupled = rules.DecoupledDecay(recipe.update, factor, part)
                cause = _decoupled_cause(recipe, factor, scope, part)
                yield Hypothesis(cause, replace(recipe, update=decoupled))
    for scope, part in SCOPES:
        shrunk = _shrinkage(recipe, here, part)
        if shrunk is not None:
            cause = Cause("weight_decay", f"{shrunk:.6g} times the weights, {scope}, after a step")
            rule = rules.scaled(recipe.update, shrunk, part)
            yield Hypothesis(cause, replace(recipe, update=rule))


def candidates_on(recipe: Recipe, here: Moment, part: str, *, coupled: bool) -> Sequence[float]:
    """Possible factors of a decay on the tensors whose name ends with `part`, a round one first.

    A coupled decay passes through the update rule. Nesterov's multiplies it by `1 + momentum`, so
    the fitted factor is divided by that.
    """
    optimizer = recipe.spec.optimizer
    if coupled and optimizer.name == "adam":
        return COMMON
    fitted = _fitted(recipe, here, part)
    if fitted is None:
        return []
    if coupled and optimizer.nesterov:
        through = 1 + optimizer.momentum
        fitted = DecayFit(fitted.factor / through, fitted.error / through)
    return list(dict.fromkeys((_nice(fitted), fitted.factor)))


def instead(recipe: Recipe) -> Iterator[Hypothesis]:
    """Hypotheses about a port whose original has a decoupled decay."""
    own = recipe.update
    if isinstance(own, rules.DecoupledDecay):
        coupled = rules.decayed(own.rule, own.factor, scope=own.scope)
        cause = Cause("coupled_weight_decay", f"{own.factor:.4g}")
        yield Hypothesis(cause, replace(recipe, update=coupled))
        yield Hypothesis(Cause("weight_decay_missing"), replace(recipe, update=own.rule))


def _decoupled_cause(recipe: Recipe, factor: float, scope: str, part: str) -> Cause:
    """The cause of a decoupled decay. `factor` is added to the decay that an original has."""
    own = recipe.update
    if isinstance(own, rules.DecoupledDecay) and own.scope == part:
        text = f"{own.factor + factor:.3g} instead of {own.factor:.3g} on {scope}, decoupled"
        return Cause("weight_decay", text)
    return Cause("decoupled_weight_decay", f"{factor:.3g} on {scope}")


def _coupled_cause(recipe: Recipe, factor: float, scope: str, part: str) -> Cause:
    """The cause of a coupled decay. `factor` is added to the specified decay."""
    specified = recipe.spec.optimizer.weight_decay
    if not specified:
        return Cause("weight_decay", f"{factor:.3g} on {scope}")
    # On these tensors, the decay is missing: the fitted factor takes the specified one away.
    if part and abs(factor + specified) < 1e-3 * specified:
        others = "biases only" if part == "kernel" else "kernels only"
        return Cause("weight_decay_scope", others)
    return Cause("weight_decay", f"{specified + factor:.3g} instead of {specified:g} on {scope}")


def _shrinkage(recipe: Recipe, here: Moment, part: str) -> float | None:
    """The number by which all new weights are multiplied, as in `w.mul_(0.999)` after a step."""
    top = bottom = 0.0
    for name, judged in recipe.updated(here).weights.items():
        if name.endswith(part):
            new = np.asarray(here.now.record.state.weights[name], np.float64)
            top += float((new * judged.value).sum())
            bottom += float((judged.value**2).sum())
    factor = top / bottom if bottom else 0.0
    # Closer to 1, the factor is not distinguishable from rounding. Outside of 0.5 to 2, the weights
    # are not a multiple of the right ones, and another cause has to be found.
    if not 0.5 < factor < 2 or abs(factor - 1) < 1e-6:
        return None
    nice = float(f"{factor:.4g}")
    if abs(nice - factor) < 1e-6:
        # The side multiplies by this number in its own precision, so it is rounded too.
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
        sigmas.append(recipe.eps * (np.abs(w) + np.abs(w - new)) + TINIEST)
    found = fit(
        np.concatenate(residuals), {"weight": np.concatenate(columns)}, np.concatenate(sigmas)
    )
    if found is None or abs(found.value["weight"]) < SIGMAS * found.error["weight"]:
        return None
    return DecayFit(found.value["weight"], found.error["weight"])


def _nice(fitted: DecayFit) -> float:
    """The factor with two digits, if it is that within its error: people choose round factors."""
    nice = float(f"{fitted.factor:.2g}")
    near = max(1e-3 * abs(nice), 4 * fitted.error)
    return nice if abs(fitted.factor - nice) < near else fitted.factor
