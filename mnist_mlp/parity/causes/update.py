"""Why new weights do not follow from the side's own gradient by the specified update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import pairwise

import numpy as np

from mnist_mlp.parity.causes import decay, optimizers, rules
from mnist_mlp.parity.causes.hypothesis import Hypothesis
from mnist_mlp.parity.causes.rules import Rule
from mnist_mlp.parity.findings import Cause, Finding, JudgedStep
from mnist_mlp.parity.steps.arbiter import Expected, adam_cancellation, unjudged
from mnist_mlp.parity.steps.coefficients import STALLED, TINIEST, fit
from mnist_mlp.parity.steps.judge import moments
from mnist_mlp.parity.steps.memory import memory_of
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import CLIP_EPSILON, Recipe
from mnist_mlp.reference import Array, clip_by_global_norm, global_norm

SAME_RATE = 1e-5
"""Relative difference of learning rates below which they are the same: fitted ones are about 1e-6
off."""

FITTED_RATE = 2e-6
"""Relative error of fitted learning rates. A float32 power, as in a schedule, alone is 5e-7 off."""

TURNS = 2
"""Most changes of direction that a schedule may have. Warm-up followed by decay has one."""

MOST_ACCUMULATED = 64
"""Most batches per update that are recognised, if no update happens at the judged steps."""

MOST_REPEATED = 8
"""Most updates per batch that are recomputed: each one's rounding error enters the next."""


def hypotheses(
    recipe: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """Another setting of the same rule, another rule, or no update of some tensors.

    The order matters, since the first hypothesis that reproduces all steps is taken. A missing
    update comes before everything that is fitted, because nothing can be fitted to weights that do
    not move. Settings left out come before fitted numbers, which would describe the same fault less
    exactly. A learning rate for each step comes last: it can imitate every fault that only makes
    whole steps longer or shorter.
    """
    here = next(m for m in moments(steps) if m.now.step == finding.step and not m.now.stress)
    yield from _not_updated(recipe, steps, here)
    yield from _repeated(recipe, here)
    yield from _other_settings(recipe)
    yield from _other_rate(recipe, here)
    yield from decay.hypotheses(recipe, here)
    yield from _nesterov(recipe, here)
    yield from _momentum(recipe, here)
    yield from _clips(recipe, here)
    yield from _other_rules(recipe)
    yield from _other_rates(recipe, steps, here)


def instead(recipe: Recipe, plain: Recipe) -> Iterator[Hypothesis]:
    """Hypotheses about a port that differs from `recipe`, the update of its original."""
    if recipe.update is rules.rate_in_velocity:
        cause = Cause("learning_rate_outside_velocity")
        yield Hypothesis(cause, replace(recipe, update=plain.update))
    yield from decay.instead(recipe)


def _by(recipe: Recipe, cause: Cause, rule: Rule, *, slack: float = 0.0) -> Hypothesis:
    return Hypothesis(cause, replace(recipe, update=rule, slack=recipe.slack + slack))


# --- No update ------------------------------------------------------------------------------------


def _not_updated(recipe: Recipe, steps: Sequence[JudgedStep], here: Moment) -> Iterator[Hypothesis]:
    """No update of any tensor at some steps (accumulation), or of some tensors at every step."""
    unmoved = rules.unmoved_tensors(here.now)
    tensors = set(here.weights)
    if unmoved == tensors:
        moved_at = {s.step: rules.unmoved_tensors(s) != tensors for s in steps if not s.stress}
        if not any(moved_at.values()):
            cause = Cause("tensor_not_updated", "every tensor")
            yield _by(recipe, cause, rules.frozen(recipe.update, tensors))
            return
        for every in range(2, MOST_ACCUMULATED + 1):
            if all(moved is (step % every == 0) for step, moved in moved_at.items()):
                cause = Cause("gradient_accumulation", f"one update every {every} steps")
                yield _by(recipe, cause, rules.every_nth(every))
                return
        return
    left_out = {name for name in unmoved if np.any(here.gradient[name])}
    if left_out:
        # An optimizer that does not know a tensor does not clear its gradient either.
        yield Hypothesis(
            Cause("tensor_not_updated", ", ".join(sorted(left_out))),
            replace(
                recipe,
                update=rules.frozen(recipe.update, left_out),
                gradient=_unjudged(recipe, left_out),
            ),
        )


def _unjudged(
    recipe: Recipe, names: Set[str]
) -> Callable[[dict[str, Expected], Moment], dict[str, Expected]]:
    def gradient(exact: dict[str, Expected], moment: Moment) -> dict[str, Expected]:
        own = recipe.gradient(exact, moment)
        return own | {name: unjudged(own[name].value) for name in names}

    return gradient


# --- Several updates for one batch ----------------------------------------------------------------


def _repeated(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """As many updates as were counted: with the same gradient, or with a new one each time."""
    times = here.now.record.state.step - here.now.shared.step
    if not 1 < times <= MOST_REPEATED:
        return
    for new_gradient, how in ((False, "on one gradient"), (True, "each on a new gradient")):
        cause = Cause("repeated_update", f"{times} for each batch, {how}")
        yield _by(recipe, cause, rules.repeated(recipe.update, times, new_gradient=new_gradient))


# --- Other numbers in the same rule ---------------------------------------------------------------


def _other_settings(recipe: Recipe) -> Iterator[Hypothesis]:
    """A setting of the specification that was left out, or was done in another common way."""
    optimizer = recipe.spec.optimizer
    if optimizer.schedule:
        yield Hypothesis(Cause("schedule_ignored"), recipe.with_settings(schedule=()))
    if optimizer.nesterov:
        yield Hypothesis(Cause("nesterov_missing"), recipe.with_settings(nesterov=False))
    if optimizer.momentum:
        if not optimizer.nesterov:
            yield Hypothesis(Cause("undeclared_nesterov"), recipe.with_settings(nesterov=True))
        yield _by(recipe, Cause("learning_rate_in_velocity"), rules.rate_in_velocity)
        yield Hypothesis(
            Cause("momentum_missing"), recipe.with_settings(momentum=0.0, nesterov=False)
        )
    if optimizer.clip_norm:
        yield Hypothesis(Cause("clip_missing"), recipe.with_settings(clip_norm=0.0))
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
        without = recipe.with_settings(weight_decay=0.0)
        yield Hypothesis(Cause("weight_decay_missing"), without)
        decoupled = rules.DecoupledDecay(recipe.update, optimizer.weight_decay)
        yield _by(
            without, Cause("decoupled_weight_decay", f"{optimizer.weight_decay:g}"), decoupled
        )
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
    # People choose round numbers, and a fit is only exact to about six digits. A fault that is
    # smaller than that, such as a factor of 1.0000001, needs more digits to be named at all.
    fitted = float(f"{rate * factor:.6g}")
    if fitted == rate:
        fitted = float(f"{rate * factor:.9g}")
    scaled = recipe.with_settings(
        learning_rate=optimizer.learning_rate * fitted / rate,
        schedule=tuple((step, value * fitted / rate) for step, value in optimizer.schedule),
    )
    name = "gradient_ascent" if factor < 0 else "learning_rate"
    yield Hypothesis(Cause(name, f"{fitted:.9g} instead of {rate:g}"), scaled)


def _other_rates(recipe: Recipe, steps: Sequence[JudgedStep], here: Moment) -> Iterator[Hypothesis]:
    """Another learning rate at each step: a schedule that the specification does not have.

    Other faults also make whole steps longer or shorter, for example a gradient scaled to unit
    length. A schedule is recognised by its shape: it rarely changes its direction (`TURNS`).
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
    # If the velocity contains the rate, an update is not a multiple of the specified one: the old
    # velocity has the rate of the step before. So both rates are measured.
    old_and_new = {moment.step: _rates_in_velocity(recipe, moment) for moment in at}
    known = {step: pair for step, pair in old_and_new.items() if pair is not None}
    now = {step: pair[1] for step, pair in known.items()}
    if len(known) == len(at) and _is_schedule(now, specified, steps):
        before = {step - 1: pair[0] for step, pair in known.items() if pair[0] is not None}
        yield _scheduled(recipe, {**before, **now}, specified, rules.rate_in_velocity, None)


def _is_schedule(
    rates: Mapping[int, float], specified: Mapping[int, float], steps: Sequence[JudgedStep]
) -> bool:
    """Whether rates by step can be a schedule, and differ from the specified ones."""
    changed = [s for s, rate in rates.items() if abs(rate / specified[s] - 1) > SAME_RATE]
    if not changed or min(rates.values()) <= 0 or _turns(list(rates.values())) > TURNS:
        return False
    rows = {step.step: len(step.labels) for step in steps if not step.stress}
    # If only smaller batches have another rate, the cause is the batch size and not a schedule.
    return not max(rows[step] for step in changed) < max(rows.values())


def _scheduled(
    recipe: Recipe,
    rates: Mapping[int, float],
    specified: Mapping[int, float],
    rule: Rule,
    cause: Cause | None,
) -> Hypothesis:
    """The rule with the measured rates.

    They become the recipe's own rates, so that further causes, and a port that is compared with
    this side, are judged with them.
    """
    if cause is None:
        first = min(s for s in specified if abs(rates[s] / specified[s] - 1) > SAME_RATE)
        text = f"{rates[first]:.6g} instead of {specified[first]:.6g} from step {first}"
        if rule is rules.rate_in_velocity:
            text += ", kept in the velocity"
        cause = Cause("undeclared_schedule", text)
    scheduled = recipe.with_settings(schedule=tuple(sorted(rates.items())))
    # A rate near 0 may have the rounding error of the first rate, as in a linear decay.
    least = min(rates[step] / specified[step] for step in specified)
    slack = min(max(FITTED_RATE, 2 * recipe.eps / least), 1e-3)
    return _by(replace(scheduled, measured=frozenset(specified)), cause, rule, slack=slack)


def _by_epoch(
    rates: Mapping[int, float], recipe: Recipe, steps: Sequence[JudgedStep]
) -> Cause | None:
    """The cause `schedule_by_epoch`, if the rates follow the schedule by epochs instead of steps.

    During epoch n, the rate is then that of step n. Lightning does this with a scheduler by
    default (`"interval": "epoch"`).
    """
    epoch_of = {step.step: step.epoch for step in steps if not step.stress}
    known = set(rates) if recipe.measured is None else set(rates) & recipe.measured
    optimizer = recipe.spec.optimizer
    expected = {
        step: optimizer.rate_at(epoch_of[step])
        for step in rates
        if recipe.measured is None or epoch_of[step] in known
    }
    if len(set(expected.values())) < 2:
        return None  # by a constant rate, epochs can't be distinguished from steps
    if any(abs(rates[step] / rate - 1) > SAME_RATE for step, rate in expected.items()):
        return None
    step = min(s for s in expected if abs(rates[s] / optimizer.rate_at(s) - 1) > SAME_RATE)
    text = f"{rates[step]:.6g} instead of {optimizer.rate_at(step):.6g} at step {step}"
    return Cause("schedule_by_epoch", text)


def _rates_in_velocity(recipe: Recipe, moment: Moment) -> tuple[float | None, float] | None:
    """The learning rate in the old velocity, and that of the new gradient, by least squares.

    None if they can't be determined.
    """
    optimizer = recipe.spec.optimizer
    memory = memory_of(optimizer, moment) if optimizer.momentum else None
    if memory is None or optimizer.name != "sgd":
        return None
    gradient = clip_by_global_norm(moment.gradient, optimizer.clip_norm)
    momentum, through = optimizer.momentum, 1.0
    if optimizer.nesterov:
        momentum, through = momentum**2, 1 + momentum
    moves, olds, news, sigmas = [], [], [], []
    for name, w in moment.weights.items():
        new = np.asarray(moment.now.record.state.weights[name], np.float64)
        d = gradient[name] + optimizer.weight_decay * w
        moves.append((w - new).ravel())
        olds.append(momentum * memory.slots["velocity"][name].ravel())
        news.append(through * d.ravel())
        sigmas.append(recipe.eps * (np.abs(w) + np.abs(w - new)).ravel() + TINIEST)
    columns = {"old": np.concatenate(olds), "new": np.concatenate(news)}
    found = fit(np.concatenate(moves), columns, np.concatenate(sigmas))
    if found is None or "new" not in found.value:
        return None
    return found.value.get("old"), found.value["new"]


def _turns(values: Sequence[float]) -> int:
    """How often a series changes from rising to falling or back. Errors of a fit don't count."""
    signs = [np.sign(b - a) for a, b in pairwise(values) if abs(b - a) > SAME_RATE * abs(a)]
    return sum(1 for a, b in pairwise(signs) if a != b)


def _factor(recipe: Recipe, moment: Moment) -> float | None:
    """The side's step as a multiple of the specified one, by least squares over all tensors."""
    updated = recipe.updated(moment)
    exact_moves, moves = [], []
    for name, judged in updated.weights.items():
        w = moment.weights[name].ravel()
        new = np.asarray(moment.now.record.state.weights[name], np.float64).ravel()
        exact = w - judged.value.ravel()
        moving = np.abs(exact) >= STALLED * recipe.eps * np.abs(w)
        # Each element counts by its precision: its rounding is proportional to its size.
        scale = recipe.eps * (np.abs(w) + np.abs(exact))[moving] + TINIEST
        exact_moves.append(exact[moving] / scale)
        moves.append((w - new)[moving] / scale)
    x, y = np.concatenate(exact_moves), np.concatenate(moves)
    return float(x @ y / (x @ x)) if x.any() else None


# --- Momentum -------------------------------------------------------------------------------------


def _momentum(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """Momentum that the specification does not have, or another factor."""
    optimizer = recipe.spec.optimizer
    if optimizer.name != "sgd":
        return
    if optimizer.momentum:
        memory = memory_of(optimizer, here)
        if memory is None:
            return
        velocity = {name: v.ravel() for name, v in memory.slots["velocity"].items()}
        factor = _share(recipe, here, velocity, declared=optimizer.momentum)
        # With Nesterov, the update is not linear in the momentum, so the fit is not valid.
        if factor is not None and 0 < factor < 1 and not optimizer.nesterov:
            text = f"{factor:.4g} instead of {optimizer.momentum:g}"
            yield Hypothesis(Cause("momentum", text), recipe.with_settings(momentum=factor))
        return
    if not here.before:
        return
    velocity = rules.previous_step(recipe, here.before[-1])
    factor = _share(recipe, here, velocity, declared=0.0)
    if factor is None or not 0 < factor < 1:
        return
    cause = Cause("undeclared_momentum", f"{factor:.4g}")
    yield _by(recipe, cause, rules.hidden_momentum(recipe.update, factor))


def _nesterov(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """Nesterov momentum that the specification does not have.

    It shows at step 1: the velocity is still the gradient, so the step is `1 + momentum` times the
    plain one.
    """
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
    """The factor of an old velocity that explains the residual best, by least squares."""
    rate = recipe.spec.optimizer.rate_at(here.step)
    if declared:
        recipe = recipe.with_settings(momentum=0.0, nesterov=False)
    top, bottom = 0.0, 0.0
    for name, judged in recipe.updated(here).weights.items():
        new = np.asarray(here.now.record.state.weights[name], np.float64).ravel()
        residual = judged.value.ravel() - new
        column = rate * velocity[name].ravel()
        variance = (recipe.eps * (np.abs(new) + np.abs(column)) + TINIEST) ** 2
        top += float((residual * column / variance).sum())
        bottom += float((column * column / variance).sum())
    if not bottom:
        return None
    share = top / bottom
    nice = round(share, 3)  # people choose round factors, and a rounded one is exact
    return nice if abs(share - nice) < 1e-4 else share


# --- Clipping and other rules ---------------------------------------------------------------------


def _clips(recipe: Recipe, here: Moment) -> Iterator[Hypothesis]:
    """Clipping that the specification does not have. The limit is measured from the update."""
    optimizer = recipe.spec.optimizer
    if optimizer.name != "sgd" or optimizer.momentum or optimizer.weight_decay:
        return  # only a plain SGD step shows the gradient that the optimizer used
    rate = optimizer.rate_at(here.step)
    used = {
        name: (here.weights[name] - np.asarray(w, np.float64)) / rate
        for name, w in here.now.record.state.weights.items()
    }
    bare = recipe.with_settings(clip_norm=0.0)
    whole = global_norm(used)
    longest = max(float(np.linalg.norm(g)) for g in used.values())
    largest = max(float(np.abs(g).max()) for g in used.values())
    for name, limit, cut in (
        ("clip_by_norm", whole, rules.overall),
        ("clip_per_tensor", longest, rules.per_tensor),
        ("clip_by_value", largest, rules.by_value),
    ):
        nice = float(f"{limit:.3g}")  # people choose round limits, and a rounded one is exact
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
    """Variants of Adam, or another optimizer instead of SGD.

    Adam's numbers are tried and not fitted, since an update is not linear in them.
    """
    optimizer = recipe.spec.optimizer
    if optimizer.name == "adam":
        # The specified epsilon, and the defaults of torch and of Keras.
        for epsilon in dict.fromkeys((optimizer.epsilon, 1e-8, 1e-7)):
            yield _by(
                recipe,
                Cause("adam_epsilon_placement", f"{epsilon:g}, after the bias correction"),
                optimizers.adam_like(epsilon_after=True, epsilon=epsilon),
            )
        for epsilon in (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
            if epsilon != optimizer.epsilon:
                text = f"{epsilon:g} instead of {optimizer.epsilon:g}"
                yield Hypothesis(Cause("adam_epsilon", text), recipe.with_settings(epsilon=epsilon))
        for beta_1, beta_2 in ((0.9, 0.99), (0.9, 0.95), (0.95, 0.999), (0.5, 0.999), (0.8, 0.999)):
            text = f"{beta_1:g}, {beta_2:g}"
            yield Hypothesis(
                Cause("adam_betas", text), recipe.with_settings(beta_1=beta_1, beta_2=beta_2)
            )
        yield _by(
            recipe, Cause("adam_bias_correction_missing"), optimizers.adam_like(corrected=False)
        )
        return
    for name, rule in optimizers.OTHER_OPTIMIZERS.items():
        for rate in dict.fromkeys((optimizer.learning_rate, 0.001, 0.01)):
            # Adam's bias corrections magnify the rounding of a float32 beta of 0.999, at step 1
            # most of all.
            slack = recipe.eps * adam_cancellation(0.9, 0.999, 1)
            cause = Cause("other_optimizer", f"{name}, learning rate {rate:g}")
            yield _by(recipe, cause, rule(rate), slack=slack)
