"""Two finished runs on the ladder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import RunFolderError, UsageError
from mnist_mlp.evaluate.report import report_text
from mnist_mlp.parity import folders
from mnist_mlp.parity.catalogue import described
from mnist_mlp.parity.evidence import RUNGS, STEP_RUNGS, Break, Cause, JudgedStep, Side
from mnist_mlp.parity.fitpath import EPOCHS, first_epochs
from mnist_mlp.parity.proof import Chaos, Proof, ensemble, prove
from mnist_mlp.parity.replay import open_side, stress_batch
from mnist_mlp.parity.sampling import windows
from mnist_mlp.parity.side import Seen, Shared, look, look_at_trace
from mnist_mlp.parity.trajectory import run_reference
from mnist_mlp.parity.unseen import not_exercised
from mnist_mlp.parity.verdict import Outcome, Rung, Verdict, ordered
from mnist_mlp.plan import Plan, make_plan
from mnist_mlp.run.evaluation import evidence
from mnist_mlp.run.folder import Run
from mnist_mlp.training import training_data

Say = Callable[[str], None]


def quiet(_: str) -> None:
    """Say nothing."""


class _Ladder:
    """Gathers breaks, missing evidence and margins while the rungs are climbed."""

    def __init__(self, a: Run, b: Run) -> None:
        self.runs: dict[Side, Run] = {"a": a, "b": b}
        self.breaks: list[Break] = []
        self.missing: dict[str, str] = {}
        self.inconclusive: list[str] = []
        self.noted: list[Cause] = []
        self.margins: dict[str, float] = {}
        self.steps: list[JudgedStep] = []

    def broken(self, *rungs: str) -> bool:
        return any(item.rung in rungs for item in self.breaks)

    def take(self, seen: Seen) -> None:
        """Add what one side showed."""
        self.breaks += seen.breaks
        self.missing |= seen.missing
        self.inconclusive += seen.inconclusive
        self.steps += seen.steps
        if seen.explained:
            self.noted += [cause for cause in seen.explained.noted if cause not in self.noted]
            for rung, margin in seen.explained.margins.items():
                self.margins[rung] = max(margin, self.margins.get(rung, 0.0))


def compare_runs(
    a: Run,
    b: Run,
    *,
    dataset: Dataset | None,
    static: bool = False,
    always_prove: bool = False,
    verbose: bool = False,
    say: Say = quiet,
) -> Outcome:
    """Put two finished runs on the ladder.

    Parameters
    ----------
    a, b : Run
    dataset : Dataset or None
        The rows both were trained on; without them only the folders can be held together.
    static : bool
        Look at the folders alone: no backend is started.
    always_prove : bool
        Make the float64 proof even where every prediction agrees.
    say : function of one line
        Told what is going on; a comparison of tutorial runs takes about a minute.
    """
    ladder = _Ladder(a, b)
    ladder.breaks += folders.spec_breaks(a, b)
    plan = _plan(ladder, dataset)
    if plan is not None and dataset is not None:
        _hold_against_plan(ladder, plan, dataset)
    else:
        _hold_together(ladder)
    for side, run in ladder.runs.items():
        altered = folders.weights_break(run, side=side)
        if altered:
            ladder.breaks.append(altered)
    if folders.permuted(a, b):
        return _permuted(ladder)
    proof, chaos = Proof("not_run"), None
    shared: Shared | None = None
    if plan is None or dataset is None or ladder.broken("spec", "data", "order", "init"):
        _without_backends(ladder)
    else:
        shared = _shared(plan, dataset, say)
        for side, run in ladder.runs.items():
            if static:
                reason = "--static: no backend was started"
                ladder.take(look_at_trace(run, shared, side=side, reason=reason))
                continue
            say(f"replaying {run.label}")
            ladder.take(look(run, shared, side=side, verbose=verbose))
    if not static and shared is not None:
        proof, chaos = _beyond(ladder, shared, always_prove=always_prove, say=say)
    return _outcome(ladder, proof, chaos)


# --- Before any backend ---------------------------------------------------------------------------


def _plan(ladder: _Ladder, dataset: Dataset | None) -> Plan | None:
    run = ladder.runs["a"]
    if dataset is None:
        reason = "the data set is not at hand"
    elif ladder.broken("spec"):
        reason = "the specifications differ"
    else:
        try:
            return make_plan(run.spec, dataset)
        except UsageError as error:
            reason = str(error)
    ladder.missing["order"] = reason
    if not ladder.broken("spec"):
        ladder.inconclusive.append(reason)
    return None


def _hold_against_plan(ladder: _Ladder, plan: Plan, dataset: Dataset) -> None:
    for side, run in ladder.runs.items():
        ladder.breaks += folders.data_breaks(run, plan, dataset, side=side)
        for rung, look_at in (("order", folders.order_breaks), ("init", folders.init_breaks)):
            try:
                ladder.breaks += look_at(run, plan, side=side)
            except RunFolderError as error:
                if "missing" not in str(error):
                    raise
                ladder.missing[rung] = str(error)
                ladder.inconclusive.append(str(error))


def _hold_together(ladder: _Ladder) -> None:
    """Without the rows: digests and initial weights of the two folders against each other."""
    a, b = ladder.runs["a"], ladder.runs["b"]
    splits = () if ladder.broken("spec") else ("train_ids_sha256", "test_ids_sha256")
    for key in ("sha256", *splits):
        left, right = a.dataset.get(key), b.dataset.get(key)
        if left != right:
            cause = Cause("other_data", key)
            ladder.breaks.append(
                Break("b", "data", None, None, None, None, None, str(right), str(left), cause)
            )
            break


def _without_backends(ladder: _Ladder) -> None:
    reason = ladder.missing.get("order", "an earlier rung breaks")
    for rung in ("forward", "loss", "gradient", "update", "trajectory", "metrics"):
        ladder.missing.setdefault(rung, reason)


def _permuted(ladder: _Ladder) -> Outcome:
    ladder.breaks = [item for item in ladder.breaks if item.rung not in ("init", "trajectory")]
    _without_backends(ladder)
    outcome = _outcome(ladder, Proof("not_run"), None)
    if outcome.breaks:
        return outcome
    return replace(outcome, verdict="equivalent", text="Equal up to a permutation of hidden units.")


# --- With backends --------------------------------------------------------------------------------


def _shared(plan: Plan, dataset: Dataset, say: Say) -> Shared:
    say("running the float64 reference")
    data = training_data(plan, dataset)
    spans = windows(plan)
    ends = [plan.steps_per_epoch * epoch + 1 for epoch in range(1, EPOCHS + 1)]
    ends = [end for end in ends if end <= plan.steps_per_epoch * plan.spec.training.epochs + 1]
    asked = {step for span in spans for step in span} | set(ends)
    trajectory = run_reference(plan, data, before=asked)
    height, width = dataset.images.shape[1:]
    return Shared(
        plan=plan,
        data=data,
        image_shape=(height, width),
        windows=spans,
        states=trajectory.states,
        stress=stress_batch(plan, data),
        first=first_epochs(plan, data, trajectory),
    )


def _beyond(
    ladder: _Ladder,
    shared: Shared,
    *,
    always_prove: bool,
    say: Say,
) -> tuple[Proof, Chaos | None]:
    """The float64 proof and the ensemble, where clean steps end in different predictions."""
    a, b = ladder.runs["a"], ladder.runs["b"]
    differing = _differing(a, b)
    if ladder.breaks or not (always_prove or differing.any()):
        return Proof("not_run"), None
    say("float64 proof: training both sides in float64")
    proof = prove((a, b), shared.plan, shared.data)
    chaos = None
    if differing.any():
        say(f"ensemble: training {a.label} from initial weights one last digit away")
        with open_side(a) as worker:
            chaos = ensemble(a, worker, shared.plan, shared.data, differing)
    return proof, chaos


# --- The outcome ----------------------------------------------------------------------------------


def _differing(a: Run, b: Run) -> Any:
    left, right = a.predictions, b.predictions
    if not np.array_equal(left["ids"], right["ids"]):
        return np.ones(len(left["ids"]), bool)
    return left["logits"].argmax(axis=1) != right["logits"].argmax(axis=1)


def _outcome(ladder: _Ladder, proof: Proof, chaos: Chaos | None) -> Outcome:
    a, b = ladder.runs["a"], ladder.runs["b"]
    differing = _differing(a, b)
    for side, run in ladder.runs.items():
        try:
            text = report_text(evidence(run))
        except RunFolderError:
            # Predictions that were altered don't fit the examples; then that is told.
            if not any(item.side == side for item in ladder.breaks):
                raise
            continue
        if run.report_text != text:
            cause = Cause("altered_file", "report.txt is not what predictions.npz gives")
            ladder.breaks.append(Break(side, "report", None, None, None, None, None, cause=cause))
    identical = a.report_text == b.report_text
    different = int(differing.sum())
    if proof.status == "failed":
        cause = Cause(
            "unknown", "final weights differ in float64, though every judged step is clean"
        )
        side = proof.further or "b"
        ladder.breaks.append(
            Break(side, "trajectory", None, None, None, "weights", None, cause=cause)
        )
    breaks = tuple(
        replace(
            item, cause=described(item.cause, framework=ladder.runs[item.side].label, spec=a.spec)
        )
        for item in ordered(ladder.breaks)
    )
    verdict, text = _verdict(ladder, breaks, different=different, proof=proof, identical=identical)
    unseen = not_exercised(ladder.steps, a.spec) if "order" not in ladder.missing else []
    return Outcome(
        verdict=verdict,
        text=text,
        sides=tuple({"label": run.label, "path": str(run.path)} for run in (a, b)),  # type: ignore[arg-type]
        rungs=_rungs(
            ladder, breaks, different=different, total=len(differing), identical=identical
        ),
        breaks=breaks,
        noted=tuple(ladder.noted),
        not_exercised=(*unseen, *(f"{rung}: {why}" for rung, why in ladder.missing.items())),
        predictions_total=len(differing),
        predictions_different=different,
        report_identical=identical,
        proof=proof,
        chaos=chaos,
    )


def _described(item: Break, ladder: _Ladder) -> Cause:
    run = ladder.runs[item.side]
    return described(item.cause, framework=run.label, spec=run.spec)


def _verdict(
    ladder: _Ladder,
    breaks: Sequence[Break],
    *,
    different: int,
    proof: Proof,
    identical: bool,
) -> tuple[Verdict, str]:
    if breaks:
        return "different", f"The runs part at rung {breaks[0].rung}: {breaks[0].cause.name}."
    if ladder.inconclusive:
        return (
            "inconclusive",
            f"Nothing breaks, but {'; '.join(dict.fromkeys(ladder.inconclusive))}.",
        )
    if different == 0 and identical:
        return "identical", "Every rung is clean; reports and all predictions are equal."
    if proof.status == "passed":
        return "equivalent", f"Same algorithm, different rounding: {different} predictions differ."
    return "inconclusive", f"{different} predictions differ and float64 could not settle it."


def _rungs(
    ladder: _Ladder,
    breaks: Sequence[Break],
    *,
    different: int,
    total: int,
    identical: bool,
) -> tuple[Rung, ...]:
    rungs = []
    told = {
        "predictions": f"{different} of {total} differ",
        "report": "classification reports are " + ("identical" if identical else "different"),
    }
    for name in RUNGS:
        mine = [item for item in breaks if item.rung == name]
        margin = ladder.margins.get(name) if name in STEP_RUNGS else None
        if mine:
            rungs.append(Rung(name, "broken", None, mine[0].cause.name))
        elif name in ladder.missing:
            rungs.append(Rung(name, "not_exercised", None, ladder.missing[name]))
        elif name in ("predictions", "report") and (different or not identical):
            rungs.append(Rung(name, "noted", None, told[name]))
        elif name == "data" and ladder.noted:
            rungs.append(Rung(name, "noted", margin, ladder.noted[0].name))
        else:
            rungs.append(Rung(name, "clean", margin, told.get(name, "")))
    return tuple(rungs)
