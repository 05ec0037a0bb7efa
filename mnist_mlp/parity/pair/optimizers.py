"""What makes two optimizers differ: settings, schedules, and the frameworks' own rules.

Each side's updates are first held against its own framework's rule, as it is written down in
`update_rules`. Where both follow theirs, the settings of the two sides are all that can differ, and
the changes that make the port's updates the original's are worked out in NumPy. Then they are tried
on the port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair import constraints
from mnist_mlp.parity.pair.constraints import Constrained
from mnist_mlp.parity.pair.judge import LIMITS, moved_apart, zero_by_structure
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.schedules import CAUSES as SCHEDULE_CAUSES
from mnist_mlp.parity.pair.schedules import Schedules
from mnist_mlp.parity.pair.weight_map import WeightMap
from mnist_mlp.ports.pair import Mend, PairStep, layer_and_role, tensor_name
from mnist_mlp.ports.update_rules import (
    FIELDS,
    ByStep,
    ByTensor,
    Given,
    Settings,
    clipped,
    replayed,
)
from mnist_mlp.reference import Array, Tensors

NEGLIGIBLE = 4 * float(np.finfo(np.float32).eps)
"""A difference of rules below this share of a tensor's largest movement is only noted. It is what
float32 loses in the root, the quotient and the products of an update, so that no run shows it."""

ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "keras": {"initial_accumulator": "initial_accumulator_value"},
    "torch": {
        "learning_rate": "lr", "epsilon": "eps", "rate_decay": "lr_decay",
        "initial_accumulator": "initial_accumulator_value",
    },
}  # fmt: skip
"""What a framework calls a setting, where that is another name."""


@dataclass(frozen=True)
class Hypothesis:
    """A change of the port, and what it would mend; `expected` is what it does to the settings,
    where the change does so indirectly. A `noted` one is told, and tolerated."""

    mends: tuple[Mend, ...]
    cause: Cause
    expected: tuple[Mend, ...] = ()
    noted: bool = False

    @property
    def changes(self) -> dict[str, Any]:
        """Settings of the optimizer by field."""
        mends = self.expected or self.mends
        return {mend.field: mend.value for mend in mends if mend.layer is None}


@dataclass(frozen=True, eq=False)
class Optimizers:
    """Both sides' updates: what was given, and what came of it.

    `a` is in the original's names and `b` in the port's. Of two biases that the other side has as
    one, each is moved for itself; `before` and `after` have their sum, in the original's names.
    """

    a: Sequence[Given]
    b: Sequence[Given]
    before: Sequence[Tensors]
    after_a: Sequence[Tensors]
    after_b: Sequence[Tensors]
    weights: WeightMap
    constrained: Sequence[Constrained] = ()
    steps_b: Sequence[PairStep] = ()
    frameworks: tuple[str, str] = ("", "")
    loop: bool = False
    """Whether the port's updates are made by a loop of its own."""
    schedules: Schedules | None = None

    @classmethod
    def of(cls, run: PairRun) -> Optimizers:
        """Of steps that the port took as it stands."""
        weights, ours, theirs = run.weights, run.steps_a, run.own_steps()
        forced = [weights.to_b(step.gradients, gradients=True) for step in ours]
        given = [  # what is not trained has none
            {n: g for n, g in gradients.items() if n in step.gradients}
            for gradients, step in zip(forced, theirs, strict=True)
        ]
        return cls(
            a=_given(ours, [step.gradients for step in ours], run.facts_a.framework),
            b=_given(theirs, given, run.facts_b.framework),
            before=[weights.of_a(step.before) for step in ours],
            after_a=[weights.of_a(step.after) for step in ours],
            after_b=[weights.to_a({**step.after, **step.moved}) for step in theirs],
            weights=weights,
            constrained=constraints.compared(run),
            steps_b=theirs,
            frameworks=(run.facts_a.framework, run.facts_b.framework),
            loop=run.facts_b.loop,
            schedules=run.schedules,
        )

    @cached_property
    def names(self) -> Mapping[str, tuple[str, ...]]:
        """The port's names of each tensor: two, where two biases do what one does."""
        found = {}
        for pair in self.weights.pairs:
            for role in pair.a.shapes:
                theirs = [role] if role in pair.b.shapes else []
                if role == "bias" and "recurrent_bias" not in pair.a.shapes:
                    theirs += [role for role in pair.b.shapes if role == "recurrent_bias"]
                if theirs:
                    found[tensor_name(pair.a.number, role)] = tuple(
                        tensor_name(pair.b.number, role) for role in theirs
                    )
        return found

    @property
    def known(self) -> bool:
        """Whether both are kinds whose rules are written down."""
        return all(step.settings for step in (*self.a, *self.b))

    @property
    def port_follows_its_rule(self) -> bool:
        """Whether the port's updates are those of its framework's rule."""
        return self._apart(replayed(self.b), self.after_b) <= LIMITS["update"]

    def left(self, chosen: Sequence[Hypothesis]) -> float:
        """How far the port's updates are from the original's, with changes in effect: the largest
        share of a tensor's largest movement."""
        changes = {field: value for each in chosen for field, value in each.changes.items()}
        layers = [mend for each in chosen for mend in each.mends if mend.layer is not None]
        frozen = {tensor_name(m.layer or 0, m.value) for m in layers if m.field == "frozen"}
        twice = {tensor_name(m.layer or 0, m.value) for m in layers if m.field == "twice"}
        steps = [
            replace(step, gradients={n: g for n, g in step.gradients.items() if n not in frozen})
            for step in self.b
        ]
        found = [
            {n: 2 * w - step.weights[n] if n in twice else w for n, w in after.items()}
            for step, after in zip(steps, replayed(steps, changes), strict=True)
        ]
        left = [
            constraints.after(self.constrained, layers, after, step)
            for after, step in zip(found, self.steps_b, strict=True)
        ]
        return self._apart(left, self.after_a)

    def _apart(self, found: Sequence[Tensors], after: Sequence[Tensors]) -> float:
        """Of what the port's weights become by rule."""
        worst = 0.0
        for k, moved in enumerate(found):
            ours = self.weights.to_a({**self.b[k].weights, **moved})
            zero = zero_by_structure(self.a[k].gradients)
            for name, theirs in self.names.items():
                if name in zero or name not in after[k] or moved.keys().isdisjoint(theirs):
                    continue
                size = moved_apart(ours[name], after[k][name], self.before[k][name])[0]
                worst = max(worst, size if np.isfinite(size) else float("inf"))
        return worst

    def values(self, side: str, field: str) -> list[dict[str, Any]]:
        """A setting by step and tensor, in the original's names."""
        given = self.a if side == "a" else self.b
        own = {name: name if side == "a" else theirs[0] for name, theirs in self.names.items()}
        return [
            {
                name: step.settings[here].get(field)
                for name, here in own.items()
                if here in step.settings
            }
            for step in given
        ]

    def first(self, side: str) -> Settings:
        """The settings of the first tensor in the first step."""
        given = self.a if side == "a" else self.b
        return next(iter(given[0].settings.values()))

    def rates(self, side: str) -> list[float]:
        """The learning rate of each step, of the first tensor."""
        return [next(iter(step.values())) for step in self.values(side, "learning_rate")]


def _given(steps: Sequence[PairStep], gradients: Sequence[Tensors], framework: str) -> list[Given]:
    """What an optimizer was given, in a side's own names."""
    clipping = clipping_of(gradients, [step.applied for step in steps], framework)
    return [
        Given(step.before, own, {n: _clipped(x, clipping) for n, x in step.optimizer.items()})
        for step, own in zip(steps, gradients, strict=True)
    ]


def explain(
    run: PairRun,
    removes: Callable[[Sequence[Hypothesis]], bool],
    biases: Sequence[Hypothesis] = (),
) -> tuple[Hypothesis, ...] | None:
    """Changes of the port's optimizer that make its updates the original's, all of them needed.

    `biases` are changes of which tensors it moves. They are worked out by rule, and then `removes`
    is asked whether they do so in the port itself. None where an optimizer follows no rule that is
    known, or no changes do.
    """
    both = Optimizers.of(run)
    if not both.known or not both.port_follows_its_rule:
        return None
    chosen = [*biases, *hypotheses(both)]
    if not chosen or both.left(chosen) > LIMITS["update"]:
        return None
    for each in list(chosen):
        rest = [x for x in chosen if x is not each]
        if both.left(rest) <= LIMITS["update"]:
            chosen = rest
    if not chosen:
        return None
    if not removes(chosen):
        # A schedule of Keras, asked as often as the original's, has its rates in float32.
        chosen = [replace(each, mends=each.expected or each.mends) for each in chosen]
        if not removes(chosen):
            return None
    return tuple(_sized(each, chosen, both) for each in chosen)


def _sized(each: Hypothesis, chosen: Sequence[Hypothesis], both: Optimizers) -> Hypothesis:
    """With the size of what is left if this alone is not mended."""
    size = both.left([x for x in chosen if x is not each])
    rule = any(mend.field in ("epsilon_in", "clip_slack") for mend in each.mends)
    noted = each.noted or (rule and size <= NEGLIGIBLE)
    words = f"it changes an update by {size:.2g} of a tensor's largest movement"
    if size <= NEGLIGIBLE:
        words += ", which float32 does not hold"
    cause = replace(each.cause, value=f"{each.cause.value}; {words}")
    return replace(each, cause=cause, noted=noted)


# --- Hypotheses -----------------------------------------------------------------------------------


def hypotheses(both: Optimizers) -> Iterator[Hypothesis]:
    """A change for each setting in which the two sides differ."""
    a, b = both.first("a"), both.first("b")
    if a["kind"] != b["kind"]:
        yield _other_kind(both)
        return
    for field in ("learning_rate", "weight_decay", "decoupled", "maximize", "clip_slack", "clip",
                  *FIELDS[a["kind"]]):  # fmt: skip
        if field == "epsilon" or (field == "clip_slack" and _differs(both, "clip")):
            continue
        if _differs(both, field):
            yield _of_field(both, field)
        elif field == "clip" and a["clip"] and _differs(both, "clip_at"):
            yield _of_clipping(both)
    if "epsilon" in a and _differs(both, "epsilon") and not _differs(both, "epsilon_in"):
        name = "adam_epsilon" if a["kind"] == "Adam" else "optimizer_settings"
        yield _plain(both, "epsilon", name)


def _differs(both: Optimizers, field: str) -> bool:
    return _first_pair(both, field) is not None


def _first_pair(both: Optimizers, field: str) -> tuple[Any, Any] | None:
    """The two values of a setting where they first differ."""
    for ours, theirs in zip(both.values("a", field), both.values("b", field), strict=True):
        for name in ours:
            if name in theirs and not _same(ours[name], theirs[name]):
                return ours[name], theirs[name]
    return None


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) or isinstance(b, float):
        return abs(float(a or 0) - float(b or 0)) <= 1e-12 * max(abs(a or 0), abs(b or 0))
    return bool(a == b)


def _of_field(both: Optimizers, field: str) -> Hypothesis:
    a, b = both.first("a"), both.first("b")
    ours, theirs = a.get(field), b.get(field)
    if field == "learning_rate":
        return _of_rate(both)
    if field.startswith("clip"):
        return _of_clipping(both) if field == "clip" else _of_slack(both)
    if field == "weight_decay":
        return _of_decay(both)
    if field == "epsilon_in":
        return _of_place(both)
    if field == "decoupled":
        return _plain(both, field, "coupled_weight_decay" if ours else "decoupled_weight_decay")
    if field == "rate_in_velocity":
        name = "learning_rate_outside_velocity" if ours else "learning_rate_in_velocity"
        return _plain(both, field, name)
    if field == "momentum":
        name = "undeclared_momentum" if not ours else "momentum_missing" if not theirs else field
        return _plain(both, field, name)
    if field == "nesterov":
        return _plain(both, field, "nesterov_missing" if ours else "undeclared_nesterov")
    return _plain(both, field, CAUSES.get(field, "optimizer_settings"))


CAUSES = {
    "maximize": "gradient_ascent",
    "beta_1": "adam_betas",
    "beta_2": "adam_betas",
    "initial_accumulator": "adagrad_initial_accumulator",
    "momentum_decay": "nadam_momentum_decay",
}


IN_WORDS = {
    "decoupled": ("within the gradient", "subtracted from the weights"),
    "rate_in_velocity": ("the velocity is free of the rate", "the velocity contains the rate"),
    "nesterov": ("plain momentum", "Nesterov's momentum"),
    "maximize": ("down the gradient", "up the gradient"),
}
"""What a port without and with it does, of settings that say yes or no."""


def _plain(both: Optimizers, field: str, name: str) -> Hypothesis:
    """The original's value in the port."""
    same = both.first("a")[field], both.first("b")[field]
    ours, theirs = _first_pair(both, field) or same
    known = ARGUMENTS[both.frameworks[1]]
    text = IN_WORDS[field][bool(theirs)] if field in IN_WORDS else _told(field, ours, theirs)
    fix = ""
    if name == "optimizer_settings":
        text = f"{text}, {both.first('b')['kind']}"
    if isinstance(ours, int | float) and field not in IN_WORDS:
        fix = f"{_argument(known, field, both)}={_short(ours)} in the optimizer"
    return Hypothesis((Mend(None, field, _wanted(both, field)),), Cause(name, text, fix=fix))


def _argument(known: Mapping[str, str], field: str, both: Optimizers) -> str:
    if both.frameworks[1] == "torch" and field in ("beta_1", "beta_2"):
        return f"betas[{int(field[-1]) - 1}]"
    if both.frameworks[1] == "torch" and field == "rho" and both.first("b")["kind"] == "RMSprop":
        return "alpha"
    return known.get(field, field)


def _told(field: str, ours: Any, theirs: Any) -> str:
    return f"{field} {_short(theirs)} instead of {_short(ours)}"


def _short(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _wanted(both: Optimizers, field: str) -> Any:
    """The original's value of a setting, for the port: by step or by tensor where it varies."""
    values = both.values("a", field)
    wanted = {
        theirs: _over_steps([step.get(name) for step in values])
        for name in values[0]
        for theirs in both.names[name]
    }
    first = next(iter(wanted.values()))
    if all(each == first for each in wanted.values()):
        return first
    return ByTensor(tuple(wanted.items()))


def _over_steps(values: Sequence[Any]) -> Any:
    same = all(value == values[0] for value in values)
    return values[0] if same else ByStep(tuple(values))


def _other_kind(both: Optimizers) -> Hypothesis:
    a, b = both.first("a"), both.first("b")
    fields = [field for field in a if field not in ("name", "part_of")]
    mends = tuple(Mend(None, field, _wanted(both, field)) for field in fields)
    rates = [each["learning_rate"] for each in (b, a)]
    text = f"{b['name']} (rate {_short(rates[0])}) instead of {a['name']} (rate {_short(rates[1])})"
    return Hypothesis(mends, Cause("other_optimizer", text, fix=f"{a['name']} in {_where(both)}"))


def _where(both: Optimizers) -> str:
    return "configure_optimizers" if both.frameworks[1] == "torch" else "compile"


def _of_rate(both: Optimizers) -> Hypothesis:
    """Another rate, or another schedule, as the whole run shows it."""
    plain, whole = _plain(both, "learning_rate", "learning_rate"), both.schedules
    if whole is None:
        return _of_own_rates(both, plain)
    if whole.scaled or whole.what != "learning rate":
        return plain
    if whole.first is None:
        text = f"{whole.words[0]} for {whole.words[1]}"
        return Hypothesis(plain.mends, Cause("schedule_in_float32", text), noted=True)
    if whole.interval is None:
        return Hypothesis(plain.mends, whole.cause)
    return Hypothesis((Mend(None, "interval", whole.interval),), whole.cause, expected=plain.mends)


def _of_own_rates(both: Optimizers, plain: Hypothesis) -> Hypothesis:
    """Rates that a user's own code changes, as the judged steps show them."""
    ours, theirs = both.rates("a"), both.rates("b")
    sides = tuple("constant" if len(set(x)) == 1 else "changes" for x in (ours, theirs))
    if sides == ("constant", "constant"):
        return plain
    at = next((k for k, (x, y) in enumerate(zip(ours, theirs, strict=True)) if not _same(x, y)), 0)
    text = f"{_told('learning_rate', ours[at], theirs[at])} at step {at + 1}"
    name = SCHEDULE_CAUSES.get(sides, "other_schedule")
    return Hypothesis(plain.mends, Cause(name, text))


def _of_decay(both: Optimizers) -> Hypothesis:
    ours, theirs = (both.values(side, "weight_decay")[0] for side in "ab")
    mends = [Mend(None, "weight_decay", _wanted(both, "weight_decay"))]
    sizes = [max(each.values()) for each in (ours, theirs)]
    if not sizes[1]:
        if _differs(both, "decoupled"):  # which cannot matter where there is no decay
            mends.append(Mend(None, "decoupled", both.first("a")["decoupled"]))
        text = f"none instead of {_short(sizes[0])}"
        cause = Cause("weight_decay_missing", text, fix=_fix_of_decay(both, sizes[0]))
        return Hypothesis(tuple(mends), cause)
    if _same(*sizes):
        odd = [name for name in ours if not _same(ours[name], theirs.get(name))]
        more = _tensors(both, [name for name in odd if not ours[name]])
        fewer = _tensors(both, [name for name in odd if ours[name]])
        text = f"{_short(sizes[0])} acts" + (f" on {more} too" if more else "")
        text += (" and" if more and fewer else "") + (f" not on {fewer}" if fewer else "")
        parts = [f"{_short(sizes[0])} for {fewer}"] * bool(fewer) + [f"0 for {more}"] * bool(more)
        fix = f"weight_decay={' and '.join(parts)}, by groups of parameters"
        if both.frameworks[1] == "keras":
            fix = _fix_of_decay(both, sizes[0])
        return Hypothesis(tuple(mends), Cause("weight_decay_scope", text, fix=fix))
    plain = _plain(both, "weight_decay", "weight_decay")
    fix = _fix_of_decay(both, sizes[0]) if sizes[0] else ""
    return replace(plain, cause=replace(plain.cause, fix=fix or plain.cause.fix))


def _fix_of_decay(both: Optimizers, size: float) -> str:
    """How the port decays weights as the original does; Keras has a decay within the gradient only
    as a penalty in the loss."""
    a, b, framework = both.first("a"), both.first("b"), both.frameworks[1]
    if framework == "keras" and not a["decoupled"]:
        c = _short(size / 2)
        return (
            f"kernel_regularizer=keras.regularizers.L2({c}) in each layer, and the same for its "
            f"bias and other weights"
        )
    if framework == "torch" and a["decoupled"]:
        adam = b["kind"] == "Adam"
        return f"torch.optim.AdamW(..., weight_decay={_short(size)})" if adam else ""
    return f"weight_decay={_short(size)} in the optimizer"


SHOWN = 3
"""So many tensors are named; the others are counted."""


def _tensors(both: Optimizers, names: Sequence[str]) -> str:
    """Tensors in words, by the port's names of their layers."""
    layers = {pair.a.number: pair.b.name for pair in both.weights.pairs}
    parts = [layer_and_role(name) for name in names]
    told = [f"the {role} of {layers[number]}" for number, role in parts]
    if len(told) > SHOWN:
        told[SHOWN - 1 :] = [f"{len(told) - SHOWN + 1} more"]
    return " and ".join([", ".join(told[:-1]), *told[-1:]]) if len(told) > 1 else "".join(told)


PLACES = {
    "Adam": "adam_epsilon_placement",
    "RMSprop": "rmsprop_epsilon_placement",
    "Adagrad": "adagrad_epsilon_placement",
    "Adamax": "adamax_epsilon_placement",
}


def _of_place(both: Optimizers) -> Hypothesis:
    """Epsilon at another place; its size is a part of that, as it means another thing there."""
    a, b = both.first("a"), both.first("b")
    mends = tuple(
        Mend(None, field, _wanted(both, field))
        for field in ("epsilon_in", "epsilon")
        if _differs(both, field)
    )
    text = (
        f"epsilon {_short(b['epsilon'])} in {b['epsilon_in']}, the original's "
        f"{_short(a['epsilon'])} in {a['epsilon_in']}"
    )
    name, fix = PLACES[a["kind"]], ""
    if a["kind"] == "Adagrad" and both.frameworks[1] == "torch":
        start = a["initial_accumulator"] + a["epsilon"]
        fix = f"initial_accumulator_value={start:.10g}, eps=0 in the optimizer: then it is equal"
    return Hypothesis(mends, Cause(name, text, fix=fix))


# --- Clipping -------------------------------------------------------------------------------------


def unreached_clipping(both: Optimizers) -> tuple[str, bool] | None:
    """In words, two clippings that differ, where no judged step reaches a limit; and whether both
    sides clip. None if they are the same, or a step shows what they do."""
    if not both.known:
        return None
    a, b = both.first("a"), both.first("b")
    same = a["clip"] == b["clip"] and _same(a["clip_at"], b["clip_at"])
    if same or any(_reaches(step) for step in (*both.a, *both.b)):
        return None
    words = f"{_clip_words(b)} instead of {_clip_words(a)}, which no judged step reaches"
    return words, bool(a["clip"] and b["clip"])


def _reaches(step: Given) -> bool:
    """Whether clipping changes a gradient by more than torch's 1e-6 behind the limit."""
    names = [n for n in step.gradients if n in step.settings]
    given = {n: step.gradients[n] for n in names}
    if not given:
        return False
    taken = clipped(given, step.settings)
    return any(np.abs(taken[n] - g).max(initial=0.0) > 1e-5 * np.abs(g).max(initial=0.0)
               for n, g in given.items())  # fmt: skip


SLACK = {"keras": 0.0, "torch": 1e-6}
"""What each framework's own clipping adds to a norm that it divides by."""

ALIKE = 1e-9
"""Relative difference of two ratios that are the same: each is of two rounded numbers."""


def clipping_of(
    gradients: Sequence[Tensors], applied: Sequence[Tensors], framework: str
) -> dict[str, Any]:
    """How a user's own code clipped, told by what the optimizer took; empty if it did not, or in
    no way that has a name."""
    if scaling_of(gradients, applied) is not None:
        return {}
    for given, taken in zip(gradients, applied, strict=True):
        names = [n for n in given if n in taken and taken[n].shape == given[n].shape]
        ratios = {n: _ratio(given[n], taken[n]) for n in names if np.any(given[n])}
        if not ratios or all(r is not None and abs(r - 1) <= ALIKE for r in ratios.values()):
            continue
        known = [r for r in ratios.values() if r is not None]
        if len(known) < len(ratios):
            at = max(float(np.abs(taken[n]).max()) for n in ratios)
            same = all(
                np.allclose(np.clip(given[n], -at, at), taken[n], rtol=ALIKE, atol=0)
                for n in ratios
            )
            return {"clip": "value", "clip_at": at} if same else {}
        if max(known) - min(known) <= ALIKE:
            norm, slack = _norm(given[n] for n in names), SLACK[framework]
            at = _norm(taken[n] for n in names) * (norm + slack) / norm
            return {"clip": "global", "clip_at": at, "clip_slack": slack}
        slack = SLACK[framework]
        limits = [
            _norm([taken[n]]) * (_norm([given[n]]) + slack) / _norm([given[n]])
            for n, ratio in ratios.items()
            if ratio is not None and abs(ratio - 1) > ALIKE
        ]
        return {"clip": "tensor", "clip_at": max(limits), "clip_slack": slack}
    return {}


def scaling_of(gradients: Sequence[Tensors], applied: Sequence[Tensors]) -> float | None:
    """The one number by which a user's own code multiplies the gradients of every step; no clipping
    has the same for all. None if it does not, or if there is one step only."""
    found = []
    for given, taken in zip(gradients, applied, strict=True):
        names = [n for n in given if n in taken and taken[n].shape == given[n].shape]
        found += [_ratio(given[n], taken[n]) for n in names if np.any(given[n])]
        if not names:
            return None
    known = [ratio for ratio in found if ratio is not None]
    same = bool(known) and len(known) == len(found) and max(known) - min(known) <= ALIKE
    return known[0] if same and len(gradients) > 1 and abs(known[0] - 1) > ALIKE else None


def scaled(run: PairRun) -> Iterator[Hypothesis]:
    """Gradients that the port's own code multiplies by a number before its update."""
    steps = run.steps_b()
    factor = scaling_of([step.gradients for step in steps], [step.applied for step in steps])
    if factor is not None:
        mends = (Mend(None, "clip", ""), Mend(None, "clip_at", 0.0))
        yield Hypothesis(mends, Cause("gradient_scaled", f"{factor:.9g} times"))


def _ratio(given: Array, taken: Array) -> float | None:
    """By what a tensor was multiplied; None if not all of it by one number."""
    ratio = float(np.vdot(taken, given) / np.vdot(given, given))
    apart = float(np.abs(taken - ratio * given).max())
    return ratio if apart <= ALIKE * float(np.abs(given).max()) else None


def _norm(arrays: Iterable[Array]) -> float:
    return float(np.sqrt(sum(float(np.vdot(g, g)) for g in arrays)))


def _clipped(settings: Settings, measured: Mapping[str, Any]) -> Settings:
    """With clipping that no setting tells of."""
    return {**settings, **measured} if settings and not settings["clip"] else settings


CLIPS = {
    "": "no clipping",
    "tensor": "each tensor to a norm of",
    "global": "all tensors to a norm of",
    "value": "each element to",
}


CLIP_FIXES = {
    "keras": {
        "": "clipnorm=None, global_clipnorm=None, clipvalue=None in the optimizer",
        "tensor": "clipnorm={at} in the optimizer",
        "global": "global_clipnorm={at} in the optimizer",
        "value": "clipvalue={at} in the optimizer",
    },
    "torch": {
        "": "gradient_clip_val=None in the Trainer",
        "tensor": "nn.utils.clip_grad_norm_(w, {at}) for each parameter w",
        "global": 'gradient_clip_val={at}, gradient_clip_algorithm="norm" in the Trainer',
        "value": 'gradient_clip_val={at}, gradient_clip_algorithm="value" in the Trainer',
    },
    "a loop in torch": {
        "": "no clipping in front of optimizer.step()",
        "tensor": "nn.utils.clip_grad_norm_(w, {at}) for each parameter w, in front of the update",
        "global": "nn.utils.clip_grad_norm_(model.parameters(), {at})",
        "value": "nn.utils.clip_grad_value_(model.parameters(), {at})",
    },
}


def _clip_words(settings: Settings) -> str:
    words = CLIPS[settings["clip"]]
    return f"{words} {_short(settings['clip_at'])}" if settings["clip"] else words


def _of_clipping(both: Optimizers) -> Hypothesis:
    a, b = both.first("a"), both.first("b")
    fields = ["clip", "clip_at"]
    if a["clip"] == b["clip"]:
        name = "clip_limit"
    elif not b["clip"]:
        name = "clip_missing"
    else:
        name = {"tensor": "clip_per_tensor", "global": "clip_by_norm", "value": "clip_by_value"}[
            b["clip"]
        ]
    if a["clip"] != b["clip"]:
        fields.append("clip_slack")
    mends = tuple(Mend(None, field, a[field]) for field in fields)
    text = f"{_clip_words(b)} instead of {_clip_words(a)}"
    where = both.frameworks[1]
    where = "a loop in torch" if where == "torch" and both.loop else where
    fix = CLIP_FIXES[where][a["clip"]].format(at=_short(a["clip_at"]))
    return Hypothesis(mends, Cause(name, text, fix=fix))


def _of_slack(both: Optimizers) -> Hypothesis:
    """The port's clipping as it is, but for that; said in full, it takes the place of own code."""
    a, b = both.first("a"), both.first("b")
    mends = (
        *(Mend(None, field, b[field]) for field in ("clip", "clip_at")),
        Mend(None, "clip_slack", a["clip_slack"]),
    )
    cause = Cause("clip_norm_slack", "1e-6 is added to the norm by torch alone")
    return Hypothesis(mends, cause, noted=True)
