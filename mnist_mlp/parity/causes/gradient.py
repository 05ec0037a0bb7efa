"""Why a gradient is not the derivative of the side's own loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mnist_mlp.parity.causes.decay import SCOPES
from mnist_mlp.parity.causes.hypothesis import Hypothesis, step_of
from mnist_mlp.parity.causes.rules import Rule, unmoved, unmoved_tensors
from mnist_mlp.parity.findings import Cause, Finding, JudgedStep
from mnist_mlp.parity.steps.arbiter import Expected, unjudged
from mnist_mlp.parity.steps.moment import Moment, doubles
from mnist_mlp.parity.steps.recipe import CLIP_EPSILON, NewState, Recipe
from mnist_mlp.reference import Array, global_norm

Gradients = dict[str, Expected]
Change = Callable[[Gradients, Moment], Gradients]


def hypotheses(
    recipe: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """A gradient that contains earlier ones, or is incomplete, clipped, decayed or scaled."""
    step = step_of(finding, steps)
    exact = recipe.gradients(Moment(step))
    got = doubles(step.record.gradient)
    yield _changed(recipe, Cause("gradients_not_cleared"), _accumulated(across_epochs=True))
    cause = Cause("gradients_not_cleared", "except at the end of an epoch")
    yield _changed(recipe, cause, _accumulated(across_epochs=False))
    yield from _accumulation(recipe, steps)
    yield _changed(recipe, Cause("stale_gradient", "that of the step before"), _stale(recipe))
    yield from _frozen(recipe, got, exact)
    yield from _clipped(recipe, got, exact)
    yield from _decayed(recipe, step, got, exact)
    yield from _scaled(recipe, got, exact, rows=len(step.labels))


def _changed(recipe: Recipe, cause: Cause, change: Change) -> Hypothesis:
    def gradient(exact: Gradients, moment: Moment) -> Gradients:
        return change(recipe.gradient(exact, moment), moment)

    return Hypothesis(cause, replace(recipe, gradient=gradient))


def not_judged(moment: Moment) -> Gradients:
    """The side's own gradient, not judged: for a step whose earlier steps were not recorded."""
    return {name: unjudged(g) for name, g in moment.gradient.items()}


def _added(exact: Gradients, moment: Moment) -> Gradients:
    """The gradient, added to the one that the side had after its previous step."""
    old = doubles(moment.before[-1].record.gradient)
    return {
        name: Expected(g.value + old[name], g.terms + np.abs(old[name]))
        for name, g in exact.items()
    }


def _accumulated(*, across_epochs: bool) -> Change:
    """Gradients that are never cleared, or (not `across_epochs`) only at the end of an epoch.

    The second happens in Lightning, which clears gradients before each validation.
    """

    def change(exact: Gradients, moment: Moment) -> Gradients:
        if moment.step == 1:
            return exact
        if not moment.before:
            return not_judged(moment)
        if moment.before[-1].epoch != moment.now.epoch and not across_epochs:
            return exact
        return _added(exact, moment)

    return change


ACCUMULATED = range(2, 17)
"""Numbers of batches per update that are tried. The judged windows are too short for more."""


def _accumulation(recipe: Recipe, steps: Sequence[JudgedStep]) -> Iterator[Hypothesis]:
    """Gradients of several batches that are added up, with one update for all of them.

    Each is divided by the number of batches, as Lightning does it, or not.
    """
    # The first judged step of epoch 2 is its first step: a window begins there (`sampling`).
    per_epoch = min((s.step for s in steps if s.epoch == 2), default=0) - 1
    if all(_moved(step) for step in steps if not step.stress):
        return
    for every in ACCUMULATED:
        for share in (1 / every, 1.0):
            details = "their mean" if share < 1 else "their sum"
            cause = Cause("gradient_accumulation", f"one update every {every} steps, by {details}")
            yield Hypothesis(
                cause,
                replace(
                    _changed(recipe, cause, _buffered(every, share, per_epoch)).recipe,
                    update=_where_moved(recipe.update),
                ),
            )


def _moved(step: JudgedStep) -> bool:
    return unmoved_tensors(step) != step.shared.weights.keys()


def _buffered(every: int, share: float, per_epoch: int) -> Change:
    def change(exact: Gradients, moment: Moment) -> Gradients:
        if moment.now.stress:
            return not_judged(moment)
        own = {name: Expected(share * g.value, share * g.terms) for name, g in exact.items()}
        past = (moment.now.epoch - 1) * per_epoch if per_epoch > 0 else 0
        if (moment.step - past - 1) % every == 0:
            return own
        return _added(own, moment) if moment.before else not_judged(moment)

    return change


def _where_moved(rule: Rule) -> Rule:
    """The rule at steps at which the weights changed: the end of each group, and of an epoch."""

    def changed(recipe: Recipe, moment: Moment) -> NewState:
        return rule(recipe, moment) if _moved(moment.now) else unmoved(moment)

    return changed


def _stale(recipe: Recipe) -> Change:
    """The exact gradient of the step before. Its recorded one may itself be stale."""

    def change(exact: Gradients, moment: Moment) -> Gradients:
        if moment.step == 1:
            # There is no earlier gradient: the side uses zeros, or this gradient twice.
            is_zero = not any(g.any() for g in moment.gradient.values())
            return {n: Expected((not is_zero) * g.value, g.terms) for n, g in exact.items()}
        if not moment.before:
            return not_judged(moment)
        old = recipe.gradients(Moment(moment.before[-1], moment.before[:-1]))
        return {name: Expected(g.value, exact[name].terms + g.terms) for name, g in old.items()}

    return change


def _frozen(recipe: Recipe, got: Mapping[str, Array], exact: Gradients) -> Iterator[Hypothesis]:
    still = [name for name, g in got.items() if not g.any() and np.any(exact[name].value)]
    if not still or len(still) == len(got):
        return

    def change(gradients: Gradients, moment: Moment) -> Gradients:
        del moment
        return {
            name: Expected(np.zeros_like(g.value), g.terms) if name in still else g
            for name, g in gradients.items()
        }

    yield _changed(recipe, Cause("frozen_tensor", ", ".join(still)), change)


def _clipped(recipe: Recipe, got: Mapping[str, Array], exact: Gradients) -> Iterator[Hypothesis]:
    """A clipped gradient. The limit is what the side's own gradient shows.

    The exact gradient must exceed the limit clearly (1.001), or any gradient would look clipped.
    """
    largest = max(float(np.abs(g).max()) for g in got.values())
    if not largest:
        return
    if max(float(np.abs(g.value).max()) for g in exact.values()) > 1.001 * largest:

        def by_value(gradients: Gradients, moment: Moment) -> Gradients:
            del moment
            return {
                name: Expected(np.clip(g.value, -largest, largest), g.terms)
                for name, g in gradients.items()
            }

        yield _changed(recipe, Cause("clip_by_value", f"{largest:.4g}"), by_value)
    limit = max(_length(g) for g in got.values())

    def per_tensor(gradients: Gradients, moment: Moment) -> Gradients:
        del moment
        return {
            name: _limited(g, _length(g.value), limit, recipe.eps) for name, g in gradients.items()
        }

    if any(_length(exact[name].value) > 1.001 * limit for name in exact):
        yield _changed(recipe, Cause("clip_per_tensor", f"{limit:.4g}"), per_tensor)
    whole = global_norm(got)

    def overall(gradients: Gradients, moment: Moment) -> Gradients:
        del moment
        norm = global_norm({name: g.value for name, g in gradients.items()})
        return {name: _limited(g, norm, whole, recipe.eps) for name, g in gradients.items()}

    if global_norm({name: g.value for name, g in exact.items()}) > 1.001 * whole:
        yield _changed(recipe, Cause("clip_by_norm", f"{whole:.4g}"), overall)


def _length(g: Array) -> float:
    return float(np.linalg.norm(g))


def _limited(g: Expected, norm: float, limit: float, eps: float) -> Expected:
    """A gradient whose norm is cut to a limit.

    The terms leave room for the 1e-6 that torch adds to the norm before it divides.
    """
    factor = min(1.0, limit / norm) if norm else 1.0
    loose = 1 + CLIP_EPSILON / limit / eps
    return Expected(g.value * factor, g.terms + loose * factor * np.abs(g.value))


def _decayed(
    recipe: Recipe, step: JudgedStep, got: Mapping[str, Array], exact: Gradients
) -> Iterator[Hypothesis]:
    """`factor * w` added to the gradient, without a penalty in the loss."""
    weights = doubles(step.shared.weights)
    for scope, part in SCOPES:
        names = [name for name in got if name.endswith(part)]
        w = np.concatenate([weights[name].ravel() for name in names])
        extra = np.concatenate([(got[name] - exact[name].value).ravel() for name in names])
        if not w.any():
            continue
        factor = float(w @ extra / (w @ w))
        if not 1e-9 < abs(factor) < 10:
            continue  # smaller ones are rounding, and nobody uses larger ones

        def change(
            gradients: Gradients,
            moment: Moment,
            chosen: Sequence[str] = names,
            factor: float = factor,
        ) -> Gradients:
            own = moment.weights
            return {
                name: Expected(g.value + factor * own[name], g.terms + np.abs(factor * own[name]))
                if name in chosen
                else g
                for name, g in gradients.items()
            }

        decay = recipe.spec.optimizer.weight_decay
        if not part and decay and abs(factor - decay) < 1e-3 * decay:
            # The specified decay, added before the optimizer gets the gradient. The new weights are
            # the same, as long as the optimizer does not add it again.

            added = _changed(recipe, Cause("decay_in_gradient", f"{decay:g}"), change)
            once = added.recipe.with_settings(weight_decay=0.0)
            yield replace(added, recipe=once, harmless=True)
            continue
        text = f"{factor:.3g} * w added to the gradient, {scope}"
        yield _changed(recipe, Cause("weight_decay", text), change)


def _scaled(
    recipe: Recipe, got: Mapping[str, Array], exact: Gradients, *, rows: int
) -> Iterator[Hypothesis]:
    a = np.concatenate([g.value.ravel() for g in exact.values()])
    b = np.concatenate([got[name].ravel() for name in exact])
    factor = float(a @ b / (a @ a)) if a.any() else 0.0
    if factor == 0 or not np.isfinite(factor):
        return

    def times(factor_of: Callable[[int], float]) -> Change:
        def change(gradients: Gradients, moment: Moment) -> Gradients:
            by = factor_of(len(moment.now.labels))
            return {
                name: Expected(g.value * by, abs(by) * (g.terms + 4 * np.abs(g.value)))
                for name, g in gradients.items()
            }

        return change

    if abs(factor / rows - 1) < 1e-3:  # the sum over the batch is `rows` times the mean
        yield _changed(
            recipe, Cause("gradient_sum", "that of the sum over the batch"), times(float)
        )
    cause = Cause("gradient_scaled", f"{factor:.6g} times")
    yield _changed(recipe, cause, times(lambda _: factor))
