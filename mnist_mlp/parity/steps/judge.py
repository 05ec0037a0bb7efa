"""Judge recorded steps by a recipe: which stages are wrong by more than rounding?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from mnist_mlp.parity.findings import STEP_RUNGS, Finding, JudgedStep
from mnist_mlp.parity.steps.arbiter import Expected, units
from mnist_mlp.parity.steps.coefficients import off_coefficients
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.reference import Array, name_parts

LIMITS = {"data": 0.51, "forward": 8.0, "loss": 4.0, "gradient": 12.0, "update": 3.0}
"""The error that a stage may have, in roundings (`eps * terms`).

`docs/parity.md` lists the largest errors of correct runs. Each limit is at least twice as large,
except that of `data`: a division by 255 is exact to half a rounding.
"""

SLACK = 2.0
"""Factor on the limits for a hypothesis, which may add up in another order than the side."""

PIXEL_ULP = 1.6
"""Pixels within this many roundings differ by one ulp: this is noted, but it is no break."""

NOT_JUDGED = "not judged"
"""The note of a finding without a result: the values that the tensor depends on are unknown."""


def moments(steps: Sequence[JudgedStep]) -> tuple[Moment, ...]:
    """Each step together with those before it in its window, ordered by step."""
    return _moments(tuple(steps))


@lru_cache(maxsize=1)  # every hypothesis asks for the same steps; more would keep old records alive
def _moments(steps: tuple[JudgedStep, ...]) -> tuple[Moment, ...]:
    result = []
    windows: dict[int, tuple[JudgedStep, ...]] = {}
    for step in sorted(steps, key=lambda s: (s.stress, s.step)):
        if step.stress:
            result.append(Moment(step))
            continue
        before = windows.get(step.window, ())
        result.append(Moment(step, before))
        windows[step.window] = (*before, step)
    return tuple(result)


def judge(recipe: Recipe, steps: Sequence[JudgedStep]) -> list[Finding]:
    """All findings, ordered by step and, within a step, by rung."""
    return [finding for moment in moments(steps) for finding in judge_step(recipe, moment)]


def judge_step(recipe: Recipe, moment: Moment) -> Iterator[Finding]:
    """The findings of one step, stage by stage: the worst element of each tensor."""
    record = moment.now.record
    if "data" not in recipe.muted:
        yield _measure(
            recipe, moment, "data", 0, "inputs", record.inputs, recipe.pixels(moment.now.images)
        )
    if "forward" not in recipe.muted:
        yield from _forward(recipe, moment)
    if "loss" not in recipe.muted:
        loss = np.asarray(record.loss)
        yield _measure(recipe, moment, "loss", None, "loss", loss, recipe.batch_loss(moment))
    if "gradient" not in recipe.muted:
        for name, judged in recipe.gradients(moment).items():
            layer, part = name_parts(name)
            yield _measure(recipe, moment, "gradient", layer, part, record.gradient[name], judged)
    if "update" not in recipe.muted:
        yield from _update(recipe, moment)


def _forward(recipe: Recipe, moment: Moment) -> Iterator[Finding]:
    record = moment.now.record
    last = len(record.pre_activations) - 1
    for layer, z in enumerate(record.pre_activations):
        judged = recipe.pre_activation(moment, layer)
        tensor = "logits" if layer == last else "pre_activation"
        yield _measure(recipe, moment, "forward", layer, tensor, z, judged)
        if layer < last:
            a = record.activations[layer]
            judged = recipe.activation(moment, layer)
            yield _measure(recipe, moment, "forward", layer, "activation", a, judged)


def _update(recipe: Recipe, moment: Moment) -> Iterator[Finding]:
    record = moment.now.record
    if moment.now.stress:
        return  # its state belongs to no step of the plan, so no update of it is specified
    updated = recipe.updated(moment)
    for name, judged in updated.weights.items():
        layer, part = name_parts(name)
        yield _measure(recipe, moment, "update", layer, part, record.state.weights[name], judged)
        for slot, tensors in updated.slots.items():
            got = record.state.slots.get(slot, {}).get(name)
            if got is not None and name in tensors:
                yield _measure(
                    recipe, moment, "update", layer, f"{slot} of {part}", got, tensors[name]
                )
    for name, off in off_coefficients(recipe, moment, updated.weights).items():
        layer, part = name_parts(name)
        yield Finding(
            rung="update",
            epoch=moment.now.epoch,
            step=moment.now.step,
            layer=layer,
            tensor=part,
            size=off.size * LIMITS["update"],
            got=off.value,
            expected=0.0,
            note=off.text,
        )


def _measure(
    recipe: Recipe,
    moment: Moment,
    rung: str,
    layer: int | None,
    tensor: str,
    got: Array,
    judged: Expected,
) -> Finding:
    now = moment.now
    common: dict[str, Any] = {
        "rung": rung,
        "epoch": now.epoch,
        "step": now.step,
        "layer": layer,
        "tensor": tensor,
        "stress": now.stress,
    }
    if np.shape(got) != np.shape(judged.value):
        note = f"shape {np.shape(got)}, expected {np.shape(judged.value)}"
        return Finding(size=np.inf, got=np.nan, expected=np.nan, note=note, **common)
    if not judged.is_judged:
        return Finding(size=0.0, got=np.nan, expected=np.nan, note=NOT_JUDGED, **common)
    distance = units(got, judged, eps=recipe.eps)
    worst = np.unravel_index(int(distance.argmax()), distance.shape)
    at = f"[{', '.join(str(int(i)) for i in worst)}]" if worst else ""
    return Finding(
        size=float(distance[worst]),
        got=float(got[worst]),
        expected=float(judged.value[worst]),
        note=at,
        **common,
    )


def is_broken(finding: Finding, *, named: Collection[str] = ()) -> bool:
    """Whether a finding exceeds the limit of its rung. Pixels within one ulp are only noted.

    Rungs in `named` are judged by a hypothesis, so their limit is multiplied by `SLACK`.
    """
    # Not `size > limit`, since NaN counts as broken.
    limit = PIXEL_ULP if finding.rung == "data" else LIMITS[finding.rung]
    return not finding.size <= limit * (SLACK if finding.rung in named else 1)


def is_noted(finding: Finding) -> bool:
    """Whether pixels are off by one ulp, which is reported but is no break."""
    return finding.rung == "data" and LIMITS["data"] < finding.size <= PIXEL_ULP


def first_broken(findings: Sequence[Finding], *, named: Collection[str] = ()) -> Finding | None:
    """The first finding over its limit, by step and then by rung; the stress batch comes last."""
    broken = [finding for finding in findings if is_broken(finding, named=named)]
    if not broken:
        return None
    return min(broken, key=lambda f: (f.stress, f.step, STEP_RUNGS.index(f.rung)))
