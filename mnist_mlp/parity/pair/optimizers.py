"""What makes two optimizers differ: settings, schedules, and the frameworks' own rules.

Each side's updates are first held against its own framework's rule, as it is written down in
`update_rules`. Where both follow theirs, the settings of the two sides are all that can differ, and
the changes that make the port's updates the original's are worked out in NumPy. Then they are tried
on the port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.judge import LIMITS, moved_apart, zero_by_structure
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.ports.pair import Mend, PairStep, tensor_name
from mnist_mlp.ports.update_rules import (
    FIELDS,
    ByStep,
    ByTensor,
    Given,
    Settings,
    replayed,
)
from mnist_mlp.reference import Tensors

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
        """Settings by field."""
        return {mend.field: mend.value for mend in self.expected or self.mends}


@dataclass(frozen=True, eq=False)
class Optimizers:
    """Both sides' updates in the original's names: what was given, and what came of it."""

    a: Sequence[Given]
    b: Sequence[Given]
    after_a: Sequence[Tensors]
    after_b: Sequence[Tensors]
    names: Mapping[str, str]
    """The port's name of each tensor."""
    frameworks: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, run: PairRun) -> Optimizers:
        """Of steps that the port took as it stands."""
        weights = run.weights
        names = {
            tensor_name(pair.a.number, role): tensor_name(pair.b.number, role)
            for pair in weights.pairs
            for role in pair.a.shapes.keys() & pair.b.shapes.keys()
        }
        own = run.own_steps()

        def given(step: PairStep, other: PairStep | None = None) -> Given:
            if other is None:
                settings: Mapping[str, Settings] = step.optimizer
                return Given(step.before, step.gradients, settings)
            settings = {a: other.optimizer[b] for a, b in names.items() if b in other.optimizer}
            return Given(weights.to_a(other.before), step.gradients, settings)

        return cls(
            a=[given(step) for step in run.steps_a],
            b=[given(*both) for both in zip(run.steps_a, own, strict=True)],
            after_a=[step.after for step in run.steps_a],
            after_b=[weights.to_a(step.after) for step in own],
            names=names,
            frameworks=(run.facts_a.framework, run.facts_b.framework),
        )

    @property
    def known(self) -> bool:
        """Whether both are kinds whose rules are written down."""
        return all(step.settings for step in (*self.a, *self.b))

    def follows(self, side: str) -> bool:
        """Whether a side's updates are those of its own framework's rule."""
        given, after = (self.a, self.after_a) if side == "a" else (self.b, self.after_b)
        return self._apart(replayed(given), after) <= LIMITS["update"]

    def left(self, changes: Mapping[str, Any]) -> float:
        """How far the port's updates are from the original's, with changes in effect: the largest
        share of a tensor's largest movement."""
        here = {field: self._in_our_names(value) for field, value in changes.items()}
        return self._apart(replayed(self.b, here), self.after_a)

    def _in_our_names(self, value: Any) -> Any:
        if not isinstance(value, ByTensor):
            return value
        ours = {b: a for a, b in self.names.items()}
        return ByTensor(tuple((ours.get(name, name), each) for name, each in value.values))

    def _apart(self, found: Sequence[Tensors], after: Sequence[Tensors]) -> float:
        worst = 0.0
        for given, ours, theirs in zip(self.a, found, after, strict=True):
            zero = zero_by_structure(given.gradients)
            for name in ours.keys() & theirs.keys() - zero:
                size = moved_apart(ours[name], theirs[name], given.weights[name])[0]
                worst = max(worst, size if np.isfinite(size) else float("inf"))
        return worst

    def values(self, side: str, field: str) -> list[dict[str, Any]]:
        """A setting by step and tensor."""
        given = self.a if side == "a" else self.b
        return [
            {name: step.settings[name].get(field) for name in self.names if name in step.settings}
            for step in given
        ]

    def first(self, side: str) -> Settings:
        """The settings of the first tensor in the first step."""
        given = self.a if side == "a" else self.b
        return next(iter(given[0].settings.values()))

    def rates(self, side: str) -> list[float]:
        """The learning rate of each step, of the first tensor."""
        return [next(iter(step.values())) for step in self.values(side, "learning_rate")]


def explain(
    run: PairRun, removes: Callable[[Sequence[Hypothesis]], bool]
) -> tuple[Hypothesis, ...] | None:
    """Changes of the port's optimizer that make its updates the original's, all of them needed.

    They are worked out by rule, and then `removes` is asked whether they do so in the port itself.
    None where an optimizer follows no rule that is known, or no changes do.
    """
    both = Optimizers.of(run)
    if not both.known or not both.follows("b"):
        return None
    chosen = list(hypotheses(both))
    if not chosen or both.left(_joined(chosen)) > LIMITS["update"]:
        return None
    for each in list(chosen):
        rest = [x for x in chosen if x is not each]
        if both.left(_joined(rest)) <= LIMITS["update"]:
            chosen = rest
    if not chosen or not removes(chosen):
        return None
    return tuple(_sized(each, chosen, both) for each in chosen)


def _joined(chosen: Sequence[Hypothesis]) -> dict[str, Any]:
    return {field: value for each in chosen for field, value in each.changes.items()}


def _sized(each: Hypothesis, chosen: Sequence[Hypothesis], both: Optimizers) -> Hypothesis:
    """With the size of what is left if this alone is not mended."""
    size = both.left(_joined([x for x in chosen if x is not each]))
    rule = any(mend.field in ("epsilon_in", "clip_slack") for mend in each.mends)
    noted = (rule and size <= NEGLIGIBLE) or each.cause.name == "clip_norm_slack"
    words = f"{size:.2g} of the largest movement of a tensor"
    if noted:
        words += ", which float32 does not hold" if size <= NEGLIGIBLE else ""
    cause = replace(each.cause, value=f"{each.cause.value}; it makes {words}")
    return replace(each, cause=cause, noted=noted)


# --- Hypotheses -----------------------------------------------------------------------------------


def hypotheses(both: Optimizers) -> Iterator[Hypothesis]:
    """A change for each setting in which the two sides differ."""
    a, b = both.first("a"), both.first("b")
    if a["kind"] != b["kind"]:
        yield _other_kind(both)
        return
    for field in ("learning_rate", "weight_decay", "decoupled", "maximize", "clip", "clip_slack",
                  *FIELDS[a["kind"]]):  # fmt: skip
        if field in ("epsilon", "clip_at"):
            continue
        if _differs(both, field):
            yield _of_field(both, field)
        elif field == "clip" and a["clip"] and _differs(both, "clip_at"):
            yield _of_clipping(both)
    if "epsilon" in a and _differs(both, "epsilon") and not _differs(both, "epsilon_in"):
        name = "adam_epsilon" if a["kind"] == "Adam" else "optimizer_settings"
        yield _plain(both, "epsilon", name)


def _differs(both: Optimizers, field: str) -> bool:
    for ours, theirs in zip(both.values("a", field), both.values("b", field), strict=True):
        for name in ours.keys() & theirs.keys():
            if not _same(ours[name], theirs[name]):
                return True
    return False


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


def _plain(both: Optimizers, field: str, name: str) -> Hypothesis:
    """The original's value in the port."""
    ours, theirs = both.first("a")[field], both.first("b")[field]
    known = ARGUMENTS[both.frameworks[1]]
    text = _told(field, ours, theirs)
    fix = ""
    if isinstance(ours, int | float) and field not in ("decoupled", "rate_in_velocity"):
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
    by_name = {both.names[name]: [step.get(name) for step in values] for name in values[0]}
    wanted = {name: _over_steps(each) for name, each in by_name.items()}
    first = next(iter(wanted.values()))
    if all(each == first for each in wanted.values()):
        return first
    return ByTensor(tuple(wanted.items()))


def _over_steps(values: Sequence[Any]) -> Any:
    same = all(value == values[0] for value in values)
    return values[0] if same else ByStep(tuple(values))


def _other_kind(both: Optimizers) -> Hypothesis:
    a, b = both.first("a"), both.first("b")
    fields = [field for field in a if field != "name"]
    mends = tuple(Mend(None, field, _wanted(both, field)) for field in fields)
    rates = [each["learning_rate"] for each in (b, a)]
    text = f"{b['name']} (rate {_short(rates[0])}) instead of {a['name']} (rate {_short(rates[1])})"
    return Hypothesis(mends, Cause("other_optimizer", text, fix=f"{a['name']} in {_where(both)}"))


def _where(both: Optimizers) -> str:
    return "configure_optimizers" if both.frameworks[1] == "torch" else "compile"


def _of_rate(both: Optimizers) -> Hypothesis:
    return _plain(both, "learning_rate", "learning_rate")


def _of_decay(both: Optimizers) -> Hypothesis:
    ours, theirs = (both.values(side, "weight_decay")[0] for side in "ab")
    mends = [Mend(None, "weight_decay", _wanted(both, "weight_decay"))]
    sizes = [max(each.values()) for each in (ours, theirs)]
    if not sizes[1]:
        if _differs(both, "decoupled"):  # which cannot matter where there is no decay
            mends.append(Mend(None, "decoupled", both.first("a")["decoupled"]))
        text = f"none instead of {_short(sizes[0])}"
        return Hypothesis(tuple(mends), Cause("weight_decay_missing", text))
    if _same(*sizes):
        odd = sorted(name for name in ours if not _same(ours[name], theirs.get(name)))
        layers = ", ".join(dict.fromkeys(name.partition("/")[2] for name in odd))
        text = f"{_short(sizes[0])} acts on other tensors than in the original ({layers})"
        return Hypothesis(tuple(mends), Cause("weight_decay_scope", text))
    return _plain(both, "weight_decay", "weight_decay")


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

CLIPS = {
    "": "no clipping",
    "tensor": "each tensor to a norm of",
    "global": "all tensors to a norm of",
    "value": "each element to",
}


def _clip_words(settings: Settings) -> str:
    words = CLIPS[settings["clip"]]
    return f"{words} {_short(settings['clip_at'])}" if settings["clip"] else words


def _of_clipping(both: Optimizers) -> Hypothesis:
    a, b = both.first("a"), both.first("b")
    mends = tuple(Mend(None, field, a[field]) for field in ("clip", "clip_at"))
    if a["clip"] == b["clip"]:
        name = "clip_limit"
    elif not b["clip"]:
        name = "clip_missing"
    else:
        name = {"tensor": "clip_per_tensor", "global": "clip_by_norm", "value": "clip_by_value"}[
            b["clip"]
        ]
    text = f"{_clip_words(b)} instead of {_clip_words(a)}"
    return Hypothesis(mends, Cause(name, text))


def _of_slack(both: Optimizers) -> Hypothesis:
    a = both.first("a")
    mends = (Mend(None, "clip_slack", a["clip_slack"]),)
    return Hypothesis(mends, Cause("clip_norm_slack", "1e-6 is added to the norm by torch alone"))
