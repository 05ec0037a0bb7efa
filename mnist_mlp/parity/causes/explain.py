"""From judged steps to breaks with causes.

The first broken stage is explained by the first hypothesis that reproduces it, down to rounding, at
every judged step. The steps are then judged again by the recipe that includes this cause, so that
its consequences are not reported as further breaks. If no hypothesis reproduces a stage, its cause
is `unknown`, with a description of the error. Its rung is muted, and the others are still judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mnist_mlp.parity.causes import data, forward, gradient, loss, penalty, update
from mnist_mlp.parity.causes.hypothesis import Hypothesis, first_that_reproduces
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Finding, JudgedStep, Place, Side
from mnist_mlp.parity.steps.arbiter import eps_of
from mnist_mlp.parity.steps.judge import LIMITS, NOT_JUDGED, first_broken, is_noted, judge
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.parity.steps.shapes import misshapen, too_exact

Source = Callable[[Recipe, Sequence[JudgedStep], Finding], Iterator[Hypothesis]]

SOURCES: dict[str, Source] = {
    "data": data.hypotheses,
    "forward": forward.hypotheses,
    "loss": loss.hypotheses,
    "gradient": gradient.hypotheses,
    "update": update.hypotheses,
}

MOST = 8
"""The search for breaks of one side ends after this many: each costs a judgement of all steps."""


@dataclass(frozen=True)
class Explanation:
    """The result of judging one side's steps.

    `recipe` includes all causes that were found. `margins` are the largest errors by this recipe,
    as shares of each rung's limit; a rung of which nothing was judged has none. `noted` are
    differences that are reported but tolerated.
    """

    breaks: tuple[Break, ...]
    margins: dict[str, float]
    noted: tuple[Cause, ...]
    recipe: Recipe


def explain(
    recipe: Recipe,
    steps: Sequence[JudgedStep],
    *,
    side: Side,
    plain: Recipe | None = None,
) -> Explanation:
    """Judge the steps of one side and name what broke.

    `plain` is given if `recipe` is an original's: it is then the specification's own recipe. An
    original may do more than the specification can express, and its port may have left that out.
    """
    skipped, steps = _without_skipped(steps, side)
    odd = misshapen(recipe.spec.model, steps)
    if odd is not None:
        shapes = _as_break(odd, side, Cause("other_shapes", odd.note))
        return Explanation((*skipped, shapes), {}, (), recipe)
    findings = judged = judge(recipe, steps)
    noted = []
    if any(is_noted(seen) for seen in findings):
        noted.append(Cause("reciprocal_scaling", "pixels one unit of the last place off"))
    breaks: list[Break] = list(skipped)
    finer = too_exact(steps) if recipe.spec.training.precision == "float32" else None
    if finer is not None:
        breaks.append(_as_break(finer, side, Cause("float64_arithmetic")))
    named: set[str] = set()
    while (finding := first_broken(findings, named=named)) is not None and len(breaks) < MOST:
        candidates = SOURCES[finding.rung](recipe, steps, finding)
        if plain is not None:
            candidates = _against_original(recipe, plain, steps, finding)
        hypothesis = first_that_reproduces(candidates, finding, steps, recipe=recipe)
        if hypothesis is None:
            breaks.append(_as_break(finding, side, Cause(UNKNOWN, _residual(findings, finding))))
            recipe = replace(recipe, muted=recipe.muted | {finding.rung})
        else:
            if hypothesis.harmless:
                noted.append(hypothesis.cause)
            else:
                breaks.append(_as_break(finding, side, hypothesis.cause, hypothesis))
            recipe = hypothesis.recipe
            named.add(finding.rung)
        judged = judge(recipe, steps)
        findings = _above_coarse_limit(recipe, judged)
    return Explanation(tuple(breaks), _margins(judged), tuple(noted), recipe)


def _margins(findings: Sequence[Finding]) -> dict[str, float]:
    margins: dict[str, float] = {}
    for seen in findings:
        if seen.note != NOT_JUDGED:
            margin = seen.size / LIMITS[seen.rung]
            margins[seen.rung] = max(margins.get(seen.rung, 0.0), margin)
    return margins


def _without_skipped(
    steps: Sequence[JudgedStep], side: Side
) -> tuple[list[Break], Sequence[JudgedStep]]:
    """A break for the steps at which the network was not run at all, and the other steps."""
    kept = [step for step in steps if any(z.size for z in step.record.pre_activations)]
    skipped = [step for step in steps if not step.stress and step not in kept]
    if not skipped or not kept:
        return [], steps
    first = min(skipped, key=lambda s: s.step)
    smaller = max(len(s.labels) for s in skipped) < max(len(s.labels) for s in kept)
    cause = Cause("steps_missing", f"no forward pass at {len(skipped)} judged steps")
    if smaller:
        cause = Cause("last_batch_dropped", "the smaller batch is not run")
    place = Place(epoch=first.epoch, step=first.step, tensor="ids")
    return [Break(side=side, rung="order", place=place, cause=cause)], kept


COARSE_LIMIT = 1000.0
"""Limit, in roundings, once a cause such as bfloat16 arithmetic was found.

Findings below it are ignored. Errors of a coarser arithmetic add up in other ways than those of
float32, for which `LIMITS` was measured.
"""


def _above_coarse_limit(recipe: Recipe, findings: list[Finding]) -> list[Finding]:
    is_coarse = recipe.eps > eps_of(recipe.spec.training.precision)
    return [f for f in findings if f.size > COARSE_LIMIT] if is_coarse else findings


LINKS: dict[str, tuple[str, ...]] = {
    "data": ("pixels",),
    "forward": ("kernel", "bias", "operand", "activations", "eps", "gradient_eps"),
    "loss": ("loss", "at_logits", "penalty"),
    "gradient": ("gradient",),
    "update": ("update", "spec", "measured"),
}
"""The fields of a recipe that each rung depends on."""

OF_NO_RUNG = {
    "image_shape": "the shape of the data set's images, the same on both sides",
    "slack": "an allowance that a hypothesis makes for its own rung",
    "muted": "a list of rungs, which computes nothing",
}
"""The other fields of a recipe, and why an original and its port cannot differ in them."""


def _against_original(
    recipe: Recipe, plain: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """Hypotheses about a port whose original follows `recipe` and not the specification's."""
    source, rung = SOURCES[finding.rung], finding.rung
    if rung == "loss":
        yield from penalty.instead(recipe, plain, steps, finding)
    if rung == "update":
        yield from update.instead(recipe, plain)
    yield from _left_out(recipe, plain, rung)
    yield from source(recipe, steps, finding)
    if rung == "update" and recipe.update is not plain.update:
        # The port may have the specification's update rule instead of the original's, and another
        # fault besides. The learning rates stay those measured on the original, so that a
        # different schedule of the port is still recognised.
        yield from source(replace(recipe, update=plain.update), steps, finding)


def _left_out(recipe: Recipe, plain: Recipe, rung: str) -> Iterator[Hypothesis]:
    """The port follows the specification at a rung where its original does something else."""

    def specified(links: Sequence[str]) -> dict[str, Any]:
        return {link: getattr(plain, link) for link in links}

    def differs(links: Sequence[str]) -> bool:
        return any(getattr(recipe, link) is not getattr(plain, link) for link in links)

    cause = Cause("left_out", f"at rung {rung}")
    links = LINKS[rung]
    if rung == "loss" and differs(links) and differs(LINKS["gradient"]):
        # A term that is missing in the loss is missing in its gradient too: one cause for both.
        both = specified((*links, *LINKS["gradient"]))
        yield Hypothesis(cause, replace(recipe, **both), also=("gradient",))
    if differs(links):
        yield Hypothesis(cause, replace(recipe, **specified(links)))


def _as_break(
    finding: Finding, side: Side, cause: Cause, hypothesis: Hypothesis | None = None
) -> Break:
    """A finding as a break, at the place that its hypothesis gives, or else where it was seen."""
    place = Place(layer=finding.layer, tensor=finding.tensor)
    if hypothesis is not None and hypothesis.before_training:
        place = replace(place, epoch=0, step=0, tensor="kernel")
    elif not finding.stress:
        place = replace(place, epoch=finding.epoch, step=finding.step)
    return Break(
        side=side,
        rung=(hypothesis and hypothesis.rung) or finding.rung,
        place=place,
        size=finding.size,
        got=f"{finding.got:.9g}",
        expected=f"{finding.expected:.9g}",
        cause=cause,
        batch="stress" if finding.stress else None,
    )


def _residual(findings: Sequence[Finding], first: Finding) -> str:
    """Describe a break without a known cause: its size, its steps and its tensors."""

    limit = LIMITS[first.rung]
    same = [f for f in findings if f.rung == first.rung and f.size > limit]
    steps = sorted({f.step for f in same if not f.stress})
    places = sorted({f"{f.tensor} of layer {f.layer}" for f in same if f.layer is not None})
    sizes = [f.size for f in same if np.isfinite(f.size)]
    spread = f"{min(sizes):.3g} to {max(sizes):.3g} roundings" if sizes else "not finite"
    details = ", ".join(places[:4]) + (" ..." if len(places) > 4 else "")
    return f"{spread} at {len(steps)} judged steps from {first.step}; {details or first.tensor}"
