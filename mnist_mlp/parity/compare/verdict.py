"""The outcome of comparing two runs: the verdict and the result of each rung."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mnist_mlp.errors import RunFolderError
from mnist_mlp.evaluate.report import report_text
from mnist_mlp.parity.causes.catalogue import described, entry
from mnist_mlp.parity.compare.ladder import Ladder
from mnist_mlp.parity.findings import RUNGS, Break, Cause, Place
from mnist_mlp.parity.not_exercised import not_exercised
from mnist_mlp.parity.outcome import (
    Chaos,
    NamedSide,
    Outcome,
    Predictions,
    Proof,
    Rung,
    Verdict,
    clean,
    ordered,
)
from mnist_mlp.run.evaluation import evidence
from mnist_mlp.run.folder import Run


def differing_predictions(a: Run, b: Run) -> Any:
    """Which test rows the runs predict differently, bool (n,); all, if their test rows differ."""
    left, right = a.predictions, b.predictions
    if not np.array_equal(left["ids"], right["ids"]):
        return np.ones(len(left["ids"]), bool)
    return left["logits"].argmax(axis=1) != right["logits"].argmax(axis=1)


def compare_outcome(ladder: Ladder, proof: Proof, chaos: Chaos | None) -> Outcome:
    """The outcome that follows from the rungs, the float64 proof and the ensemble.

    Raises
    ------
    RunFolderError
        The evidence of a run does not fit together, and no break of that run explains it.
    """
    a, b = ladder.runs["a"], ladder.runs["b"]
    differing = differing_predictions(a, b)
    for side, run in ladder.runs.items():
        try:
            text = report_text(evidence(run))
        except RunFolderError:
            # Altered predictions do not fit the examples. Then a break already reports that.
            if not any(item.side == side for item in ladder.breaks):
                raise
            continue
        if run.report_text != text:
            cause = Cause("altered_file", "report.txt does not follow from predictions.npz")
            ladder.breaks.append(Break(side=side, rung="report", cause=cause))
    identical = a.report_text == b.report_text
    different = int(differing.sum())
    if proof.status == "failed":
        cause = Cause(
            "unknown", "final weights differ in float64, though every judged step is clean"
        )
        side = proof.further or "b"
        ladder.breaks.append(
            Break(side=side, rung="trajectory", place=Place(tensor="weights"), cause=cause)
        )
    breaks = tuple(
        item.caused_by(described(item.cause, framework=ladder.runs[item.side].label, spec=a.spec))
        for item in ordered(ladder.breaks)
    )
    rungs = _rungs(ladder, breaks, different=different, total=len(differing), identical=identical)
    verdict, text = _verdict(ladder, breaks, different=different, proof=proof, identical=identical)
    untested = [rung for rung in rungs if rung.status == "not_exercised"]
    if verdict in ("identical", "equivalent") and untested:
        reasons = "; ".join(f"{rung.name}: {rung.text}" for rung in untested)
        verdict, text = (
            "inconclusive",
            f"Nothing breaks, but not every rung was tested: {reasons}.",
        )
    details = not_exercised(ladder.steps, a.spec) if "order" not in ladder.missing else []
    return Outcome(
        verdict=verdict,
        text=text,
        sides={
            side: NamedSide(label=run.label, path=str(run.path))
            for side, run in ladder.runs.items()
        },
        rungs=rungs,
        breaks=breaks,
        noted=tuple(ladder.noted),
        not_exercised=(*details, *(f"{rung}: {why}" for rung, why in ladder.missing.items())),
        predictions=Predictions(total=len(differing), different=different),
        report_identical=identical,
        proof=proof,
        chaos=chaos,
    )


def _verdict(
    ladder: Ladder,
    breaks: Sequence[Break],
    *,
    different: int,
    proof: Proof,
    identical: bool,
) -> tuple[Verdict, str]:
    if breaks:
        return (
            "different",
            f"The runs first differ at rung {breaks[0].rung}: {breaks[0].cause.name}.",
        )
    if ladder.inconclusive:
        return (
            "inconclusive",
            f"Nothing breaks, but {'; '.join(dict.fromkeys(ladder.inconclusive))}.",
        )
    if different == 0 and identical:
        return "identical", "Every rung is clean; reports and all predictions are equal."
    if proof.status == "passed":
        return "equivalent", f"Same algorithm, different rounding: {different} predictions differ."
    return (
        "inconclusive",
        f"{different} predictions differ, and the float64 proof could not be made.",
    )


def _rungs(
    ladder: Ladder,
    breaks: Sequence[Break],
    *,
    different: int,
    total: int,
    identical: bool,
) -> tuple[Rung, ...]:
    rungs = []
    numbers = len(ladder.runs["a"].report_text.split())
    remarks = {entry(cause.name).rung: cause.name for cause in ladder.noted}
    compared = {**ladder.compared, "predictions": total, "report": numbers}
    texts = {
        "predictions": f"{different} of {total} differ",
        "report": "classification reports are " + ("identical" if identical else "different"),
    }
    for name in RUNGS:
        mine = [item for item in breaks if item.rung == name]
        margin, count = ladder.margins.get(name), compared.get(name)
        if mine:
            rungs.append(Rung(name=name, status="broken", text=mine[0].cause.name))
        elif name in ladder.missing:
            rungs.append(Rung(name=name, status="not_exercised", text=ladder.missing[name]))
        elif name in ("predictions", "report") and (different or not identical):
            rungs.append(Rung(name=name, status="noted", text=texts[name]))
        elif name in remarks:
            rungs.append(Rung(name=name, status="noted", margin=margin, text=remarks[name]))
        else:
            rungs.append(clean(name, margin, count, texts.get(name, "")))
    return tuple(rungs)
