"""Update rules that a side may follow instead of the specified one."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace

import numpy as np

from mnist_mlp.contract import State
from mnist_mlp.parity.findings import JudgedStep
from mnist_mlp.parity.steps.arbiter import TINY, Expected
from mnist_mlp.parity.steps.memory import memory_of
from mnist_mlp.parity.steps.moment import Doubles, Moment, doubles
from mnist_mlp.parity.steps.recipe import NewState, Recipe, entering, not_judged
from mnist_mlp.reference import clip_by_global_norm

Rule = Callable[[Recipe, Moment], NewState]
Cut = Callable[[Doubles], Doubles]


def with_gradient(moment: Moment, gradient: Doubles) -> Moment:
    """The same moment with a different gradient."""
    record = replace(moment.now.record, gradient=gradient)
    return Moment(replace(moment.now, record=record), moment.before)


# --- Some tensors, some steps ---------------------------------------------------------------------


def frozen(rule: Rule, names: Set[str]) -> Rule:
    """The rule, except that some tensors are not updated."""

    def changed(recipe: Recipe, moment: Moment) -> NewState:
        same = unmoved(moment).weights
        return NewState(rule(recipe, moment).weights | {name: same[name] for name in names}, {})

    return changed


def every_nth(every: int) -> Rule:
    """An update only at every n-th step, with gradients that the framework has accumulated.

    The update itself is not judged: the accumulated gradients were computed from weights that the
    judged steps do not have, since each of these starts from the shared state.
    """

    def rule(recipe: Recipe, moment: Moment) -> NewState:
        del recipe
        return unmoved(moment) if moment.step % every else not_judged(moment)

    return rule


def unmoved_tensors(step: JudgedStep) -> set[str]:
    """Names of the tensors that a step did not change, bit for bit."""
    new, old = step.record.state.weights, step.shared.weights
    return {name for name in old if np.array_equal(new[name], old[name])}


def unmoved(moment: Moment) -> NewState:
    """The new state if nothing is updated."""
    return NewState({name: Expected(w, np.abs(w)) for name, w in moment.weights.items()})


def repeated(rule: Rule, times: int, *, new_gradient: bool) -> Rule:
    """The rule several times for one batch.

    The gradient is the same each time, or (`new_gradient`) the exact one at the weights after the
    previous update.
    """

    def changed(recipe: Recipe, moment: Moment) -> NewState:
        rate = abs(recipe.spec.optimizer.rate_at(moment.step))
        updated = rule(recipe, moment)
        for _ in range(times - 1):
            moment = _after(moment, updated)
            # The rounding errors of each pass enter the next one, also through a new gradient.
            passed_on = {name: judged.terms for name, judged in updated.weights.items()}
            if new_gradient:
                moment = at_its_weights(recipe, moment)
                exact = recipe.gradients(moment)
                moment = with_gradient(moment, {name: g.value for name, g in exact.items()})
                passed_on = {n: terms + 4 * rate * exact[n].terms for n, terms in passed_on.items()}
            updated = rule(recipe, moment)
            updated = NewState(
                {n: Expected(w.value, w.terms + passed_on[n]) for n, w in updated.weights.items()}
            )
        return NewState(updated.weights)

    return changed


def _after(moment: Moment, updated: NewState) -> Moment:
    """The same batch, started from the state after an update."""
    now = moment.now
    slots = {
        slot: {name: judged.value for name, judged in tensors.items()}
        for slot, tensors in updated.slots.items()
    }
    weights = {name: judged.value for name, judged in updated.weights.items()}
    shared = State(now.shared.step + 1, weights, {**now.shared.slots, **slots})
    return Moment(replace(now, shared=shared), moment.before)


def at_its_weights(recipe: Recipe, moment: Moment) -> Moment:
    """The moment with an exact forward pass from its shared weights instead of the recorded one."""
    count = len(moment.now.record.pre_activations)
    for layer in range(count):
        record = moment.now.record
        z = recipe.pre_activation(moment, layer).value
        passed = (*record.pre_activations[:layer], z, *record.pre_activations[layer + 1 :])
        moment = Moment(
            replace(moment.now, record=replace(record, pre_activations=passed)), moment.before
        )
        if layer < count - 1:
            a = recipe.activation(moment, layer).value
            record = moment.now.record
            passed = (*record.activations[:layer], a, *record.activations[layer + 1 :])
            moment = Moment(
                replace(moment.now, record=replace(record, activations=passed)), moment.before
            )
    return moment


# --- Decay ----------------------------------------------------------------------------------------


def decayed(rule: Rule, factor: float, *, scope: str) -> Rule:
    """The rule with `g + factor * w` instead of `g`, for tensors whose name ends with `scope`.

    The decay of earlier steps is not in the velocity or the moments, because these are set to the
    shared ones before each judged step.
    """

    def changed(recipe: Recipe, moment: Moment) -> NewState:
        weights = moment.weights
        gradient = {
            name: g + factor * weights[name] if name.endswith(scope) else g
            for name, g in moment.gradient.items()
        }
        updated = rule(recipe, with_gradient(moment, gradient))
        # Where gradient and decay cancel, their rounding errors are larger than that of their sum.
        sizes = {
            name: np.abs(g) + np.abs(gradient[name] - g) for name, g in moment.gradient.items()
        }
        new = {}
        for name, judged in updated.weights.items():
            moved = np.abs(weights[name] - judged.value)
            cancelled = sizes[name] / (np.abs(gradient[name]) + TINY)
            new[name] = Expected(judged.value, judged.terms + moved * cancelled)
        slots = {
            slot: {
                name: Expected(
                    t.value, t.terms + entering(recipe.spec.optimizer, slot, sizes[name])
                )
                for name, t in tensors.items()
            }
            for slot, tensors in updated.slots.items()
        }
        return NewState(new, slots)

    return changed


@dataclass(frozen=True)
class DecoupledDecay:
    """The rule, and `lr * factor * w` subtracted too, as AdamW and Keras do.

    It acts on tensors whose name ends with `scope`. This is a dataclass and not a function, because
    `decay.instead` reads the fields of an original's rule.
    """

    rule: Rule
    factor: float
    scope: str = ""

    def __call__(self, recipe: Recipe, moment: Moment) -> NewState:
        """As a `Rule`."""
        rate = recipe.spec.optimizer.rate_at(moment.step)
        updated = self.rule(recipe, moment)
        new = {
            name: Expected(
                judged.value - rate * self.factor * moment.weights[name],
                judged.terms + abs(rate * self.factor) * np.abs(moment.weights[name]),
            )
            if name.endswith(self.scope)
            else judged
            for name, judged in updated.weights.items()
        }
        return NewState(new, updated.slots)


def scaled(rule: Rule, factor: float, scope: str) -> Rule:
    """The rule; then all tensors whose name ends with `scope` are multiplied by a number."""

    def changed(recipe: Recipe, moment: Moment) -> NewState:
        updated = rule(recipe, moment)
        return NewState(
            {
                name: Expected(w.value * factor, w.terms + np.abs(w.value))
                if name.endswith(scope)
                else w
                for name, w in updated.weights.items()
            },
            updated.slots,
        )

    return changed


# --- Momentum -------------------------------------------------------------------------------------


def previous_step(recipe: Recipe, step: JudgedStep) -> Doubles:
    """Direction of an earlier step of the side, `(w - w') / lr`: the velocity, if there is one."""
    rate = recipe.spec.optimizer.rate_at(step.step)
    new = step.record.state.weights
    return {
        name: (np.asarray(w, np.float64) - np.asarray(new[name], np.float64)) / rate
        for name, w in step.shared.weights.items()
    }


def hidden_momentum(rule: Rule, factor: float) -> Rule:
    """The rule with a velocity that only the side has, computed from its previous step."""

    def changed(recipe: Recipe, moment: Moment) -> NewState:
        if moment.step > 1 and not moment.before:
            return not_judged(moment)
        updated = rule(recipe, moment)
        if moment.step == 1:
            return NewState(updated.weights)
        rate = recipe.spec.optimizer.rate_at(moment.step)
        old = previous_step(recipe, moment.before[-1])
        return NewState(
            {
                name: Expected(
                    judged.value - rate * factor * old[name],
                    # The old velocity was computed from weights, so it has their rounding errors.
                    judged.terms + np.abs(moment.weights[name]) + rate * np.abs(old[name]),
                )
                for name, judged in updated.weights.items()
            }
        )

    return changed


def hidden_nesterov(momentum: float) -> Rule:
    """`v = momentum * v + g; w = w - lr * (g + momentum * v)`, with `v` from the last step."""

    def rule(recipe: Recipe, moment: Moment) -> NewState:
        if moment.step > 1 and not moment.before:
            return not_judged(moment)
        rate, gradient = recipe.spec.optimizer.rate_at(moment.step), moment.gradient
        old: Doubles = {}
        if moment.step > 1:
            last = moment.before[-1]
            direction, before = previous_step(recipe, last), doubles(last.record.gradient)
            old = {n: (direction[n] - before[n]) / momentum for n in direction}
        new = {}
        for name, w in moment.weights.items():
            v = momentum * old.get(name, np.zeros_like(w)) + gradient[name]
            moved = rate * (gradient[name] + momentum * v)
            terms = np.abs(w) * (1 + momentum) + rate * (1 + momentum) * (
                np.abs(gradient[name]) + np.abs(v)
            )
            new[name] = Expected(w - moved, terms)
        return NewState(new)

    return rule


def rate_in_velocity(recipe: Recipe, moment: Moment) -> NewState:
    """`v = momentum * v - lr * g; w = w + v`: the velocity contains the rate of its own step."""
    optimizer = recipe.spec.optimizer
    rate, old_rate = optimizer.rate_at(moment.step), optimizer.rate_at(max(moment.step - 1, 1))
    memory = memory_of(optimizer, moment)
    if memory is None:
        return not_judged(moment)
    new = {}
    gradient = clip_by_global_norm(moment.gradient, optimizer.clip_norm)
    loose = recipe.step_slack / recipe.eps
    for name, w in moment.weights.items():
        d = gradient[name] + optimizer.weight_decay * w
        kept = optimizer.momentum * old_rate * memory.slots["velocity"][name]
        v = kept + rate * d
        move = optimizer.momentum * v + rate * d if optimizer.nesterov else v
        terms = np.abs(w) + (1 + loose) * (np.abs(kept) + 2 * rate * np.abs(d))
        new[name] = Expected(w - move, terms + memory.terms.get(name, 0.0) * old_rate / rate)
    return NewState(new)


# --- Clipping -------------------------------------------------------------------------------------


def per_tensor(limit: float) -> Cut:
    """Clip each tensor by its own norm."""
    return lambda gradient: {
        name: clip_by_global_norm({name: g}, limit)[name] for name, g in gradient.items()
    }


def by_value(limit: float) -> Cut:
    """Clip each element."""
    return lambda gradient: {name: np.clip(g, -limit, limit) for name, g in gradient.items()}


def overall(limit: float) -> Cut:
    """Clip all tensors by their global norm."""
    return lambda gradient: clip_by_global_norm(gradient, limit)


def clipped(rule: Rule, cut: Cut) -> Rule:
    """The rule with a gradient that was clipped by `cut` instead of as specified."""

    def changed(recipe: Recipe, moment: Moment) -> NewState:
        without = recipe.with_settings(clip_norm=0.0)
        return rule(without, with_gradient(moment, cut(moment.gradient)))

    return changed
