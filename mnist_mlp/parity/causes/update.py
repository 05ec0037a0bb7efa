"""Why new weights are not what the specified rule makes of the side's own gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from mnist_mlp.parity.causes import decay, optimizers, rules
from mnist_mlp.parity.causes.hypothesis import Hypothesis
from mnist_mlp.parity.causes.rules import Rule
from mnist_mlp.parity.findings import Cause, Finding, JudgedStep
from mnist_mlp.parity.steps.arbiter import Expected, adam_cancellation, unjudged
from mnist_mlp.parity.steps.coefficients import fit
from mnist_mlp.parity.steps.judge import moments
from mnist_mlp.parity.steps.memory import memory_of
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import CLIP_EPSILON, Recipe
from mnist_mlp.reference import Array, clip_by_global_norm


def hypotheses(
    recipe: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """Another setting of the same rule, another rule, or none at all for some tensors."""
    here = next(m for m in moments(steps) if m.now.step == finding.step and not m.now.stress)
    yield from _not_updated(recipe, steps, here)
    yield from _repeated(recipe, here)
    yield from _other_settings(recipe)
    yield from _other_rate(recipe, here)
    yield from decay.hypotheses(recipe, here)
    yield from _nesterov(recipe, here)
    yield from _momenta(recipe, here)
    yield from _clips(recipe, here)
    yield from _other_rules(recipe)
    yield from _other_rates(recipe, steps, here)


def instead(recipe: Recipe, plain: Recipe) -> Iterator[Hypothesis]:
    """What a port does in place of its original's own way, which `recipe` follows."""
    if recipe.update is rules.rate_in_velocity:
        cause = Cause("learning_rate_outside_velocity")
        yield Hypothesis(cause, replace(recipe, update=plain.update))
    yield from decay.instead(recipe)


def _by(recipe: Recipe, cause: Cause, rule: Rule, *, slack: float = 0.0) -> Hypothesis:
    return Hypothesis(cause, replace(recipe, update=rule, slack=recipe.slack + slack))


def _with_settings(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with other optimizer settings, without the checks a specification has."""
    optimizer = recipe.spec.optimizer.model_copy(update=changes)
    return replace(recipe, spec=recipe.spec.model_copy(update={"optimizer": optimizer}))


MOST_GATHERED = 64
"""Steps to an update, at most, that are told from no update."""


# --- Nothing happened -----------------------------------------------------------------------------


def _not_updated(recipe: Recipe, steps: Sequence[JudgedStep], here: Moment) -> Iterator[Hypothesis]:
    """All tensors at some steps (gradients are gathered over several), or some at every step."""
    still = rules.unmoved_tensors(here.now)
    tensors = set(here.weights)
    if still == tensors:
        acted = {s.step: rules.unmoved_tensors(s) != tensors for s in steps if not s.stress}
        if not any(acted.values()):
            cause = Cause("tensor_not_updated", "every tensor")
            yield _by(recipe, cause, rules.frozen(recipe.update, tensors))
            return
        for every in range(2, MOST_GATHERED + 1):
            if all(moved is (step % every == 0) for step, moved in acted.items()):
                cause = Cause("gradient_accumulation", f"one update every {every} steps")
                yield _by(recipe, cause, rules.gathered(every))
                return
        return
    moving = {name for name in still if np.any(here.gradient[name])}
    if moving:
        # Nor does anything clear their gradients, then.
        yield Hypothesis(
            Cause("tensor_not_updated", ", ".join(sorted(moving))),
            replace(
                recipe,
                update=rules.frozen(recipe.update, moving),
                gradient=_unjudged(recipe, moving),
            ),
        )


def _unjudged(
    recipe: Recipe, names: Set[str]
) -> Callable[[dict[str, Expected], Moment], dict[str, Expected]]:
    def gradient(exact: dict[str, Expected], moment: Moment) -> dict[str, Expected]:
        own = recipe.gradient(exact, moment)
        return own | {name: unjudged(own[name].value) for name in names}

    return gradient


# --- More than once for a batch -------------------------------------------------------------------


def _repeated(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """As many updates as were counted: on one gradient, or on a new one each time."""
    times = here.now.record.state.step - here.now.shared.step
    if not 1 < times <= MOST_REPEATED:
        return
    for anew, how in ((False, "on one gradient"), (True, "each on a new gradient")):
        cause = Cause("repeated_update", f"{times} for each batch, {how}")
        yield _by(recipe, cause, rules.repeated(recipe.update, times, anew=anew))


MOST_REPEATED = 8
"""Updates for one batch, at most, that are followed: each one's rounding enters the next."""


# --- Other numbers in the same rule ---------------------------------------------------------------


def _other_settings(recipe: Recipe) -> Iterator[Hypothesis]:
    """Whatever the specification asks for, left out."""
    optimizer = recipe.spec.optimizer
    if optimizer.schedule:
        yield Hypothesis(Cause("schedule_ignored"), _with_settings(recipe, schedule=()))
    if optimizer.nesterov:
        yield Hypothesis(Cause("nesterov_missing"), _with_settings(recipe, nesterov=False))
    if optimizer.momentum:
        if not optimizer.nesterov:
            yield Hypothesis(Cause("undeclared_nesterov"), _with_settings(recipe, nesterov=True))
        yield _by(recipe, Cause("learning_rate_in_velocity"), rules.rate_in_velocity)
        yield Hypothesis(
            Cause("momentum_missing"), _with_settings(recipe, momentum=0.0, nesterov=False)
        )
    if optimizer.clip_norm:
        yield Hypothesis(Cause("clip_missing"), _with_settings(recipe, clip_norm=0.0))
        yield _by(
            recipe,
            Cause("clip_per_tensor", f"each at {optimizer.clip_norm:g}"),
            rules.clipped(recipe.update, rules.per_tensor(optimizer.clip_norm)),
            slack=CLIP_EPSILON / optimizer.clip_norm,
        )
        yield _by(
            recipe,
            Cause("clip_by_value", f"{optimizer.clip_norm:g}"),
            rules.clipped(recipe.update, rules.by_value(optimizer.clip_norm)),
        )
    if optimizer.weight_decay:
        yield Hypothesis(Cause("weight_decay_missing"), _with_settings(recipe, weight_decay=0.0))
        without = _with_settings(recipe, weight_decay=0.0)
        beside = rules.DecayedBeside(recipe.update, optimizer.weight_decay)
        yield _by(without, Cause("decoupled_weight_decay", f"{optimizer.weight_decay:g}"), beside)
        yield Hypothesis(
            Cause("weight_decay_scope", "kernels only"),
            replace(
                without,
                update=rules.decayed(without.update, optimizer.weight_decay, scope="kernel"),
            ),
        )


def _other_rate(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    factor = _factor(recipe, here)
    if factor is None:
        return
    optimizer = recipe.spec.optimizer
    rate = optimizer.rate_at(here.step)
    fitted = float(f"{rate * factor:.6g}")
    if fitted == rate:
        fitted = float(f"{rate * factor:.9g}")
    scaled = _with_settings(
        recipe,
        learning_rate=optimizer.learning_rate * fitted / rate,
        schedule=tuple((step, value * fitted / rate) for step, value in optimizer.schedule),
    )
    name = "gradient_ascent" if factor < 0 else "learning_rate"
    yield Hypothesis(Cause(name, f"{fitted:.9g} instead of {rate:g}"), scaled)


def _other_rates(recipe: Recipe, steps: Sequence[JudgedStep], here: Moment) -> Iterator[Hypothesis]:
    """Different rates at different steps: another schedule than the specification has, or any.

    Anything that makes whole steps longer or shorter looks like this, a gradient brought to unit
    length too; a schedule is told by going one way, or turning twice (warm-up, then decay).
    """
    at = [m for m in moments(steps) if not m.now.stress and recipe.updated(m).known]
    specified = {moment.step: recipe.spec.optimizer.rate_at(moment.step) for moment in at}
    rates: dict[int, float] = {}
    for moment in at:
        factor = _factor(recipe, moment)
        rates[moment.step] = specified[moment.step] * (1.0 if factor is None else factor)
    if _is_schedule(rates, specified, steps):
        cause = _by_epoch(rates, recipe, steps)
        yield _scheduled(recipe, rates, specified, recipe.update, cause)
    # Where the rate is kept in the velocity, an update is no multiple of the specified one.
    old_and_new = {moment.step: _rates_in_velocity(recipe, moment) for moment in at}
    known = {step: pair for step, pair in old_and_new.items() if pair is not None}
    now = {step: pair[1] for step, pair in known.items()}
    if len(known) == len(at) and _is_schedule(now, specified, steps):
        before = {step - 1: pair[0] for step, pair in known.items() if pair[0] is not None}
        yield _scheduled(recipe, {**before, **now}, specified, rules.rate_in_velocity, None)


def _is_schedule(
    rates: Mapping[int, float], specified: Mapping[int, float], steps: Sequence[JudgedStep]
) -> bool:
    """Whether rates by step can be a schedule, and not the specified one."""
    changed = [step for step, rate in rates.items() if abs(rate / specified[step] - 1) > 1e-5]
    if not changed or min(rates.values()) <= 0 or _turns(list(rates.values())) > TURNS:
        return False
    rows = {step.step: len(step.labels) for step in steps if not step.stress}
    # Only the smaller batches' steps: that is no matter of time.
    return not max(rows[step] for step in changed) < max(rows.values())


def _scheduled(
    recipe: Recipe,
    rates: Mapping[int, float],
    specified: Mapping[int, float],
    rule: Rule,
    cause: Cause | None,
) -> Hypothesis:
    """The rule at measured rates, which become the recipe's own: what is told of another side, or
    of another setting, is then told against them."""
    if cause is None:
        first = min(s for s in specified if abs(rates[s] / specified[s] - 1) > 1e-5)
        text = f"{rates[first]:.6g} instead of {specified[first]:.6g} from step {first}"
        if rule is rules.rate_in_velocity:
            text += ", kept in the velocity"
        cause = Cause("undeclared_schedule", text)
    scheduled = _with_settings(recipe, schedule=tuple(sorted(rates.items())))
    # A rate that has nearly reached 0 carries the rounding of the one it began with.
    least = min(rates[step] / specified[step] for step in specified)
    slack = min(max(FITTED_RATE, 2 * recipe.eps / least), 1e-3)
    return _by(replace(scheduled, measured=frozenset(specified)), cause, rule, slack=slack)


def _by_epoch(
    rates: Mapping[int, float], recipe: Recipe, steps: Sequence[JudgedStep]
) -> Cause | None:
    """Whether a schedule by steps is followed by epochs: throughout an epoch, the rate of the step
    with the epoch's number. That is what Lightning makes of a scheduler by default."""
    epoch_of = {step.step: step.epoch for step in steps if not step.stress}
    known = set(rates) if recipe.measured is None else set(rates) & recipe.measured
    optimizer = recipe.spec.optimizer
    expected = {
        step: optimizer.rate_at(epoch_of[step])
        for step in rates
        if recipe.measured is None or epoch_of[step] in known
    }
    if len(set(expected.values())) < 2:
        return None  # then nothing tells epochs from steps
    if any(abs(rates[step] / rate - 1) > SAME_RATE for step, rate in expected.items()):
        return None
    step = min(s for s in expected if abs(rates[s] / optimizer.rate_at(s) - 1) > 1e-5)
    text = f"{rates[step]:.6g} instead of {optimizer.rate_at(step):.6g} at step {step}"
    return Cause("schedule_by_epoch", text)


def _rates_in_velocity(recipe: Recipe, moment: Moment) -> tuple[float | None, float] | None:
    """The rate in an old velocity and that of the new gradient; None where they cannot be told."""
    optimizer = recipe.spec.optimizer
    memory = memory_of(optimizer, moment) if optimizer.momentum else None
    if memory is None or optimizer.name != "sgd":
        return None
    gradient = clip_by_global_norm(moment.gradient, optimizer.clip_norm)
    momentum, through = optimizer.momentum, 1.0
    if optimizer.nesterov:
        momentum, through = momentum**2, 1 + momentum
    made, olds, news, sigmas = [], [], [], []
    for name, w in moment.weights.items():
        new = np.asarray(moment.now.record.state.weights[name], np.float64)
        d = gradient[name] + optimizer.weight_decay * w
        made.append((w - new).ravel())
        olds.append(momentum * memory.slots["velocity"][name].ravel())
        news.append(through * d.ravel())
        sigmas.append(recipe.eps * (np.abs(w) + np.abs(w - new)).ravel() + 1e-45)
    columns = {"old": np.concatenate(olds), "new": np.concatenate(news)}
    found = fit(np.concatenate(made), columns, np.concatenate(sigmas))
    if found is None or "new" not in found.value:
        return None
    return found.value.get("old"), found.value["new"]


SAME_RATE = 1e-5
"""Two rates that were fitted are one: each is some 1e-6 off."""

TURNS = 2

FITTED_RATE = 2e-6
"""Relative error of rates that were fitted; and a float32 power is itself 5e-7 off."""


def _turns(values: Sequence[float]) -> int:
    """How often a series turns from rising to falling or back, beyond a fit's own error."""
    ways = [np.sign(b - a) for a, b in pairwise(values) if abs(b - a) > 1e-5 * abs(a)]
    return sum(1 for a, b in pairwise(ways) if a != b)


def _factor(recipe: Recipe, moment: Moment) -> float | None:
    """How many times the specified step was made, from all tensors together."""
    updated = recipe.updated(moment)
    moves, mades = [], []
    for name, judged in updated.weights.items():
        w = moment.weights[name].ravel()
        new = np.asarray(moment.now.record.state.weights[name], np.float64).ravel()
        move = w - judged.value.ravel()
        far = np.abs(move) >= 8 * recipe.eps * np.abs(w)
        # Relative weights: an element's rounding is proportional to its size.
        scale = recipe.eps * (np.abs(w) + np.abs(move))[far] + 1e-45
        moves.append(move[far] / scale)
        mades.append((w - new)[far] / scale)
    move, made = np.concatenate(moves), np.concatenate(mades)
    if not move.any():
        return None
    return float(move @ made / (move @ move))


# --- Momentum -------------------------------------------------------------------------------------


def _momenta(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """A velocity that the specification does not have, or with another factor."""
    optimizer = recipe.spec.optimizer
    if optimizer.name != "sgd":
        return
    if optimizer.momentum:
        memory = memory_of(optimizer, here)
        if memory is None:
            return
        velocity = {name: v.ravel() for name, v in memory.slots["velocity"].items()}
        factor = _share(recipe, here, velocity, declared=optimizer.momentum)
        if factor is not None and 0 < factor < 1 and not optimizer.nesterov:
            text = f"{factor:.4g} instead of {optimizer.momentum:g}"
            yield Hypothesis(Cause("momentum", text), _with_settings(recipe, momentum=factor))
        return
    if not here.before:
        return
    velocity = rules.previous_step(recipe, here.before[-1])
    factor = _share(recipe, here, velocity, declared=0.0)
    if factor is None or not 0 < factor < 1:
        return
    text = f"{factor:.4g}"
    yield _by(
        recipe, Cause("undeclared_momentum", text), rules.hidden_momentum(recipe.update, factor)
    )


def _nesterov(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """Nesterov's velocity, which the specification does not have, shows in the first step."""
    optimizer = recipe.spec.optimizer
    if optimizer.name != "sgd" or optimizer.momentum or here.step != 1:
        return
    factor = _factor(recipe, here)
    momentum = 0.0 if factor is None else round(factor - 1, 3)
    if 0 < momentum < 1:
        text = f"{momentum:g}, Nesterov"
        yield _by(recipe, Cause("undeclared_momentum", text), rules.hidden_nesterov(momentum))


def _share(
    recipe: Recipe, here: Moment, velocity: dict[str, Array], *, declared: float
) -> float | None:
    """The factor of an old velocity that explains the residual best."""
    rate = recipe.spec.optimizer.rate_at(here.step)
    if declared:
        recipe = _with_settings(recipe, momentum=0.0, nesterov=False)
    tops, bottoms = 0.0, 0.0
    for name, judged in recipe.updated(here).weights.items():
        new = np.asarray(here.now.record.state.weights[name], np.float64).ravel()
        residual = judged.value.ravel() - new
        column = rate * velocity[name].ravel()
        scale = (recipe.eps * (np.abs(new) + np.abs(column)) + 1e-45) ** 2
        tops += float((residual * column / scale).sum())
        bottoms += float((column * column / scale).sum())
    if not bottoms:
        return None
    share = tops / bottoms
    nice = round(share, 3)
    return nice if abs(share - nice) < 1e-4 else share


# --- Clipping and other rules ---------------------------------------------------------------------


def _clips(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """A clip that the specification does not have, its limit read off what is left."""
    optimizer = recipe.spec.optimizer
    if optimizer.name != "sgd" or optimizer.momentum or optimizer.weight_decay:
        return
    rate = optimizer.rate_at(here.step)
    used = {
        name: (here.weights[name] - np.asarray(w, np.float64)) / rate
        for name, w in here.now.record.state.weights.items()
    }
    bare = replace(_with_settings(recipe, clip_norm=0.0), update=recipe.update)
    whole = float(np.sqrt(sum(float((g * g).sum()) for g in used.values())))
    longest = max(float(np.sqrt((g * g).sum())) for g in used.values())
    largest = max(float(np.abs(g).max()) for g in used.values())
    for name, limit, cut in (
        ("clip_by_norm", whole, rules.overall),
        ("clip_per_tensor", longest, rules.per_tensor),
        ("clip_by_value", largest, rules.by_value),
    ):
        nice = float(f"{limit:.3g}")
        if not nice:
            return  # nothing moved
        yield Hypothesis(
            Cause(name, f"{nice:g}"),
            replace(
                bare,
                update=rules.clipped(bare.update, cut(nice)),
                slack=0.0 if cut is rules.by_value else CLIP_EPSILON / nice,
            ),
        )


def _other_rules(recipe: Recipe) -> Iterator[Hypothesis]:
    optimizer = recipe.spec.optimizer
    if optimizer.name == "adam":
        for epsilon in dict.fromkeys((optimizer.epsilon, 1e-8, 1e-7)):
            yield _by(
                recipe,
                Cause("adam_epsilon_placement", f"{epsilon:g}, after the bias correction"),
                optimizers.adam_like(epsilon_after=True, epsilon=epsilon),
            )
        for epsilon in (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
            if epsilon != optimizer.epsilon:
                text = f"{epsilon:g} instead of {optimizer.epsilon:g}"
                yield Hypothesis(
                    Cause("adam_epsilon", text), _with_settings(recipe, epsilon=epsilon)
                )
        for beta_1, beta_2 in ((0.9, 0.99), (0.9, 0.95), (0.95, 0.999), (0.5, 0.999), (0.8, 0.999)):
            text = f"{beta_1:g}, {beta_2:g}"
            yield Hypothesis(
                Cause("adam_betas", text), _with_settings(recipe, beta_1=beta_1, beta_2=beta_2)
            )
        yield _by(
            recipe, Cause("adam_bias_correction_missing"), optimizers.adam_like(corrected=False)
        )
        return
    for name, rule in optimizers.OTHER_OPTIMIZERS.items():
        for rate in dict.fromkeys((optimizer.learning_rate, 0.001, 0.01)):
            # Their corrections magnify the rounding of a float32 beta of 0.999 most at step 1.
            slack = recipe.eps * adam_cancellation(0.9, 0.999, 1)
            cause = Cause("other_optimizer", f"{name}, learning rate {rate:g}")
            yield _by(recipe, cause, rule(rate), slack=slack)
