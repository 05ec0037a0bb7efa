"""The updates of both sides in one form, and changes of the port that would make them equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair import constraints
from mnist_mlp.parity.pair.clipping import clipping_of, with_clipping
from mnist_mlp.parity.pair.constraints import Constrained
from mnist_mlp.parity.pair.judge import LIMITS, moved_apart, zero_by_structure
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.schedules import Schedules
from mnist_mlp.parity.pair.weight_map import WeightMap
from mnist_mlp.ports.pair import Mend, PairStep, tensor_name
from mnist_mlp.ports.update_rules import Given, Settings, replayed
from mnist_mlp.reference import Tensors


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
        for pair in self.weights.every:
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
        Given(step.before, own, {n: with_clipping(x, clipping) for n, x in step.optimizer.items()})
        for step, own in zip(steps, gradients, strict=True)
    ]


def same(a: Any, b: Any) -> bool:
    """Whether two values of a setting are equal, floats to 1e-12."""
    if isinstance(a, float) or isinstance(b, float):
        return abs(float(a or 0) - float(b or 0)) <= 1e-12 * max(abs(a or 0), abs(b or 0))
    return bool(a == b)


def short(value: Any) -> str:
    """A value in words, floats with seven digits."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)
