"""Penalties on the weights that are added to the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnist_mlp.parity.causes import decay, rules
from mnist_mlp.parity.causes.hypothesis import Hypothesis
from mnist_mlp.parity.findings import Cause, Finding, JudgedStep
from mnist_mlp.parity.steps.arbiter import Expected, units
from mnist_mlp.parity.steps.judge import LIMITS, SLACK, moments
from mnist_mlp.parity.steps.moment import Doubles, Moment
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.reference import Array, kernel_name

POWERS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "l2": (np.square, lambda w: 2 * w),
    "l1": (np.abs, np.sign),
}
"""The function of a weight that is summed, and its derivative."""

TRAINING = ("gradient", "update")
"""Rungs at which a decay of the weights shows, whether it acts in the gradient or the update."""


@dataclass(frozen=True)
class Penalty:
    """`factor * sum of powers` of the tensors whose name ends with `part`, in addition to `before`.

    This is a dataclass and not a function, because `instead` reads the fields of an original's
    penalty.
    """

    kind: str
    factor: float
    scope: str
    part: str
    before: Callable[[Doubles], Expected] | None = None

    def __call__(self, weights: Doubles) -> Expected:
        """As `Recipe.penalty`."""
        power, _ = POWERS[self.kind]
        total = sum(float(power(w).sum()) for n, w in weights.items() if n.endswith(self.part))
        # 8 more roundings: the factor was fitted on a loss that is itself rounded.
        value = np.asarray(self.factor * total)
        own = Expected(value, 8 * np.abs(value) + 8)
        if self.before is None:
            return own
        before = self.before(weights)
        return Expected(own.value + before.value, own.terms + before.terms)

    def gradient(self, name: str, w: Array) -> Array:
        """The penalty's share of the gradient of a tensor."""
        _, derivative = POWERS[self.kind]
        return self.factor * derivative(w) if name.endswith(self.part) else np.zeros_like(w)


def hypotheses(recipe: Recipe, step: JudgedStep) -> Iterator[Hypothesis]:
    """An L2 or L1 penalty on the kernels, on all tensors, or on one layer's kernel."""
    moment = Moment(step)
    base = float(recipe.batch_loss(moment).value)
    # The loss does not show which tensors are penalised, since a sum of squares hardly changes from
    # step to step, so a factor can be found for any of them. The gradient must agree too.
    for kind, (power, _) in POWERS.items():
        for scope, part in _scopes(step):
            total = sum(
                float(power(w).sum()) for n, w in moment.weights.items() if n.endswith(part)
            )
            factor = (step.record.loss - base) / total if total else 0.0
            factor = float(f"{factor:.4g}")
            # Compared with an original that has a penalty, a port's may be smaller: negative.
            if not (1e-9 < factor < 10 or (recipe.penalty is not None and -10 < factor < -1e-9)):
                continue
            penalty = Penalty(kind, factor, scope, part, recipe.penalty)
            changed = _penalised(recipe, penalty)
            if not _gradient_agrees(changed, moment):
                continue
            cause = _cause(penalty)
            if kind == "l2" and recipe.spec.optimizer.weight_decay:
                # The penalty may replace the specified weight decay. Then the decay is not reported
                # as missing in the update.
                yield Hypothesis(cause, changed.with_settings(weight_decay=0.0), also=TRAINING)
            yield Hypothesis(cause, changed)


def instead(
    recipe: Recipe, plain: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """A weight decay in the port's optimizer, where the original has an L2 penalty in its loss.

    Both give the same steps if the decay is twice the penalty's factor (the derivative of a square)
    and acts on the same tensors. Then only the value of the loss differs.
    """
    own = recipe.penalty
    here = [m for m in moments(steps) if m.now.step == finding.step and not m.now.stress]
    if not isinstance(own, Penalty) or own.kind != "l2" or own.before is not None or not here:
        return
    bare = replace(
        recipe, loss=plain.loss, at_logits=plain.at_logits, penalty=None, gradient=plain.gradient
    )
    twice = 2 * own.factor
    rule = rules.decayed(recipe.update, twice, scope=own.part)
    cause = Cause("decay_outside_loss", f"{twice:.4g} on {own.scope}")
    yield Hypothesis(cause, replace(bare, update=rule), harmless=True, also=TRAINING)
    for scope, part in (*decay.SCOPES, (own.scope, own.part)):
        for factor in (twice, *decay.candidates_on(bare, here[0], part, coupled=True)):
            rule = rules.decayed(recipe.update, factor, scope=part)
            if part == own.part:
                text = f"{factor:.3g} instead of {twice:.3g} on {own.scope}"
                cause = Cause("weight_decay", text)
            elif abs(factor / twice - 1) < 1e-3:
                cause = Cause("weight_decay_scope", f"{scope} instead of {own.scope}")
            else:
                text = f"{factor:.3g} on {scope} instead of {twice:.3g} on {own.scope}"
                cause = Cause("weight_decay", text)
            yield Hypothesis(cause, replace(bare, update=rule), also=TRAINING)


def _scopes(step: JudgedStep) -> list[tuple[str, str]]:
    """The tensors that a penalty may act on, in words, and how their names end."""
    layers = range(len(step.record.pre_activations))
    return [
        ("kernels", "kernel"),
        ("all tensors", ""),
        *((f"kernel of layer {layer}", kernel_name(layer)) for layer in layers),
    ]


def _gradient_agrees(recipe: Recipe, moment: Moment) -> bool:
    for name, judged in recipe.gradients(moment).items():
        got = np.asarray(moment.now.record.gradient[name], np.float64)
        if np.shape(got) != np.shape(judged.value):
            return False
        if not (units(got, judged, eps=recipe.eps) <= SLACK * LIMITS["gradient"]).all():
            return False
    return True


def _cause(penalty: Penalty) -> Cause:
    text = f"{penalty.factor:.4g} on {penalty.scope}"
    if penalty.before is not None:
        text = f"{penalty.factor:+.4g} on {penalty.scope}, compared with the original"
    return Cause(f"{penalty.kind}_in_loss", text)


def _penalised(recipe: Recipe, penalty: Penalty) -> Recipe:
    def gradient(exact: dict[str, Expected], moment: Moment) -> dict[str, Expected]:
        added = {}
        for name, judged in recipe.gradient(exact, moment).items():
            extra = penalty.gradient(name, moment.weights[name])
            # 8 more roundings for the fitted factor, as in the loss.
            added[name] = Expected(judged.value + extra, judged.terms + 8 * np.abs(extra))
        return added

    return replace(recipe, penalty=penalty, gradient=gradient)
