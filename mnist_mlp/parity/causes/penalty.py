"""Something made of the weights that is added to the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from mnist_mlp.parity.causes.hypothesis import Hypothesis
from mnist_mlp.parity.findings import Cause, JudgedStep
from mnist_mlp.parity.steps.arbiter import Expected, units
from mnist_mlp.parity.steps.judge import LIMITS, SLACK
from mnist_mlp.parity.steps.moment import Doubles, Moment
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.reference import Array, is_kernel, kernel_name


def hypotheses(recipe: Recipe, step: JudgedStep) -> Iterator[Hypothesis]:
    """`factor * sum of squares` of the kernels, or of all tensors, added to the loss."""
    base = recipe.batch_loss(Moment(step))
    moment = Moment(step)
    scopes: list[tuple[str, Callable[[str], bool]]] = [
        ("kernels", is_kernel),
        ("all tensors", lambda name: True),
    ]
    scopes += [
        (f"kernel of layer {i}", lambda name, i=i: name == kernel_name(i))  # type: ignore[misc]
        for i in range(len(step.record.pre_activations))
    ]
    found: list[Hypothesis] = []
    powers: list[tuple[str, Callable[[Array], Array], Callable[[Array], Array]]] = [
        ("l2", np.square, lambda w: 2 * w),
        ("l1", np.abs, np.sign),
    ]
    for kind, power, derivative in powers:
        for scope, holds in scopes:
            total = sum(float(power(w).sum()) for name, w in moment.weights.items() if holds(name))
            factor = (step.record.loss - float(base.value)) / total if total else 0.0
            factor = float(f"{factor:.4g}")
            if 1e-9 < factor < 10 or (recipe.penalty is not None and -10 < factor < -1e-9):
                found.append(_penalty(recipe, factor, kind, scope, holds, power, derivative))
    # The loss alone does not tell what a penalty is on: sums of squares hardly change. The gradient
    # does, and has to agree.
    for hypothesis in found:
        if _gradient_agrees(hypothesis.recipe, moment):
            yield hypothesis


def _gradient_agrees(recipe: Recipe, moment: Moment) -> bool:
    for name, judged in recipe.gradients(moment).items():
        got = np.asarray(moment.now.record.gradient[name], np.float64)
        if np.shape(got) != np.shape(judged.value):
            return False
        if not (units(got, judged, eps=recipe.eps) <= SLACK * LIMITS["gradient"]).all():
            return False
    return True


def _penalty(
    recipe: Recipe,
    factor: float,
    kind: str,
    scope: str,
    holds: Callable[[str], bool],
    power: Callable[[Array], Array],
    derivative: Callable[[Array], Array],
) -> Hypothesis:
    def penalty(weights: Doubles) -> Expected:
        total = sum(float(power(w).sum()) for name, w in weights.items() if holds(name))
        # The factor was fitted on a loss that is itself rounded.
        own = Expected(np.asarray(factor * total), np.asarray(8 * abs(factor) * total + 8))
        if recipe.penalty is None:
            return own
        before = recipe.penalty(weights)
        return Expected(own.value + before.value, own.terms + before.terms)

    def gradient(exact: dict[str, Expected], moment: Moment) -> dict[str, Expected]:
        added = {}
        for name, judged in recipe.gradient(exact, moment).items():
            extra = factor * derivative(moment.weights[name]) if holds(name) else 0.0
            # The factor has four digits that are sure.
            added[name] = Expected(judged.value + extra, judged.terms + 8 * np.abs(extra))
        return added

    details = f"{factor:.4g} on {scope}"
    if recipe.penalty is not None:
        details = f"{factor:+.4g} on {scope}, compared with the original"
    cause = Cause(f"{kind}_in_loss", details)
    changed = replace(recipe, penalty=penalty, gradient=gradient)
    decay = recipe.spec.optimizer.weight_decay
    if kind == "l2" and scope == "all tensors" and abs(2 * factor - decay) <= 1e-3 * decay:
        # The decay that is specified, by way of the loss: it is not missing from the update.
        optimizer = recipe.spec.optimizer.model_copy(update={"weight_decay": 0.0})
        changed = replace(changed, spec=recipe.spec.model_copy(update={"optimizer": optimizer}))
    return Hypothesis(cause, changed)
