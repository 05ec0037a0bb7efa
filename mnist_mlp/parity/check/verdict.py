"""The outcome of `check`: verdict, rungs, cures and what was not looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mnist_mlp.parity.causes.catalogue import described
from mnist_mlp.parity.causes.explain import LINKS
from mnist_mlp.parity.check.original import blind_rungs, habits_of_original
from mnist_mlp.parity.check.side import PortEvidence
from mnist_mlp.parity.check.steps import Setting
from mnist_mlp.parity.check.supported import optimizer_is_judged, optimizer_of
from mnist_mlp.parity.findings import RUNGS, Break, Cause
from mnist_mlp.parity.not_exercised import not_exercised
from mnist_mlp.parity.outcome import NamedSide, Outcome, Predictions, Proof, Rung, Verdict, ordered
from mnist_mlp.parity.steps.judge import LIMITS
from mnist_mlp.spec import Spec


def port_outcome(
    first: PortEvidence | None, second: PortEvidence, given: Setting, spec: Spec
) -> Outcome:
    """What a port showed (`second`), held against its original (`first`) where there is one."""
    breaks = tuple(_described(item, second, given, spec) for item in ordered(second.breaks))
    noted = tuple(described(cause, framework=second.framework) for cause in second.noted)
    blind = blind_rungs(first)
    not_judged = _not_judged(first, second)
    remarks = tuple(f"of the original: {what}" for what in (first.remarks if first else ()))
    verdict, text = _verdict(
        breaks, second, blind, (*not_judged, *remarks) if blind else not_judged
    )
    missing = {**second.missing, **dict.fromkeys(blind, "the original itself is unknown here")}
    label = first.label if first else f"specification {spec.name}"
    return Outcome(
        verdict=verdict,
        text=text,
        sides={
            "a": NamedSide(label=label, path=label),
            "b": NamedSide(label=second.label, path=second.label),
        },
        rungs=_rungs(breaks, second, missing, noted),
        breaks=breaks,
        noted=(*noted, *habits_of_original(first)),
        not_exercised=(
            *not_exercised(second.steps, given.plan.spec),
            *not_judged,
            *remarks,
            *second.facts.left_out,
            *_with_reasons(missing),
        ),
        predictions=Predictions(
            total=0 if "predictions" in missing else len(given.data.test_labels),
            different=second.different,
        ),
        report_identical=(
            None if _stopped(second) or "predictions" in missing else second.different == 0
        ),
        proof=Proof(status="not_run", reason="a port is judged step by step"),
    )


def _with_reasons(missing: Mapping[str, str]) -> list[str]:
    """Rungs that were not looked at, together where the reason is one."""
    rungs: dict[str, list[str]] = {}
    for rung, why in missing.items():
        rungs.setdefault(why, []).append(rung)
    return [f"{', '.join(named)}: {why}" for why, named in rungs.items()]


def _described(item: Break, second: PortEvidence, given: Setting, spec: Spec) -> Break:
    """With its cure: in the specification's numbers, or whatever the original has instead."""
    cause = described(item.cause, framework=second.framework, spec=spec)
    links = LINKS.get(item.rung, ())
    other = given.plain is not None and any(
        getattr(given.recipe, link) is not getattr(given.plain, link) for link in links
    )
    if other or (given.draws and item.rung == "init"):
        cause = replace(cause, fix="by hand, do here what the original does")
    return item.caused_by(cause)


def _stopped(seen: PortEvidence) -> bool:
    """Whether predictions were not looked at, because something broke before."""
    return bool(seen.breaks) and not any(item.rung == "predictions" for item in seen.breaks)


def _not_judged(first: PortEvidence | None, second: PortEvidence) -> tuple[str, ...]:
    """Of both sides, as far as it says by whom."""
    if first is None:
        return second.not_judged
    of_original = [f"of the original: {what}" for what in first.not_judged]
    if not optimizer_is_judged(first.facts):
        of_original.append(f"of the port: the optimizer {optimizer_of(second.facts)}")
    return (*of_original, *second.not_judged)


def _verdict(
    breaks: tuple[Break, ...], second: PortEvidence, blind: set[str], not_judged: Sequence[str]
) -> tuple[Verdict, str]:
    if breaks:
        names = ", ".join(dict.fromkeys(item.cause.name for item in breaks))
        return "different", f"The port is not faithful: {names}."
    if blind:
        return (
            "inconclusive",
            f"Nothing breaks, but rung {', '.join(sorted(blind))} has no measure."
            + "".join(f"\nNot judged: {what}." for what in not_judged),
        )
    if not_judged:
        return (
            "inconclusive",
            "Nothing that was judged breaks.\n"
            + "\n".join(f"Not judged: {x}." for x in not_judged),
        )
    if second.explained is None:
        return "inconclusive", "No step could be judged."
    return "identical", "Every rung is clean: the port does what it should, down to rounding."


def _rungs(
    breaks: tuple[Break, ...],
    seen: PortEvidence,
    missing: Mapping[str, str],
    noted: tuple[Cause, ...],
) -> tuple[Rung, ...]:
    of_rung = {
        "reciprocal_scaling": "data",
        "own_shuffle": "order",
        "validation_moves_order": "order",
    }
    remarks = {of_rung[c.name]: c.name for c in noted if c.name in of_rung}
    absent = {
        "trajectory": "a port leaves no run folder",
        "report": "a port leaves no run folder",
    }
    if _stopped(seen):
        absent["predictions"] = "an earlier rung breaks"
    rungs = []
    for name in RUNGS:
        mine = [item for item in breaks if item.rung == name]
        margin = seen.margins.get(name) if name in LIMITS else None
        if mine:
            names = ", ".join(dict.fromkeys(item.cause.name for item in mine))
            rungs.append(Rung(name=name, status="broken", text=names))
        elif name in remarks:
            rungs.append(Rung(name=name, status="noted", margin=margin, text=remarks[name]))
        elif name in missing or name in absent:
            reason = missing.get(name) or absent[name]
            rungs.append(Rung(name=name, status="not_exercised", text=reason))
        else:
            rungs.append(Rung(name=name, status="clean", margin=margin))
    return tuple(rungs)
