"""What two models showed of each other, and the outcome of `check` that follows from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mnist_mlp.parity.causes.catalogue import described, entry
from mnist_mlp.parity.causes.catalogue_page import is_code
from mnist_mlp.parity.check.blame import Roles, blamed
from mnist_mlp.parity.check.own_data import DataVerdict
from mnist_mlp.parity.check.target import Target
from mnist_mlp.parity.check.verdict import unbroken
from mnist_mlp.parity.findings import RUNGS, Break, Cause, Evidence
from mnist_mlp.parity.outcome import (
    LayerRow,
    NamedSide,
    Outcome,
    Predictions,
    Proof,
    Rung,
    Verdict,
    clean,
    ordered,
)

Rest = tuple[str, tuple[float, ...]]


@dataclass(eq=False, kw_only=True)
class PairEvidence(Evidence):
    """What two models showed of each other.

    `not_judged` leaves the verdict open, `told` does not. `lines` are those of both users' code,
    `layers` the layers of both side by side.
    """

    not_judged: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    data: DataVerdict = field(default_factory=DataVerdict)
    judged: bool = False
    different: int = 0
    lines: tuple[Roles, Roles] = ({}, {})
    chosen: tuple[int, int] = (0, 0)
    """Which of the offered forms of rows each side takes."""
    found: dict[str, float] = field(default_factory=dict)
    """The margins as the port stands; `margins` are those when all that has a name is mended."""
    layers: tuple[LayerRow, ...] = ()
    rests: tuple[Rest, Rest] = (("", ()), ("", ()))
    """What becomes of batches at an epoch's end that are too few for an update (`PairFacts`)."""


MOST = 1e30
"""A number that is not finite is told as so many times what is allowed."""

LEFT_OUT = {
    "trajectory": "a pair is judged step by step",
    "report": "a port leaves no run folder",
}


def pair_outcome(original: Target, port: Target, seen: PairEvidence) -> Outcome:
    """The outcome of `check` where two models were each other's measure."""
    framework = port.framework
    breaks = tuple(
        item.caused_by(with_cure(item.cause, framework))
        for item in ordered(blamed(seen.breaks, *seen.lines))
    )
    noted = tuple(described(cause, framework=framework) for cause in _together(seen.noted))
    rungs = tuple(_rung(name, breaks, noted, seen) for name in RUNGS)
    verdict, text = _verdict(breaks, rungs, seen)
    missing = [f"{r.name}: {r.text}" for r in rungs if r.status == "not_exercised"]
    return Outcome(
        verdict=verdict,
        text=text,
        sides={
            "a": NamedSide(label=original.text, path=original.text),
            "b": NamedSide(label=port.text, path=port.text),
        },
        rungs=rungs,
        breaks=breaks,
        noted=noted,
        not_exercised=tuple(dict.fromkeys([*seen.not_judged, *seen.told, *missing])),
        predictions=Predictions(
            total=seen.compared.get("predictions", 0), different=seen.different
        ),
        proof=Proof(status="not_run", reason="a port is judged step by step"),
        layers=seen.layers,
    )


EXAMPLE = re.compile(r"(?<![\w.])(?!(?:[01]|[01]\.0)(?![\w.]))\d")
"""A number in a line of code that stands for any other; 0 and 1 are axes and neutral factors."""


def with_cure(cause: Cause, framework: str) -> Cause:
    """A cause with its cure. The catalogue's lines have numbers of its own, which are not those of
    any network."""
    found = described(cause, framework=framework)
    if cause.fix or not is_code(found.fix) or not EXAMPLE.search(found.fix):
        return found
    return replace(found, fix=f"{found.fix}  # with the original's numbers")


def _together(noted: Sequence[Cause]) -> list[Cause]:
    """What is noted of several layers in the same words, as one."""
    found: list[Cause] = []
    for cause in noted:
        said, _, where = str(cause.value).rpartition(", in ")
        same = (i for i, x in enumerate(found) if x.name == cause.name)
        at = next(
            (i for i in same if said and str(found[i].value).startswith(f"{said}, in ")), None
        )
        if at is None:
            found.append(cause)
        else:
            found[at] = replace(found[at], value=f"{found[at].value}, {where}")
    return found


def _rung(name: str, breaks: Sequence[Break], noted: Sequence[Cause], seen: PairEvidence) -> Rung:
    mine = [item.cause.name for item in breaks if item.rung == name]
    remarks = [cause.name for cause in noted if entry(cause.name).rung == name]
    margin, compared = seen.margins.get(name), seen.compared.get(name)
    if mine:
        apart = min(seen.found.get(name, 0.0), MOST)
        shown = apart if apart > 1 else None  # what broke may be no difference of a step
        return Rung(name=name, status="broken", margin=shown, text=", ".join(dict.fromkeys(mine)))
    if name in seen.missing or name in LEFT_OUT:
        reason = seen.missing.get(name) or LEFT_OUT[name]
        return Rung(name=name, status="not_exercised", text=reason)
    if remarks and (margin is not None or compared):
        return Rung(
            name=name,
            status="noted",
            margin=margin,
            compared=compared,
            text=", ".join(dict.fromkeys(remarks)),
        )
    if margin is None and not compared:
        reason = "an earlier rung breaks" if breaks else "nothing was compared"
        return Rung(name=name, status="not_exercised", text=reason)
    return clean(name, margin, compared)


def _verdict(
    breaks: Sequence[Break], rungs: Sequence[Rung], seen: PairEvidence
) -> tuple[Verdict, str]:
    if breaks:
        names = ", ".join(dict.fromkeys(item.cause.name for item in breaks))
        return "different", f"The port is not faithful: {names}."
    if seen.not_judged:
        lines = "\n".join(f"Not judged: {what}." for what in dict.fromkeys(seen.not_judged))
        return "inconclusive", f"Nothing that was judged breaks.\n{lines}"
    if not seen.judged:
        return "inconclusive", "Nothing breaks, but no training step was judged."
    return unbroken(
        rungs,
        optional=(*LEFT_OUT, "metrics", "predictions", "order"),
        but_for=seen.data.but_for,
        clean="in float64 the port takes the original's steps",
    )
