"""Compare two finished runs rung by rung."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial

import numpy as np

from mnist_mlp.contract import EpochRecord
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import RunFolderError, SetupError, UsageError
from mnist_mlp.parity.compare import folders
from mnist_mlp.parity.compare.ladder import Ladder, SideEvidence
from mnist_mlp.parity.compare.proof import are_apart, ensemble, prove
from mnist_mlp.parity.compare.replay import open_side
from mnist_mlp.parity.compare.side import Shared, look, look_at_trace
from mnist_mlp.parity.compare.verdict import compare_outcome, differing_predictions
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place, Side
from mnist_mlp.parity.outcome import Chaos, Outcome, Proof
from mnist_mlp.parity.steps.sampling import windows
from mnist_mlp.parity.steps.stress import stress_batch
from mnist_mlp.parity.steps.trajectory import ReferenceRun, begin, one_blas_thread_throughout
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.run.evaluation import import_evaluator
from mnist_mlp.run.folder import Run
from mnist_mlp.stopping import stops
from mnist_mlp.worker.of_run import worker_of
from mnist_mlp.worker.parent import Worker

Say = Callable[[str], None]


def quiet(_: str) -> None:
    """Say nothing."""


def compare_runs(
    a: Run,
    b: Run,
    *,
    dataset: Dataset | Callable[[], Dataset | None] | None,
    started: Mapping[Side, Worker] | None = None,
    reported: Mapping[Side, Sequence[EpochRecord]] | None = None,
    static: bool = False,
    always_prove: bool = False,
    trusted: Collection[str] = (),
    verbose: bool = False,
    timeout: float | None = None,
    say: Say = quiet,
) -> Outcome:
    """Compare two finished runs rung by rung.

    Parameters
    ----------
    a, b : Run
    dataset : Dataset, callable or None
        The rows both were trained on, or a function that loads them. Without them, only the folders
        are compared with each other.
    started : mapping, optional
        Workers that run already, by side: from `importing`, or those that have trained the runs.
        Others are started here. Whoever started one closes it.
    reported : mapping, optional
        The epochs of runs that this process has just trained, as their backends reported them, by
        side. They are judged in place of a second training, unless predictions differ.
    static : bool
        Compare only the folders, and start no backend.
    always_prove : bool
        Make the float64 proof even if all predictions agree.
    trusted : collection of str
        Backends (module:Class) that a folder may name and have run, besides the registered ones.
    timeout : float, optional
        Most seconds that a backend may go on without a report.
    say : callable
        Called with one line of text at each stage: comparing tutorial runs takes about a minute.

    Raises
    ------
    UsageError
        A run is one of `sweep --native`.
    TimeLimitError
        A backend reported nothing for `timeout` seconds.
    RunFolderError
        A file of a run is missing or damaged, or the files don't fit together.
    DivergedError
        The weights, logits or losses of a run are not finite. The message names file and place.
    """
    for run in (a, b):
        if run.record.native:
            raise UsageError(
                f"{run.path}: its framework drew initial weights and order itself, so it differs "
                f"from any other run at once; runs of `sweep --native` are compared by accuracy"
            )
        # Read here, so that a damaged file is told before anything is started.
        _ = run.weights, run.history, run.predictions, run.examples
    ladder = Ladder(runs={"a": a, "b": b})
    fields = folders.spec_fields(a, b)
    ladder.breaks += folders.spec_breaks(fields)
    ladder.compared["spec"] = len(fields)
    # Judging is matrix products, too, and both sides' workers are busy meanwhile.
    with one_blas_thread_throughout(), ExitStack() as workers:
        all_started = dict(started or {})
        if not static and _on_cpu(ladder.runs) and not ladder.broken("spec"):
            # They import their frameworks while this process loads and checks the rows.
            for side in ladder.runs.keys() - all_started.keys():
                start = partial(worker_of, ladder.runs[side], trusted=trusted)
                worker = importing(partial(start, verbose=verbose, timeout=timeout), workers)
                if worker is not None:
                    all_started[side] = worker
        rows = dataset() if callable(dataset) else dataset
        return _compared(
            ladder,
            rows,
            all_started,
            reported or {},
            static=static,
            always_prove=always_prove,
            trusted=trusted,
            verbose=verbose,
            timeout=timeout,
            say=say,
        )


def importing(start: Callable[[], Worker], workers: ExitStack) -> Worker | None:
    """A worker that imports its framework already; `workers` closes it.

    None if it cannot be started. Whoever needs it tries again, and tells why.
    """
    with suppress(SetupError, UsageError):
        worker = workers.enter_context(start())
        worker.start_importing()
        return worker
    return None


def _on_cpu(runs: Mapping[Side, Run]) -> bool:
    """Whether the sides may run at the same time. On a GPU they take turns: TensorFlow reserves
    nearly all of its memory."""
    return all(run.record.accelerator == "cpu" for run in runs.values())


def _compared(
    ladder: Ladder,
    dataset: Dataset | None,
    started: Mapping[Side, Worker],
    reported: Mapping[Side, Sequence[EpochRecord]],
    *,
    static: bool,
    always_prove: bool,
    trusted: Collection[str],
    verbose: bool,
    timeout: float | None,
    say: Say,
) -> Outcome:
    """All rungs but `spec`; see `compare_runs`."""
    a, b = ladder.runs.values()
    _look_at_ends(ladder)
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
    proof, chaos = Proof(status="not_run"), None
    shared: Shared | None = None
    if plan is None or dataset is None or ladder.broken("spec", "data", "order", "init"):
        _without_backends(ladder)
    else:
        longest = max(ladder.runs.values(), key=lambda run: len(run.history))
        shared = _shared(made_plan(plan, longest), dataset, trusted=trusted, timeout=timeout)
        given = {side: _given(shared, side, made_plan(plan, r)) for side, r in ladder.runs.items()}
        # Where predictions differ, a second training shows whether a side repeats itself.
        known = {} if differing_predictions(a, b).any() else reported
        seen = (
            _stored(ladder.runs, given)
            if static
            else _replayed(ladder.runs, given, started, known, verbose=verbose, say=say)
        )
        for each in seen:
            ladder.take(each)
    if not static and shared is not None:
        proof, chaos = _beyond(ladder, shared, always_prove=always_prove, say=say)
    return compare_outcome(ladder, proof, chaos)


# --- Before any backend ---------------------------------------------------------------------------


def _plan(ladder: Ladder, dataset: Dataset | None) -> Plan | None:
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


def made_plan(plan: Plan, run: Run) -> Plan:
    """The plan of the epochs that a run made, if it may have stopped early."""
    stoppable = plan.spec.training.patience > 0 and run.history
    return plan.as_trained(len(run.history)) if stoppable else plan


def _look_at_ends(ladder: Ladder) -> None:
    """Check that each run stopped where the specification says, by its own validation losses."""
    for side, run in ladder.runs.items():
        training, made = run.spec.training, len(run.history)
        losses = [row.val_loss for row in run.history]
        stop = (n for n in range(1, made + 1) if stops(losses[:n], training))
        right = next(stop, training.epochs)
        if training.patience and made and made != right:
            text = f"trained {made} epochs; by its validation losses, it had to be {right}"
            place = Place(epoch=min(made, right), tensor="weights")
            ladder.breaks.append(
                Break(side=side, rung="trajectory", place=place, cause=Cause(UNKNOWN, text))
            )
    ends = [len(run.history) for run in ladder.runs.values() if run.spec.training.patience]
    if len(ends) == 2 and 0 < min(ends) < max(ends) and not ladder.broken("spec", "trajectory"):
        ladder.inconclusive.append(
            f"a stopped after epoch {ends[0]} and b after epoch {ends[1]}, since their validation "
            f"losses differ in the sixth digit"
        )


def _hold_against_plan(ladder: Ladder, whole: Plan, dataset: Dataset) -> None:
    for side, run in ladder.runs.items():
        plan = made_plan(whole, run)
        ladder.breaks += folders.data_breaks(run, plan, dataset, side=side)
        ladder.compared["data"] = len(DIGESTS)
        for rung, look_at in (("order", folders.order_breaks), ("init", folders.init_breaks)):
            try:
                ladder.breaks += look_at(run, plan, side=side)
                ladder.compared[rung] = (
                    len(plan.train_ids) * plan.spec.training.epochs
                    if rung == "order"
                    else len(plan.initial_weights)
                )
            except RunFolderError as error:
                if "missing" not in str(error):
                    raise
                ladder.leave_open(rung, reason=str(error))


def _hold_together(ladder: Ladder) -> None:
    """Without the data set: compare the digests that the two folders record."""
    a, b = ladder.runs["a"], ladder.runs["b"]
    _same_start(ladder)
    keys = DIGESTS[:1] if ladder.broken("spec") else DIGESTS
    ladder.compared["data"] = 0
    for key in keys:
        left, right = getattr(a.dataset, key), getattr(b.dataset, key)
        if not left or not right:
            continue  # a folder made elsewhere may lack the splits
        ladder.compared["data"] += 1
        if left != right:
            cause = Cause("other_data", key)
            ladder.breaks.append(
                Break(side="b", rung="data", got=right, expected=left, cause=cause)
            )
            break


DIGESTS = ("sha256", "train_ids_sha256", "test_ids_sha256")
"""Of a folder's rows: all of them, and both parts of the split, which the specification draws."""


def _same_start(ladder: Ladder) -> None:
    """Initial weights of two folders, which one specification draws the same."""
    if ladder.broken("spec"):
        ladder.leave_out("init", reason="the specifications differ")
        return
    try:
        a, b = (run.initial_weights for run in ladder.runs.values())
    except RunFolderError as error:
        if "missing" not in str(error):
            raise
        ladder.leave_open("init", reason=str(error))
        return
    ladder.compared["init"] = len(a)
    other = [name for name in a if name not in b or not np.array_equal(a[name], b[name])]
    if other or a.keys() != b.keys():
        cause = Cause(UNKNOWN, f"{len(other)} of {len(a)} tensors differ between the folders")
        ladder.breaks.append(Break(side="b", rung="init", cause=cause))


def _without_backends(ladder: Ladder) -> None:
    reason = ladder.missing.get("order", "an earlier rung breaks")
    for rung in ("forward", "loss", "gradient", "update", "trajectory", "metrics"):
        ladder.missing.setdefault(rung, reason)


def _permuted(ladder: Ladder) -> Outcome:
    ladder.breaks = [item for item in ladder.breaks if item.rung not in ("init", "trajectory")]
    _without_backends(ladder)
    outcome = compare_outcome(ladder, Proof(status="not_run"), None)
    if outcome.breaks:
        return outcome
    text = "Equal up to a permutation of hidden units."
    return outcome.model_copy(update={"verdict": "equivalent", "text": text})


# --- With backends --------------------------------------------------------------------------------


def _shared(
    plan: Plan, dataset: Dataset, *, trusted: Collection[str], timeout: float | None
) -> Shared:
    data = training_data(plan, dataset)
    height, width = dataset.images.shape[1:]
    return Shared(
        exact=ReferenceRun(plan, data),
        image_shape=(height, width),
        windows=windows(plan),
        stress=stress_batch(plan, data),
        trusted=trusted,
        timeout=timeout,
    )


def _given(shared: Shared, side: Side, plan: Plan) -> Shared:
    """The same for a run by another plan, which is the case if it stopped after another epoch."""
    if plan.spec == shared.plan.spec:
        return shared
    return Shared(
        exact=ReferenceRun(plan, shared.data),
        image_shape=shared.image_shape,
        windows=windows(plan),
        stress=shared.stress,
        leader=side,
        trusted=shared.trusted,
        timeout=shared.timeout,
    )


def _stored(runs: Mapping[Side, Run], given: Mapping[Side, Shared]) -> list[SideEvidence]:
    """Judge the steps that the folders hold, without running a backend."""
    reason = "--static: no backend was started"
    return [look_at_trace(run, given[s], side=s, reason=reason) for s, run in runs.items()]


def _replayed(
    runs: Mapping[Side, Run],
    given: Mapping[Side, Shared],
    started: Mapping[Side, Worker],
    reported: Mapping[Side, Sequence[EpochRecord]],
    *,
    verbose: bool,
    say: Say,
) -> list[SideEvidence]:
    """Judge both sides, at the same time and each in its own process; train again what this
    process has not seen training."""
    again = [run.label for side, run in runs.items() if side not in reported]
    say(f"replaying {' and '.join(again)}" if again else "judging the steps of both")
    begin(*(shared.compute_first for shared in given.values()), import_evaluator)
    # If one side fails, or the user stops the command, the workers are closed first. Without them,
    # the threads end at once.
    at_once = len(runs) if _on_cpu(runs) else 1
    with ThreadPoolExecutor(at_once) as pool, ExitStack() as workers:
        workers.callback(pool.shutdown, wait=False, cancel_futures=True)
        for worker in started.values():
            workers.callback(worker.close)
        found = [
            pool.submit(
                look,
                run,
                given[side],
                side=side,
                workers=workers,
                worker=started.get(side),
                reported=reported.get(side, ()),
                verbose=verbose,
            )
            for side, run in runs.items()
        ]
        return [future.result() for future in found]


def _beyond(
    ladder: Ladder,
    shared: Shared,
    *,
    always_prove: bool,
    say: Say,
) -> tuple[Proof, Chaos | None]:
    """Make the float64 proof, and the ensemble if predictions differ though no step breaks."""
    a, b = ladder.runs["a"], ladder.runs["b"]
    differing = differing_predictions(a, b)
    if ladder.breaks or not (always_prove or differing.any() or are_apart(a.weights, b.weights)):
        return Proof(status="not_run"), None
    say("float64 proof: training both sides in float64")
    proof = prove((a, b), shared.plan, shared.data, trusted=shared.trusted, timeout=shared.timeout)
    chaos = None
    if differing.any() and proof.status != "unavailable":
        say(f"ensemble: training {a.label} from initial weights that differ in their last digit")
        with open_side(
            a, shared.plan.spec, trusted=shared.trusted, timeout=shared.timeout
        ) as worker:
            chaos = ensemble(a, worker, shared.plan, shared.data, differing)
    return proof, chaos
