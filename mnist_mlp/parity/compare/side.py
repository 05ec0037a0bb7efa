"""Test one side of a comparison rung by rung, with its backend running."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Event, RLock

import numpy as np

from mnist_mlp.contract import EpochRecord, State, TrainingData
from mnist_mlp.errors import DivergedError, RunFolderError, SetupError, UsageError
from mnist_mlp.parity.causes import init
from mnist_mlp.parity.causes.explain import Explanation, explain
from mnist_mlp.parity.compare import whole_fit
from mnist_mlp.parity.compare.ladder import SideEvidence
from mnist_mlp.parity.compare.metrics import metric_breaks
from mnist_mlp.parity.compare.replay import fitted, judged_steps
from mnist_mlp.parity.compare.trace import FILE, read_trace
from mnist_mlp.parity.compare.whole_fit import FirstEpochs
from mnist_mlp.parity.findings import FEW_VALUES, UNKNOWN, Break, Cause, JudgedStep, Place, Side
from mnist_mlp.parity.steps import arbiter
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.parity.steps.sampling import between
from mnist_mlp.parity.steps.shapes import finite_part
from mnist_mlp.parity.steps.stress import Stress
from mnist_mlp.parity.steps.trajectory import ReferenceRun
from mnist_mlp.plan import Plan
from mnist_mlp.run.folder import Run
from mnist_mlp.run.machine import processor_name
from mnist_mlp.run.tensors import tensors_digest
from mnist_mlp.worker.of_run import worker_of
from mnist_mlp.worker.parent import Opened, Worker


@dataclass(frozen=True, eq=False)
class Shared:
    """The same inputs for both sides: plan, rows, windows, and the state before each step."""

    exact: ReferenceRun
    image_shape: tuple[int, int]
    windows: Sequence[range]
    stress: Stress
    leader: Side = "a"
    """The side whose run the states before later steps are taken from."""
    trusted: Collection[str] = ()
    """Unregistered backends (module:Class) that a run folder may name and have run."""
    timeout: float | None = None
    """Most seconds that a backend may go on without a report."""
    led: Event = field(default_factory=Event)
    """Set once the leader has trained, or cannot."""
    lock: RLock = field(default_factory=RLock)

    @property
    def plan(self) -> Plan:
        """The plan of both runs."""
        return self.exact.plan

    @property
    def data(self) -> TrainingData:
        """The rows that both runs were trained on."""
        return self.exact.data

    @property
    def steps(self) -> list[int]:
        """The steps that are judged."""
        return [step for window in self.windows for step in window]

    @property
    def states(self) -> dict[int, State]:
        """The states from which the steps of the windows start."""
        return self.exact.states(self.steps)

    def compute_first(self) -> None:
        """Compute what is asked of the reference whatever a side has trained."""
        ends = whole_fit.first_ends(self.plan).values()
        # At once, since each call computes the way from the epoch's beginning anew.
        self.exact.states([*ends, *(step for step in self.steps if step <= max(ends))])
        _ = self.first

    @property
    def first(self) -> FirstEpochs:
        """The first epochs, which judge the whole fit."""
        with self.lock:  # computed once, also if both sides ask
            return self._first

    @cached_property
    def _first(self) -> FirstEpochs:
        return whole_fit.first_epochs(self.exact)

    @cached_property
    def double(self) -> FirstEpochs:
        """The first epochs in float64, for networks that amplify rounding errors."""
        return whole_fit.in_double(self.first)


def look(
    run: Run,
    shared: Shared,
    *,
    side: Side,
    workers: ExitStack,
    worker: Worker | None = None,
    reported: Sequence[EpochRecord] = (),
    verbose: bool = False,
) -> SideEvidence:
    """Run one side's backend and test every rung that needs it.

    `worker` may have been started before. If it was not, `workers` closes its process. `reported`
    are the epochs of a run that this process has just trained; it is not trained again.
    """
    seen = SideEvidence()
    try:
        try:
            worker = worker or workers.enter_context(
                worker_of(run, trusted=shared.trusted, verbose=verbose, timeout=shared.timeout)
            )
            worker.open(shared.plan.spec)
        except (SetupError, UsageError) as error:
            return look_at_trace(
                run, shared, side=side, reason=f"{run.label} cannot be run here: {error}"
            )
        seen.records = list(reported) or fitted(worker, shared.plan, shared.data)
        if side == shared.leader:
            shared.exact.pass_through(whole_fit.later_ends(seen.records, shared.plan))
    finally:
        if side == shared.leader:
            shared.led.set()
    shared.led.wait()
    _look_at_steps(seen, worker, run, shared, side)
    # What was trained would only show the consequences of the break.
    if seen.breaks:
        seen.leave_out("trajectory", "metrics", reason="a step already breaks")
    else:
        _look_at_fit(seen, worker, run, shared, side)
        _look_at_predictions(seen, worker, run, shared, side)
    worker.close()  # the other side may take longer, and this one's memory is no longer needed
    return seen


def look_at_trace(run: Run, shared: Shared, *, side: Side, reason: str) -> SideEvidence:
    """Judge the steps stored in the folder, without a backend; record what cannot be tested."""
    seen = SideEvidence()
    seen.leave_open("trajectory", "metrics", reason=reason)
    try:
        seen.steps = read_trace(run, shared.plan, shared.data)
    except RunFolderError as error:
        if not str(error).endswith("missing"):
            raise
        reason = f"{reason}, and {run.label} has no {FILE} with stored steps"
        seen.leave_out("forward", "loss", "gradient", "update", reason=reason)
        return seen
    _take_steps(seen, explain(recipe_for(shared), seen.steps, side=side))
    return seen


# --- Steps ----------------------------------------------------------------------------------------


def recipe_for(shared: Shared) -> Recipe:
    """The recipe of the specification, without any hypothesis."""
    spec = shared.plan.spec
    return Recipe(spec, arbiter.eps_of(spec.training.precision), shared.image_shape)


def _look_at_steps(
    seen: SideEvidence, worker: Worker, run: Run, shared: Shared, side: Side
) -> None:
    seen.steps = judged_steps(
        worker,
        shared.plan,
        shared.data,
        windows=shared.windows,
        states=shared.states,
        stress=shared.stress,
    )
    seen.steps, strange = finite_part(seen.steps)
    explained = explain(recipe_for(shared), seen.steps, side=side)
    # A break explains NaN and infinity after it; without one, the run itself diverged.
    if strange and not explained.breaks:
        raise DivergedError(f"{run.label}, replayed: {strange}")
    if explained.breaks:
        seen.steps = _closer(worker, shared, seen.steps, explained)
        explained = explain(recipe_for(shared), seen.steps, side=side)
    _take_steps(seen, explained)


def _take_steps(seen: SideEvidence, explained: Explanation) -> None:
    """Collect the results of the judged steps."""
    seen.breaks += explained.breaks
    seen.noted += explained.noted
    seen.margins |= explained.margins


def _closer(
    worker: Worker, shared: Shared, steps: list[JudgedStep], explained: Explanation
) -> list[JudgedStep]:
    """Judge more steps, until the last clean step is the one before the first broken step.

    A fault may show in some steps only (for example in the last batch of each epoch), so the gap
    cannot be halved. Instead, windows all over the gap are judged.
    """
    for _ in range(6):  # each round leaves about an eighth of the gap
        broken = min((b.step for b in explained.breaks if b.step), default=None)
        clean = max((s.step for s in steps if not s.stress and s.step < (broken or 0)), default=0)
        if broken is None or clean + 1 >= broken:
            return steps
        windows = between(clean, broken - 1)
        asked = [step for window in windows for step in window]
        states = shared.exact.states(asked)
        more = judged_steps(
            worker, shared.plan, shared.data, windows=windows, states=states, stress=None
        )
        offset = 1 + max(s.window for s in steps)
        steps = steps + [replace(step, window=step.window + offset) for step in more]
        explained = explain(recipe_for(shared), steps, side="a")
    return steps


# --- The whole run --------------------------------------------------------------------------------


def _look_at_fit(seen: SideEvidence, worker: Worker, run: Run, shared: Shared, side: Side) -> None:
    records, first = seen.records, shared.first
    if not whole_fit.is_calm(first):
        double = _in_double(worker, shared)
        if double is None:
            why = "this network amplifies rounding errors"
            reason = f"{why}, and {run.label} does not support float64, which judging `fit` needs"
            seen.leave_open("metrics", reason=reason)
        records, first = double or [], shared.double
    breaks = whole_fit.fit_breaks(records, first, side=side)
    # Other initial weights also make the first epoch wrong, and are the better explanation.
    if breaks and breaks[0].epoch == 1:
        breaks = _other_start(worker, shared, side) or breaks
    if breaks:
        seen.breaks += breaks
        seen.leave_out("trajectory", "metrics", reason="the first epochs of fit already break")
    else:
        wrong, off = metric_breaks(records, first, side=side)
        seen.breaks += wrong
        for rung, margin in (("trajectory", whole_fit.margin(records, first)), ("metrics", off)):
            if margin is not None:
                seen.margins[rung] = margin
    if not run.history:
        reason = f"{run.label} has no history that a replay could be compared with"
        seen.leave_open("trajectory", reason=reason)
        return
    other = _other_environment(worker, run)
    if other:
        seen.leave_open("trajectory", reason=other)
        return
    _compare_history(seen, worker, run, shared, side)


def _in_double(worker: Worker, shared: Shared) -> list[EpochRecord] | None:
    """The first epochs of `fit` in float64; None if the backend does not support float64."""
    try:
        worker.open(shared.double.plan.spec)
        return fitted(worker, shared.double.plan, shared.data)
    except UsageError:
        return None
    finally:
        worker.open(shared.plan.spec)


def _other_start(worker: Worker, shared: Shared, side: Side) -> list[Break]:
    """Breaks of the initial weights that `fit` really starts from.

    They are read by training a single step at the rate 1e-30, which moves no weight.
    """
    plan = shared.plan
    tiny = plan.spec.optimizer.model_copy(update={"learning_rate": 1e-30, "schedule": ()})
    training = plan.spec.training.model_copy(update={"epochs": 1})
    spec = plan.spec.model_copy(update={"optimizer": tiny, "training": training})
    rows = plan.spec.training.batch_size
    still = replace(plan, spec=spec, train_ids=plan.train_ids[:rows])
    data = replace(
        shared.data,
        train_images=shared.data.train_images[:rows],
        train_labels=shared.data.train_labels[:rows],
    )
    worker.open(spec)
    weights = fitted(worker, still, data)[-1].weights
    # A bias of 0 does move by such a small step, so what is almost 0 is set back to 0.
    weights = {name: np.where(np.abs(w) < 1e-20, 0, w) for name, w in weights.items()}
    worker.open(plan.spec)
    return init.breaks(weights, plan, side=side)


def _other_environment(worker: Worker, run: Run) -> str:
    """Why a replay here need not be equal to the original run bit for bit; empty if it must be."""
    opened: Opened | None = worker.opened
    if opened is None:
        return "the backend was not opened"
    if run.record.not_recorded:
        return f"{run.label}: run.json does not record {', '.join(run.record.not_recorded)}"
    if run.record.changed_within:
        return (
            f"{run.label} was trained with {run.record.versions}, but {run.record.changed_within}"
        )
    here, there = dict(opened.environment.versions), run.record.versions
    if here != there:
        return f"{run.label} was trained with {there}, but installed are {here}"
    processor = run.record.machine.processor
    if processor != processor_name():
        return f"{run.label} was trained on {processor}, but this is {processor_name()}"
    return ""


def _compare_history(
    seen: SideEvidence, worker: Worker, run: Run, shared: Shared, side: Side
) -> None:
    digests = [tensors_digest(record.weights) for record in seen.records]
    wrong = [
        row.epoch
        for row, digest in zip(run.history, digests, strict=False)
        if row.weights_sha256 != digest
    ]
    if len(run.history) != len(digests):
        wrong = wrong or [min(len(run.history), len(digests)) + 1]
    if wrong:
        # Only a replay that repeats itself can show that the stored digests are wrong.
        again = [tensors_digest(r.weights) for r in fitted(worker, shared.plan, shared.data)]
        if again != digests:
            reason = f"{run.label} does not repeat itself: two replays give different weights"
            seen.leave_open("trajectory", reason=reason)
            return
        # Wrong training changes all later epochs too; an altered file changes only some.
        isolated = len(wrong) < len(digests) - wrong[0] + 1
        text = f"weights_sha256 of epochs {', '.join(map(str, wrong[:5]))}"
        name = "altered_file" if isolated else "history_not_reproduced"
        seen.breaks.append(
            Break(
                side=side,
                rung="trajectory",
                place=Place(epoch=wrong[0], tensor="weights"),
                cause=Cause(name, text),
            )
        )
        return
    seen.compared["trajectory"] = len(digests)
    for row, record in zip(run.history, seen.records, strict=True):
        for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
            stored_value, replayed = getattr(row, column), getattr(record, column)
            if stored_value != replayed:
                cause = Cause("altered_file", f"history.csv: {column} of epoch {row.epoch}")
                seen.breaks.append(
                    Break(
                        side=side,
                        rung="metrics",
                        place=Place(epoch=row.epoch, tensor=column),
                        got=repr(stored_value),
                        expected=repr(replayed),
                        cause=cause,
                    )
                )
                return


def _look_at_predictions(
    seen: SideEvidence, worker: Worker, run: Run, shared: Shared, side: Side
) -> None:
    """Compare the stored logits with those of the stored weights, bit for bit where possible."""
    place = Place(tensor="logits")
    stored = run.predictions["logits"]
    logits = worker.predict(run.weights, shared.data.test_images)
    if stored.shape != logits.shape:
        cause = Cause("other_shapes", f"{stored.shape} against {logits.shape}")
        seen.breaks.append(Break(side=side, rung="predictions", place=place, cause=cause))
        return
    exact = "trajectory" not in seen.missing
    # Another processor or version may add up in another order, which costs some roundings of the
    # largest logit; 64 leaves room for that.
    scale = np.abs(logits).max()
    allowed = 0.0 if exact else 64 * float(np.finfo(logits.dtype).eps) * scale
    gap = np.abs(stored.astype(np.float64) - logits)
    if gap.max() > allowed:
        row, column = np.unravel_index(int(gap.argmax()), gap.shape)
        few = int((gap > allowed).sum()) <= FEW_VALUES
        ids = run.predictions["ids"]
        cause = Cause(
            "altered_file" if few else UNKNOWN,
            f"predictions.npz: {int((gap > allowed).any(axis=1).sum())} rows differ from the "
            f"logits of the stored weights, row {int(ids[row])} most",
        )
        seen.breaks.append(
            Break(
                side=side,
                rung="predictions",
                place=place,
                got=f"{stored[row, column]:.9g}",
                expected=f"{logits[row, column]:.9g}",
                cause=cause,
            )
        )
