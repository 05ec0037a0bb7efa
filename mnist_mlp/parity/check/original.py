"""An original and its port: what the one does is the measure of the other."""

from __future__ import annotations

from dataclasses import replace

from mnist_mlp.parity.check.side import PortEvidence
from mnist_mlp.parity.check.steps import Setting
from mnist_mlp.parity.findings import STEP_RUNGS, UNKNOWN, Break, Cause


def as_the_original(first: PortEvidence, given: Setting) -> Setting:
    """Judge the port by what the original really does."""
    given = replace(given, draws=first.facts.draws, logits=first.logits)
    if blind_rungs(first):  # where it goes, and what it answers in the end, measures nothing
        given = replace(given, logits=None)
        first.found = {}
    if first.explained is None or first.explained.recipe is given.recipe:
        return given
    return replace(given, recipe=first.explained.recipe, plain=given.recipe, way=first.found)


def drop_shared_habits(first: PortEvidence, second: PortEvidence) -> None:
    """What original and port do alike, outside the steps, is no difference between them.

    Own data are held against each other already.
    """

    def habits(seen: PortEvidence) -> list[tuple[str, str | None, Cause]]:
        """By rung and tensor; what has no name is not the same twice."""
        return [
            (item.rung, item.tensor, item.cause)
            for item in seen.breaks
            if item.cause.name != UNKNOWN and item.rung not in (*STEP_RUNGS, "init")
        ]

    theirs = habits(first)
    second.breaks = [
        item
        for item in second.breaks
        if item in second.own_data.breaks
        or ((item.rung, item.tensor, item.cause) not in theirs and not _gathers_alike(first, item))
    ]


def _gathers_alike(first: PortEvidence, item: Break) -> bool:
    """Whether both make an update once every so many steps: Keras gathers in the optimizer,
    Lightning in the gradients."""
    if item.cause.name != "gradient_accumulation":
        return False
    every = (item.cause.value or "").partition(",")[0]
    return any(
        other.cause.name == item.cause.name and (other.cause.value or "").startswith(every)
        for other in first.breaks
    )


def blind_rungs(first: PortEvidence | None) -> set[str]:
    """Rungs at which the original does something that has no name: nobody can be held to it."""
    if first is None:
        return set()
    found = {
        item.rung for item in first.breaks if item.rung in STEP_RUNGS and item.cause.name == UNKNOWN
    }
    return found | {"trajectory", "predictions"} if found else found


def habits_of_original(first: PortEvidence | None) -> tuple[Cause, ...]:
    if first is None:
        return ()
    return tuple(
        replace(item.cause, value=f"in the original: {item.cause.value or item.rung}")
        for item in first.breaks
    )
