"""A port's training run: its judged steps, and the way between them.

What happens between two windows is not judged, but where it leads to is: before the shared state is
set at the beginning of a window, the port's own weights have to be where the reference's are, as
near as an honest run gets there. Where they are not, windows are laid closer, until the step that
leads astray is judged itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mnist_mlp.contract import TrainingData
from mnist_mlp.errors import DivergedError
from mnist_mlp.parity.causes.explain import Explanation, explain
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, JudgedStep, Place, Side
from mnist_mlp.parity.steps import drift
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.parity.steps.sampling import between, merged, place, windows
from mnist_mlp.parity.steps.shapes import finite_part
from mnist_mlp.parity.steps.stress import Stress, stress_batch
from mnist_mlp.parity.steps.trajectory import ReferenceRun, batch_of, begin
from mnist_mlp.plan import Plan
from mnist_mlp.ports.protocol import AskedStates, PortEpoch, PortJob, PortStep
from mnist_mlp.reference import Array, Tensors
from mnist_mlp.worker.parent import Worker

ROUNDS = 40
"""Windows that are laid into a gap for a closer look."""

CLOSER = 3
"""How often: 40 windows of 3 steps, three times, cover 60,000 steps."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What a port is judged against.

    `exact` is the reference's run, and `honest` the same run with other roundings. `plain` is the
    specification's own recipe, where `recipe` is what an original follows; `way` are
    the original's weights at the beginning of windows, by step. Of every original there are `draws`
    of its initial weights, and the `logits` it makes of the test rows in the end. `passed_by` are
    kinds of layers that hand on what they are given while it is run.
    """

    exact: ReferenceRun
    honest: ReferenceRun
    recipe: Recipe
    plain: Recipe | None = None
    way: Mapping[int, Tensors] = field(default_factory=dict)
    draws: Sequence[Tensors] = ()
    logits: Array | None = None
    passed_by: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        """What the port is asked to train."""
        return self.exact.plan

    @property
    def data(self) -> TrainingData:
        """The rows of the plan."""
        return self.exact.data


@dataclass(eq=False)
class PortRun:
    """One run of a port; `found` holds its own weights before a window's first step.

    `steps` end before the first one that is not finite; `strange` says what is wrong with that one.

    `away` is how many times further than an honest run these are from the reference's, at most;
    None where none could be measured.
    """

    steps: list[JudgedStep] = field(default_factory=list)
    epochs: list[PortEpoch] = field(default_factory=list)
    found: dict[int, Tensors] = field(default_factory=dict)
    strange: str = ""
    away: float | None = None


def begin_reference(given: Setting, more: Collection[int] = ()) -> None:
    """Compute in the background what `look_at_steps` will ask of the reference, and the states
    before some `more` steps."""
    spans = windows(given.plan)
    end = given.plan.steps_per_epoch * given.plan.spec.training.epochs + 1
    steps = [step for span in spans for step in span]
    begin(
        lambda: given.exact.states([*steps, *more, end]),
        lambda: given.honest.states([span.start for span in spans]),
    )


def first_run(worker: Worker, given: Setting) -> PortRun:
    """A port's training run, recorded in the windows in which every run is judged first.

    It depends on the plan, the data and the layers that are passed by, and not on what the port is
    judged by.
    """
    return _run(worker, given, windows(given.plan), stress_batch(given.plan, given.data))


def look_at_steps(
    worker: Worker, given: Setting, side: Side, ran: Callable[[], PortRun] | None = None
) -> tuple[PortRun, Explanation, list[Break]]:
    """Run a port, and run it again where its steps have to be looked at more closely.

    `ran` returns the `first_run` if that is already being made. Answers with the last run, what
    became of its judged steps, and what is wrong with the run as a whole.

    Raises
    ------
    DivergedError
        The port's numbers are not finite, and nothing broke before; names step and tensor.
    """
    spans = windows(given.plan)
    stress = stress_batch(given.plan, given.data)
    run = ran() if ran else first_run(worker, given)
    explained = explain(given.recipe, run.steps, side=side, plain=given.plain)
    for _ in range(CLOSER):
        gap = _astray(run, explained, given) or _gap(run, explained)
        if gap is None:
            break
        clean, broken = gap
        more = between(clean, broken - 1, rounds=ROUNDS)
        last = given.plan.steps_per_epoch * given.plan.spec.training.epochs
        spans = merged(((span.start, span.stop) for span in [*spans, *more]), last=last)
        # At once, since the way to each would be computed anew.
        given.exact.states([step for span in spans for step in span])
        run = _run(worker, given, spans, stress)
        explained = explain(given.recipe, run.steps, side=side, plain=given.plain)
    _refuse_strange(run, explained)
    whole = _counts(run, given.plan, side)
    gap = None if whole or explained.breaks else _astray(run, explained, given)
    if gap is not None:
        cause = Cause(UNKNOWN, f"weights are elsewhere, though steps up to {gap[0]} are clean")
        epoch, _ = place(given.plan, gap[1])
        found = Place(epoch=epoch, step=gap[1], tensor="weights")
        whole = [Break(side=side, rung="trajectory", place=found, cause=cause)]
    return run, explained, whole


def _run(worker: Worker, given: Setting, spans: Sequence[range], stress: Stress) -> PortRun:
    """One training run of the port, recorded in the windows."""
    plan, data = given.plan, given.data
    asked = {step for span in spans for step in span}
    states = AskedStates(asked, lambda step: given.exact.states([step])[step])
    window_of = {step: number for number, span in enumerate(spans) for step in span}
    ran = PortRun()

    def on_step(recorded: PortStep) -> None:
        step = recorded.step
        if step is None:
            shared, images, labels = stress.state, stress.images, stress.labels
            ran.steps.append(
                JudgedStep(0, 0, len(spans), shared, images, labels, recorded.record, stress=True)
            )
            return
        images, labels = batch_of(plan, data, step)
        epoch, _ = place(plan, step)
        ran.steps.append(
            JudgedStep(epoch, step, window_of[step], states[step], images, labels, recorded.record)
        )
        if recorded.found is not None:
            ran.found[step] = recorded.found

    job = PortJob(
        plan=plan,
        data=data,
        shared=states,
        stress=(stress.state, stress.images, stress.labels),
        passed_by=given.passed_by,
    )
    worker.fit_port(job, on_step=on_step, on_epoch=ran.epochs.append)
    ran.steps, ran.strange = finite_part(ran.steps)
    return ran


def _refuse_strange(ran: PortRun, explained: Explanation) -> None:
    """Raise where numbers are not finite. A break before that explains more than NaN does."""
    if explained.breaks:
        return
    if ran.strange:
        raise DivergedError(ran.strange)
    for step, weights in sorted(ran.found.items()):
        for name, w in weights.items():
            if not np.isfinite(w).all():
                raise DivergedError(f"{name} is not finite before step {step}")


# --- Where to look more closely -------------------------------------------------------------------


def _gap(ran: PortRun, explained: Explanation) -> tuple[int, int] | None:
    """The last clean step before the first broken one, where they are not neighbours."""
    broken = min((item.step for item in explained.breaks if item.step), default=0)
    clean = max((s.step for s in ran.steps if not s.stress and s.step < broken), default=0)
    return (clean, broken) if broken and clean + 1 < broken else None


def _astray(ran: PortRun, explained: Explanation, given: Setting) -> tuple[int, int] | None:
    """The last judged step before the first window that begins elsewhere, and that beginning."""
    broken = min((item.step or 1 for item in explained.breaks), default=None)
    at = sorted(step for step in ran.found if step > 1 and (broken is None or step < broken))
    if not at or (given.plain is not None and not given.way):
        return None
    precision = given.plan.spec.training.precision
    exact, honest = given.exact.states(at), given.honest.states(at)
    for step in at:
        here, near = exact[step].weights, honest[step].weights
        if given.way:
            if step not in given.way:
                continue
            original = given.way[step]
            near = {n: original[n] + (near[n].astype(np.float64) - here[n]) for n in here}
            here = original
        doubles = {n: np.asarray(w, np.float64) for n, w in here.items()}
        away = drift.distance(ran.found[step], doubles, near, precision=precision)
        if ran.away is None or not away <= ran.away:
            ran.away = away
        if not away <= drift.LIMIT:
            judged = [s.step for s in ran.steps if not s.stress and s.step < step]
            return max(judged, default=0), step
    return None


def _counts(ran: PortRun, plan: Plan, side: Side) -> list[Break]:
    """Epochs that end before their last batch, or a run that ends before its last epoch."""
    per_epoch = plan.steps_per_epoch
    for epoch in ran.epochs:
        if epoch.batches < per_epoch:
            step = (epoch.epoch - 1) * per_epoch + epoch.batches + 1
            details = f"{epoch.batches} of {per_epoch} batches"
            cause = Cause("steps_missing", f"epoch {epoch.epoch} has {details}")
            cut = Place(epoch=epoch.epoch, step=step, tensor="ids")
            return [Break(side=side, rung="order", place=cut, cause=cause)]
    done, asked = len(ran.epochs), plan.spec.training.epochs
    # With early stopping, a run may end before its last epoch.
    if done < asked and (done == 0 or plan.spec.training.patience == 0):
        cause = Cause("epochs_missing", f"{done} of {asked} epochs")
        cut = Place(epoch=done + 1, step=done * per_epoch + 1, tensor="ids")
        return [Break(side=side, rung="order", place=cut, cause=cause)]
    return []
