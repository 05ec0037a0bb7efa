"""Constraints on weights: which of them the port lacks, or has otherwise.

Of a Keras model they are known. What a torch program does to its weights after an update is only
seen: the weights right behind the optimizer, and those with which the next step begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.weight_map import WeightMap
from mnist_mlp.ports.constraints import Constraint, constrained
from mnist_mlp.ports.pair import Mend, PairFacts, PairStep, layer_and_role, tensor_name
from mnist_mlp.reference import Array, Tensors

ROUNDING = 1e-13
"""Share of the largest weight that two ways to compute one constraint may be apart."""

Way = Literal["alike", "missing", "nearly", "otherwise", "extra"]

Tried = tuple[tuple[Mend, ...], Cause, bool]
"""Changes of the port, what they mend, and whether that is only noted."""


@dataclass(frozen=True)
class Constrained:
    """One tensor in the port, by its name there: what the original does to it, and how the port
    does that."""

    name: str
    by: Constraint | None
    way: Way


def compared(run: PairRun) -> list[Constrained]:
    """All tensors that either side changes after its updates by a rule that is known."""
    ours, theirs = run.steps_a, run.own_steps()
    own = of_side(run.facts_a, ours)
    other = of_side(run.facts_b, theirs)
    found = []
    for mine, name in _names(run.weights).items():
        by = own.get(mine)
        moved = _changes(theirs, name)
        if by is None:
            if _changes_any(moved) and not _changes_any(_changes(ours, mine)):
                found.append(Constrained(name, None, "extra"))
        elif by.known:
            found.append(Constrained(name, by, _way(by, moved, other.get(name))))
    return found


def of_side(facts: PairFacts, steps: Sequence[PairStep]) -> Mapping[str, Constraint]:
    """The constraints of a side, by its own names; where they are not declared, as its steps show
    them."""
    if facts.constraints or facts.framework == "keras":
        return facts.constraints
    found = {}
    for name in {name for step in steps for name in step.moved}:
        changes = _changes(steps, name)
        fits = (by for by in _likely(changes) if all(_follows(*both, by) for both in changes))
        found[name] = next(fits, Constraint("a change of its own"))
    return found


def tried(seen: Sequence[Constrained], run: PairRun) -> Iterator[Tried]:
    """Changes of the port that do what the original does, all tensors of one kind at once."""
    words: dict[Way, tuple[str, str]] = {
        "missing": ("constraint_missing", "{by} of {name} in the original"),
        "otherwise": ("other_constraint", "not {by} of {name} as in the original"),
        "extra": ("extra_constraint", "{name} is changed after an update, not in the original"),
        "nearly": (
            "constraint_epsilon",
            "{by} of {name}: 1e-7 is added to each norm by Keras, and only to one above the limit "
            "by torch.renorm",
        ),
    }
    layers = {layer.number: layer.name for layer in run.facts_b.layers}
    for way, (cause, text) in words.items():
        mine = [each for each in seen if each.way == way]
        if not mine:
            continue
        mends, told = [], []
        for each in mine:
            number, role = layer_and_role(each.name)
            mends.append(Mend(number, "constraint", (role, each.by)))
            told.append(text.format(by=each.by, name=f"the {role} of {layers[number]}"))
        yield tuple(mends), Cause(cause, "; ".join(told)), way == "nearly"


def after(
    names: Sequence[Constrained],
    mends: Sequence[Mend],
    moved: Tensors,
    step: PairStep,
) -> Tensors:
    """Weights of the port after its rule and what is then done to them, with changes in effect."""
    made = dict(moved)
    for name in made.keys() & step.moved.keys():
        made[name] = moved[name] + (step.after[name] - step.moved[name])
    for each in names:
        if each.way == "alike" and each.by is not None and each.name in made:
            made[each.name] = constrained(moved[each.name], each.by)
    for mend in mends:
        if mend.field == "constraint" and mend.layer is not None:
            role, by = mend.value
            name = tensor_name(mend.layer, role)
            if name in made:
                made[name] = moved[name] if by is None else constrained(moved[name], by)
    return made


def _names(weights: WeightMap) -> Mapping[str, str]:
    """The port's name of each tensor that both have, by the original's."""
    return {
        tensor_name(pair.a.number, role): tensor_name(pair.b.number, role)
        for pair in weights.every
        for role in pair.a.shapes
        if role in pair.b.shapes
    }


Changes = list[tuple[Array, Array]]


def _changes(steps: Sequence[PairStep], name: str) -> Changes:
    """A tensor right behind the optimizer and at the end of each step."""
    return [
        (step.moved.get(name, step.after[name]), step.after[name])
        for step in steps
        if name in step.after
    ]


def _changes_any(changes: Changes) -> bool:
    return any(not np.array_equal(moved, left) for moved, left in changes)


def _way(by: Constraint, changes: Changes, own: Constraint | None) -> Way:
    if all(_follows(moved, left, by) for moved, left in changes):
        return "alike"
    if own is not None and replace(own, renorm=by.renorm, epsilon=by.epsilon) == by:
        return "nearly"
    if all(_nearly(moved, left, by) for moved, left in changes) and _changes_any(changes):
        return "nearly"
    return "otherwise" if _changes_any(changes) else "missing"


def _follows(moved: Array, left: Array, by: Constraint) -> bool:
    apart = np.abs(constrained(moved, by) - left)
    return bool((apart <= ROUNDING * np.abs(left).max(initial=0.0)).all())


def _nearly(moved: Array, left: Array, by: Constraint) -> bool:
    """Whether it is the same but for the epsilon that is added to a norm."""
    exact = constrained(moved, by)
    slack = 2 * np.abs(constrained(moved, replace(by, epsilon=0.0)) - exact)
    rounding = ROUNDING * np.abs(left).max(initial=0.0)
    return bool((np.abs(exact - left) <= slack + rounding).all())


def _likely(changes: Changes) -> Iterator[Constraint]:
    """Constraints that could have made one tensor of what the optimizer left."""
    yield Constraint("non_neg")
    last = changes[-1][1]
    axes: list[tuple[int, ...]] = [(k,) for k in range(last.ndim)]
    if last.ndim > 2:
        axes.insert(0, tuple(range(last.ndim - 1)))
    for axis in axes:
        largest = max(
            float(np.sqrt(np.square(left).sum(axis=axis)).max(initial=0.0)) for _, left in changes
        )
        for epsilon in (1e-7, 0.0):
            yield Constraint("unit_norm", axis, epsilon=epsilon)
            for high in dict.fromkeys((float(f"{largest:.5g}"), largest)):
                for renorm in (False, True):
                    yield Constraint("max_norm", axis, high=high, epsilon=epsilon, renorm=renorm)
