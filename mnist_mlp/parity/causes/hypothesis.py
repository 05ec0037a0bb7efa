"""A hypothesis: a cause, and the recipe that a side follows if this cause is the right one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mnist_mlp.parity.findings import STEP_RUNGS, Cause, Finding, JudgedStep
from mnist_mlp.parity.steps.judge import LIMITS, NOT_JUDGED, SLACK, judge_step, moments
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A cause and its recipe.

    `rung` and `before_training` say where to report the cause, if not where it was seen.
    """

    cause: Cause
    recipe: Recipe
    rung: str | None = None
    before_training: bool = False
    harmless: bool = False
    """The side reaches the same result in another way. This is noted, and is no break."""
    also: tuple[str, ...] = ()
    """Other rungs that the hypothesis changes, and must reproduce too."""


def step_of(finding: Finding, steps: Sequence[JudgedStep]) -> JudgedStep:
    """The step that a finding is about."""
    return next(s for s in steps if s.step == finding.step and s.stress == finding.stress)


def only(recipe: Recipe, rung: str) -> Recipe:
    """The recipe, with every other rung muted: a hypothesis is tested at one rung at a time."""
    return replace(recipe, muted=recipe.muted | (frozenset(STEP_RUNGS) - {rung}))


def reproduces(recipe: Recipe, rung: str, steps: Sequence[JudgedStep]) -> bool:
    """Whether a recipe explains one rung of every judged step down to rounding."""
    alone = only(recipe, rung)
    for moment in moments(steps):
        for finding in judge_step(alone, moment):
            if not finding.size <= SLACK * LIMITS[rung]:  # not `>`: NaN is no reproduction
                return False
    return True


def first_that_reproduces(
    hypotheses: Iterable[Hypothesis],
    finding: Finding,
    steps: Sequence[JudgedStep],
    *,
    recipe: Recipe | None = None,
) -> Hypothesis | None:
    """The first hypothesis that explains the broken rung at every step.

    Hypotheses come ordered, more special ones first. If none explains all layers, and `recipe` (by
    which they were judged) is given, the result may be a hypothesis that explains one layer only.
    This is possible because each layer is judged from its own input. The other layers are then
    explained by the next search.
    """
    candidates = list(hypotheses)
    here = step_of(finding, steps)
    at = next(moment for moment in moments(steps) if moment.now is here)
    for hypothesis in candidates:
        # The step that broke comes first, since most hypotheses fail there already.
        if _explains(hypothesis.recipe, finding, at) and all(
            reproduces(hypothesis.recipe, rung, steps) for rung in (finding.rung, *hypothesis.also)
        ):
            return hypothesis
    if finding.rung == "forward" and recipe is not None:
        before = _sizes(recipe, finding.rung, steps)
        for hypothesis in candidates:
            if _explains_layer(hypothesis.recipe, finding, steps, before):
                return hypothesis
    return None


def _explains(recipe: Recipe, finding: Finding, at: Moment) -> bool:
    """Whether a recipe explains a finding at its own step.

    Every error must be within the limit, and at most half as large as the finding. Without the
    second condition, a hypothesis that changes almost nothing would explain a finding just beyond
    the limit. The recipe must also judge the tensor that broke, unless it mutes the whole rung.
    """
    alone = only(recipe, finding.rung)
    allowed = min(SLACK * LIMITS[finding.rung], finding.size / 2)
    is_judged = finding.rung in recipe.muted
    for result in judge_step(alone, at):
        if not result.size <= allowed:
            return False
        here = (result.layer, result.tensor) == (finding.layer, finding.tensor)
        is_judged = is_judged or (here and result.note != NOT_JUDGED)
    return is_judged


Spot = tuple[int, bool, int | None, str]
"""Step, whether it is the stress batch, layer and tensor of a finding."""


def _sizes(recipe: Recipe, rung: str, steps: Sequence[JudgedStep]) -> dict[Spot, float]:
    alone = only(recipe, rung)
    return {
        (f.step, f.stress, f.layer, f.tensor): f.size
        for moment in moments(steps)
        for f in judge_step(alone, moment)
    }


def _explains_layer(
    recipe: Recipe, finding: Finding, steps: Sequence[JudgedStep], before: Mapping[Spot, float]
) -> bool:
    """Whether a layer is explained at every step, and no other layer's error has grown."""

    limit = SLACK * LIMITS[finding.rung]
    after = _sizes(recipe, finding.rung, steps)
    here = [size for spot, size in after.items() if spot[2] == finding.layer]
    others = [spot for spot in after if spot[2] != finding.layer]
    return (
        bool(here)
        and all(size <= min(limit, finding.size / 2) for size in here)
        and all(after[spot] <= max(limit, before[spot]) for spot in others)
    )
