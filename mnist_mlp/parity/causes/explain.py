"""From judged steps to breaks with causes.

The first broken stage is explained by the first hypothesis that reproduces it, down to rounding, at
every judged step. The steps are then judged again by the recipe that includes this cause, so that
what it entails is not told as another break. A stage that no hypothesis reproduces is `unknown`,
with the shape of its residual, and is muted; the rest goes on being judged.
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
"""Breaks of one side that are followed up."""


@dataclass(frozen=True)
class Explanation:
    """What became of one side's steps.

    `margins` are the largest sizes per rung as shares of the rung's limit, by the recipe that the
    causes lead to; a rung that nothing was held against has none. `noted` are differences that are
    told and tolerated.
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

    `plain` is the specification's own recipe, where `recipe` holds more than that: what an original
    does beyond the specification, which its port may have left out.
    """
    skipped, steps = _without_skipped(steps, side)
    odd = misshapen(recipe.spec.model, steps)
    if odd is not None:
        shapes = _as_break(odd, side, Cause("other_shapes", odd.note))
        return Explanation((*skipped, shapes), {}, (), recipe)
    findings = judge(recipe, steps)
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
        findings = _out_of_the_fog(recipe, judge(recipe, steps))
    return Explanation(tuple(breaks), _margins(judge(recipe, steps)), tuple(noted), recipe)


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
    """Steps in which the network was not run at all, as a break, and the others."""
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


FOG = 1000.0
"""Roundings of a coarser arithmetic, within which nothing else is told: its errors add up in ways
that the bounds of float32 were not measured for."""


def _out_of_the_fog(recipe: Recipe, findings: list[Finding]) -> list[Finding]:
    coarse = recipe.eps > eps_of(recipe.spec.training.precision)
    return [f for f in findings if f.size > FOG] if coarse else findings


LINKS: dict[str, tuple[str, ...]] = {
    "data": ("pixels",),
    "forward": ("kernel", "bias", "operand", "activations", "eps", "gradient_eps"),
    "loss": ("loss", "at_logits", "penalty"),
    "gradient": ("gradient",),
    "update": ("update", "spec", "measured"),
}
"""The fields of a recipe that each rung depends on."""

OF_NO_RUNG = {
    "image_shape": "tells where a pixel is, and is the same on both sides",
    "slack": "is what a hypothesis allows its own rung",
    "muted": "holds rungs, and is no way of computing one",
}
"""The other fields, with the reason why an original and its port cannot differ in them."""


def _against_original(
    recipe: Recipe, plain: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """What a port does where `recipe`, which its original follows, is not the specification's."""
    source, rung = SOURCES[finding.rung], finding.rung
    if rung == "loss":
        yield from penalty.instead(recipe, plain, steps, finding)
    if rung == "update":
        yield from update.instead(recipe, plain)
    yield from _left_out(recipe, plain, rung)
    yield from source(recipe, steps, finding)
    if rung == "update" and recipe.update is not plain.update:
        # The specification's rule, in place of the original's, and something else beside it. The
        # rates stay those that were measured on the original: a schedule is told against them.
        yield from source(replace(recipe, update=plain.update), steps, finding)


def _left_out(recipe: Recipe, plain: Recipe, rung: str) -> Iterator[Hypothesis]:
    """The specification's own way at one rung, where the original has another."""

    def plainly(links: Sequence[str]) -> dict[str, Any]:
        return {link: getattr(plain, link) for link in links}

    def another(links: Sequence[str]) -> bool:
        return any(getattr(recipe, link) is not getattr(plain, link) for link in links)

    cause = Cause("left_out", f"at rung {rung}")
    links = LINKS[rung]
    if rung == "loss" and another(links) and another(LINKS["gradient"]):
        # What is missing in the loss is missing in its gradient: one thing, told once.
        both = plainly((*links, *LINKS["gradient"]))
        yield Hypothesis(cause, replace(recipe, **both), also=("gradient",))
    if another(links):
        yield Hypothesis(cause, replace(recipe, **plainly(links)))


def _as_break(
    finding: Finding, side: Side, cause: Cause, hypothesis: Hypothesis | None = None
) -> Break:
    """A finding as a break: where its hypothesis puts it, else where it was seen."""
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
    """How a break looks that has no name: which tensors, how far, and for how long."""
    limit = LIMITS[first.rung]
    same = [f for f in findings if f.rung == first.rung and f.size > limit]
    steps = sorted({f.step for f in same if not f.stress})
    places = sorted({f"{f.tensor} of layer {f.layer}" for f in same if f.layer is not None})
    sizes = [f.size for f in same if np.isfinite(f.size)]
    spread = f"{min(sizes):.3g} to {max(sizes):.3g} roundings" if sizes else "not finite"
    details = ", ".join(places[:4]) + (" ..." if len(places) > 4 else "")
    return f"{spread} at {len(steps)} judged steps from {first.step}; {details or first.tensor}"
