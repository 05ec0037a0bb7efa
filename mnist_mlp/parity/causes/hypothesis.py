"""A hypothesis: a cause, and the recipe that a side would follow if it were true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mnist_mlp.parity.findings import STEP_RUNGS, Cause, Finding, JudgedStep
from mnist_mlp.parity.steps.judge import LIMITS, NOT_JUDGED, SLACK, judge_step, moments
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """`rung` and `before_training` say where to report it, if not where it was seen."""

    cause: Cause
    recipe: Recipe
    rung: str | None = None
    before_training: bool = False
    harmless: bool = False
    """Another way to the same thing: it is noted, and breaks nothing."""
    also: tuple[str, ...] = ()
    """Other rungs that it has to reproduce, where it says something of them, too."""


def only(recipe: Recipe, rung: str) -> Recipe:
    """A recipe that judges one rung."""
    return replace(recipe, muted=recipe.muted | (frozenset(STEP_RUNGS) - {rung}))


def reproduces(recipe: Recipe, rung: str, steps: Sequence[JudgedStep]) -> bool:
    """Whether a recipe explains one rung of every judged step down to rounding."""
    alone = only(recipe, rung)
    for moment in moments(steps):
        for finding in judge_step(alone, moment):
            if not finding.size <= SLACK * LIMITS[rung]:
                return False
    return True


def first_that_reproduces(
    hypotheses: Iterable[Hypothesis],
    finding: Finding,
    steps: Sequence[JudgedStep],
    *,
    recipe: Recipe | None = None,
) -> Hypothesis | None:
    """The first hypothesis that explains the broken rung everywhere; they come most special first.

    The step that broke is tried before the others: most hypotheses fail there already. Layers are
    judged each from its own input, so if nothing explains all of them, `recipe` being what they
    were judged by, a hypothesis may explain one layer and leave the others to the next.
    """
    candidates = list(hypotheses)
    here = [step for step in steps if step.step == finding.step and step.stress == finding.stress]
    with_history = _with_history(here, steps)
    for hypothesis in candidates:
        if _explains(hypothesis.recipe, finding, with_history) and all(
            reproduces(hypothesis.recipe, rung, steps) for rung in (finding.rung, *hypothesis.also)
        ):
            return hypothesis
    if finding.rung == "forward" and recipe is not None:
        before = _sizes(recipe, finding.rung, steps)
        for hypothesis in candidates:
            if _explains_layer(hypothesis.recipe, finding, steps, before):
                return hypothesis
    return None


def _with_history(here: Sequence[JudgedStep], steps: Sequence[JudgedStep]) -> list[Moment]:
    chosen = {id(step) for step in here}
    return [moment for moment in moments(steps) if id(moment.now) in chosen]


def _explains(recipe: Recipe, finding: Finding, at: Sequence[Moment]) -> bool:
    """Within the limit, and at most half of what it was: else a hypothesis that changes next to
    nothing would explain whatever is a little beyond the limit. And it has to say something of the
    very tensor that broke, unless it gives the rung up."""
    alone = only(recipe, finding.rung)
    allowed = min(SLACK * LIMITS[finding.rung], finding.size / 2)
    says_something = finding.rung in recipe.muted
    for moment in at:
        for result in judge_step(alone, moment):
            if not result.size <= allowed:
                return False
            here = (result.layer, result.tensor) == (finding.layer, finding.tensor)
            says_something = says_something or (here and result.note != NOT_JUDGED)
    return says_something


Spot = tuple[int, bool, int | None, str]
"""Step, whether of the stress batch, layer and tensor of a finding."""


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
    """Whether a layer is explained at every step, and no other is further off than it was."""
    limit = SLACK * LIMITS[finding.rung]
    after = _sizes(recipe, finding.rung, steps)
    here = [size for spot, size in after.items() if spot[2] == finding.layer]
    others = [spot for spot in after if spot[2] != finding.layer]
    return (
        bool(here)
        and all(size <= min(limit, finding.size / 2) for size in here)
        and all(after[spot] <= max(limit, before[spot]) for spot in others)
    )
