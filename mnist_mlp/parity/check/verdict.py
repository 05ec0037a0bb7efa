"""The outcome of `check`: verdict, rungs, cures and what was not looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mnist_mlp.parity.causes.catalogue import described, entry
from mnist_mlp.parity.causes.explain import LINKS
from mnist_mlp.parity.check.blame import blamed_dense
from mnist_mlp.parity.check.layer_lists import dense_rows
from mnist_mlp.parity.check.original import blind_rungs, habits_of_original
from mnist_mlp.parity.check.side import PortEvidence
from mnist_mlp.parity.check.steps import Setting
from mnist_mlp.parity.check.supported import optimizer_is_judged, optimizer_of
from mnist_mlp.parity.findings import RUNGS, Break, Cause
from mnist_mlp.parity.not_exercised import early_stopping, not_exercised
from mnist_mlp.parity.outcome import (
    BUT_FOR_DATA,
    NamedSide,
    Outcome,
    Predictions,
    Proof,
    Rung,
    Verdict,
    clean,
    ordered,
)
from mnist_mlp.spec import Spec


def port_outcome(
    first: PortEvidence | None, second: PortEvidence, given: Setting, spec: Spec
) -> Outcome:
    """What a port showed (`second`), held against its original (`first`) where there is one."""
    found = blamed_dense(second.breaks, first.facts if first else None, second.facts)
    breaks = tuple(_described(item, first, second, given, spec) for item in ordered(found))
    noted = tuple(described(cause, framework=second.framework) for cause in second.noted)
    blind = blind_rungs(first)
    not_judged = _not_judged(first, second)
    remarks = tuple(f"of the original: {what}" for what in (first.remarks if first else ()))
    missing = {**second.missing, **dict.fromkeys(blind, "the original itself is unknown here")}
    rungs = _rungs(breaks, second, missing, noted)
    verdict, text = _verdict(
        breaks, rungs, second, blind, (*not_judged, *remarks) if blind else not_judged
    )
    label = first.label if first else f"specification {spec.name}"
    return Outcome(
        verdict=verdict,
        text=text,
        sides={
            "a": NamedSide(label=label, path=label),
            "b": NamedSide(label=second.label, path=second.label),
        },
        rungs=rungs,
        breaks=breaks,
        noted=(*noted, *habits_of_original(first)),
        not_exercised=(
            *not_exercised(second.steps, given.recipe.spec),
            *early_stopping(given.recipe.spec, done=len(second.epochs)),
            *not_judged,
            *remarks,
            *second.facts.left_out,
            *second.own_data.not_exercised,
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
        layers=dense_rows(first.facts if first else None, second.facts),
    )


def _with_reasons(missing: Mapping[str, str]) -> list[str]:
    """Rungs that were not looked at, together where the reason is one."""
    rungs: dict[str, list[str]] = {}
    for rung, why in missing.items():
        rungs.setdefault(why, []).append(rung)
    return [f"{', '.join(named)}: {why}" for why, named in rungs.items()]


def _described(
    item: Break, first: PortEvidence | None, second: PortEvidence, given: Setting, spec: Spec
) -> Break:
    """With its cure: in the specification's numbers, or whatever the original has instead."""
    cause = described(item.cause, framework=second.framework, spec=spec)
    if first is not None and not _holds(item, first, given):
        cause = replace(cause, fix="by hand, do here what the original does")
    return item.caused_by(cause)


OF_THE_ORIGINAL = ("coupled_weight_decay", "learning_rate_outside_velocity", "schedule_by_epoch")
"""Causes that say how an original differs: their cure is the original's own way."""


def _holds(item: Break, first: PortEvidence, given: Setting) -> bool:
    """Whether a cure, which leads to the specification, leads to the original as well: where the
    original does what its specification says."""
    if item.cause.name in OF_THE_ORIGINAL:
        return True
    if item.rung == "init":
        return not any(
            other.rung == "init" and other.tensor == item.tensor for other in first.breaks
        )
    links = LINKS.get(item.rung, ())
    return given.plain is None or all(
        getattr(given.recipe, link) is getattr(given.plain, link) for link in links
    )


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
    breaks: tuple[Break, ...],
    rungs: Sequence[Rung],
    second: PortEvidence,
    blind: set[str],
    not_judged: Sequence[str],
) -> tuple[Verdict, str]:
    if breaks:
        names = ", ".join(dict.fromkeys(item.cause.name for item in breaks))
        return "different", f"The port is not faithful: {names}."
    if blind:
        return (
            "inconclusive",
            f"Nothing breaks, but {', '.join(sorted(blind))} were not judged: the original itself "
            f"is unknown there." + "".join(f"\nNot judged: {what}." for what in not_judged),
        )
    if not_judged:
        return (
            "inconclusive",
            "Nothing that was judged breaks.\n"
            + "\n".join(f"Not judged: {what}." for what in not_judged),
        )
    if second.explained is None:
        return "inconclusive", "No step could be judged."
    if second.own_data.unjudged:
        return "inconclusive", f"Nothing breaks, but not judged is: {second.own_data.unjudged}."
    return unbroken(
        rungs,
        optional=NOT_OF_EVERY_PORT,
        but_for=second.own_data.but_for,
        clean="the port does what it should, down to rounding",
    )


def unbroken(
    rungs: Sequence[Rung], *, optional: Sequence[str], but_for: str, clean: str
) -> tuple[Verdict, str]:
    """The verdict where nothing breaks, and its sentence.

    `optional` rungs may be left out. `but_for` says which data have no counterpart; the sentence
    then begins with it. `clean` says what clean rungs mean.
    """
    unseen = {rung.name: rung.text for rung in rungs if rung.status == "not_exercised"}
    of_data = ("data", "order") if but_for else ()
    needed = [name for name in unseen if name not in (*optional, *of_data)]
    if needed:
        why = "; ".join(f"{name}: {unseen[name]}" for name in needed)
        return "inconclusive", f"Nothing breaks, but not everything was judged: {why}."
    left = f" Not exercised: {', '.join(unseen)}." if unseen else ""
    if but_for:
        return "identical", f"{BUT_FOR_DATA}: {but_for}.{left}"
    return "identical", f"Every exercised rung is clean: {clean}.{left}"


NOT_OF_EVERY_PORT = ("order", "trajectory", "metrics", "predictions", "report")
"""Rungs for which a port or its original may give nothing: no loader, no step that is not judged,
no reported number, no way to evaluate, no run folder. All the others can be climbed with every
port."""


def _rungs(
    breaks: tuple[Break, ...],
    seen: PortEvidence,
    missing: Mapping[str, str],
    noted: tuple[Cause, ...],
) -> tuple[Rung, ...]:
    remarks = {entry(cause.name).rung: cause.name for cause in noted}
    absent = {"report": "a port leaves no run folder"}
    compared = {**seen.compared, **seen.own_data.compared}
    beside = [value for value in (seen.facts.batch_size, seen.facts.epochs) if value is not None]
    if "spec" in compared:
        compared["spec"] += len(beside)
    if _stopped(seen):
        absent["predictions"] = "an earlier rung breaks"
    rungs = []
    for name in RUNGS:
        mine = [item for item in breaks if item.rung == name]
        margin = seen.margins.get(name)
        if mine:
            names = ", ".join(dict.fromkeys(item.cause.name for item in mine))
            rungs.append(Rung(name=name, status="broken", text=names))
        elif name in remarks:
            text = remarks[name]
            rungs.append(
                Rung(
                    name=name,
                    status="noted",
                    margin=margin,
                    compared=compared.get(name),
                    text=text,
                )
            )
        elif name in missing or name in absent:
            reason = missing.get(name) or absent[name]
            rungs.append(Rung(name=name, status="not_exercised", text=reason))
        else:
            rungs.append(clean(name, margin, compared.get(name)))
    return tuple(rungs)
