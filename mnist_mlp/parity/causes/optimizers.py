"""Whole optimizers that a side may use instead of the specified one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np

from mnist_mlp.parity.causes.rules import Rule
from mnist_mlp.parity.findings import JudgedStep
from mnist_mlp.parity.steps import arbiter
from mnist_mlp.parity.steps.arbiter import Expected
from mnist_mlp.parity.steps.memory import memory_of
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import NewState, Recipe, not_judged
from mnist_mlp.reference import Array, clip_by_global_norm


def adam_like(
    *, corrected: bool = True, epsilon_after: bool = False, epsilon: float | None = None
) -> Rule:
    """Adam from the shared moments, without bias correction, or with epsilon added elsewhere."""

    def rule(recipe: Recipe, moment: Moment) -> NewState:
        o = recipe.spec.optimizer
        eps = o.epsilon if epsilon is None else epsilon
        rate, t = o.rate_at(moment.step), moment.step
        c1, c2 = (1 - o.beta_1**t, 1 - o.beta_2**t) if corrected else (1.0, 1.0)
        memory = memory_of(o, moment)
        if memory is None:
            return not_judged(moment)
        new = {}
        gradient = clip_by_global_norm(moment.gradient, o.clip_norm)
        for name, w in moment.weights.items():
            d = gradient[name] + o.weight_decay * w
            m = o.beta_1 * memory.slots["first_moment"][name] + (1 - o.beta_1) * d
            s = o.beta_2 * memory.slots["second_moment"][name] + (1 - o.beta_2) * d * d
            below = np.sqrt(s / c2) + eps if epsilon_after else (np.sqrt(s) + eps) / sqrt(c2)
            move = rate * m / c1 / below
            # 4 for the roundings of the formula, the rest as in `arbiter.update_terms`.
            loose = 4 + arbiter.adam_cancellation(o.beta_1, o.beta_2, t)
            new[name] = Expected(w - move, np.abs(w) + loose * np.abs(move))
        return NewState(new)

    return rule


State = dict[str, dict[str, Array]]
Advance = Callable[[Array, dict[str, Array], int], Array]
"""Direction of a step, from a gradient, the optimizer's state for the tensor (which is changed in
place) and the number of the step, from 1."""


def _from_the_start(advance: Advance, rate: float) -> Rule:
    """An optimizer whose state is not shared.

    It is replayed from step 1, so only the steps of the first window are judged.
    """

    def rule(recipe: Recipe, moment: Moment) -> NewState:
        del recipe
        past: Sequence[JudgedStep] = moment.before
        if [step.step for step in past] != list(range(1, moment.step)):
            return not_judged(moment)
        memory: State = {name: {} for name in moment.weights}
        for step in past:
            for name, g in step.record.gradient.items():
                advance(np.asarray(g, np.float64), memory[name], step.step)
        new = {}
        for name, w in moment.weights.items():
            move = rate * advance(moment.gradient[name], memory[name], moment.step)
            # 2000 roundings of the move: the bias corrections cancel by up to a factor of 1000
            # (1 - 0.999 at step 1), and libraries compute them in different ways.
            new[name] = Expected(w - move, np.abs(w) + 2000 * np.abs(move))
        return NewState(new)

    return rule


def _adam(epsilon: float, *, hat: bool) -> Advance:
    def advance(g: Array, memory: dict[str, Array], t: int) -> Array:
        m = memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
        s = memory["s"] = 0.999 * memory.get("s", 0.0) + 0.001 * g * g
        c1, c2 = 1 - 0.9**t, 1 - 0.999**t
        root = np.sqrt(s)
        return m / c1 / ((root + epsilon) / sqrt(c2) if hat else root / sqrt(c2) + epsilon)

    return advance


def _rmsprop(decay: float, epsilon: float, *, inside: bool) -> Advance:
    def advance(g: Array, memory: dict[str, Array], t: int) -> Array:
        del t
        s = memory["s"] = decay * memory.get("s", 0.0) + (1 - decay) * g * g
        return g / (np.sqrt(s + epsilon) if inside else np.sqrt(s) + epsilon)

    return advance


def _adagrad(start: float, epsilon: float) -> Advance:
    def advance(g: Array, memory: dict[str, Array], t: int) -> Array:
        del t
        s = memory["s"] = memory.get("s", np.full_like(g, start)) + g * g
        return g / (np.sqrt(s) + epsilon) if start == 0 else g / np.sqrt(s + epsilon)

    return advance


def _sign(g: Array, memory: dict[str, Array], t: int) -> Array:
    del memory, t
    return np.sign(g)


_ADVANCES: dict[str, Advance] = {
    "Adam (Keras)": _adam(1e-7, hat=True),
    "Adam (torch)": _adam(1e-8, hat=False),
    "RMSprop (Keras)": _rmsprop(0.9, 1e-7, inside=True),
    "RMSprop (torch)": _rmsprop(0.99, 1e-8, inside=False),
    "Adagrad (Keras)": _adagrad(0.1, 1e-7),
    "Adagrad (torch)": _adagrad(0.0, 1e-10),
    "sign SGD": _sign,
}


def _maker(advance: Advance) -> Callable[[float], Rule]:
    return lambda rate: _from_the_start(advance, rate)


OTHER_OPTIMIZERS: dict[str, Callable[[float], Rule]] = {
    name: _maker(advance) for name, advance in _ADVANCES.items()
}
