"""A multiple of the weights in an update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        candidates = candidates_on(recipe, here, part, coupled=False)
        for factor in candidates_on(recipe, here, part, coupled=True):
            coupled = rules.decayed(recipe.update, factor, scope=part)
            yield Hypothesis(_cause(recipe, factor, scope, part), replace(recipe, update=coupled))
        if optimizer.momentum or optimizer.name == "adam":
            for factor in candidates:
                beside = rules.DecayedBeside(recipe.update, factor, part)
                cause = _beside(recipe, factor, scope, part)
                yield Hypothesis(cause, replace(recipe, update=beside))
    for scope, part in SCOPES:
        shrunk = _shrinkage(recipe, here, part)
        if shrunk is not None:
            cause = Cause("weight_decay", f"{shrunk:.6g} times the weights, {scope}, after a step")
            rule = rules.scaled(recipe.update, shrunk, part)
            yield Hypothesis(cause, replace(recipe, update=rule))


def candidates_on(recipe: Recipe, here: Moment, part: str, *, coupled: bool) -> Sequence[float]:
    """Factors that a decay on tensors whose name ends with `part` may have, the roundest first.

    A coupled one goes through the rule: Nesterov's takes `1 + momentum` of what enters it.
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
    """What a port does in place of the decay that its original takes off beside the update."""
    own = recipe.update
    if isinstance(own, rules.DecayedBeside):
        coupled = rules.decayed(own.rule, own.factor, scope=own.scope)
        cause = Cause("coupled_weight_decay", f"{own.factor:.4g}")
        yield Hypothesis(cause, replace(recipe, update=coupled))
        yield Hypothesis(Cause("weight_decay_missing"), replace(recipe, update=own.rule))


def _beside(recipe: Recipe, factor: float, scope: str, part: str) -> Cause:
    """`factor` comes on top of what an original takes off already."""
    own = recipe.update
    if isinstance(own, rules.DecayedBeside) and own.scope == part:
        text = f"{own.factor + factor:.3g} instead of {own.factor:.3g} on {scope}, decoupled"
        return Cause("weight_decay", text)
    return Cause("decoupled_weight_decay", f"{factor:.3g} on {scope}")


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
