"""Same algorithm, different rounding: how that is shown.

In float64 the roundings are a billion times smaller, so two runs of one algorithm end with the same
weights to 1e-10, and a difference of algorithm stays what it is. And where float32 results differ,
the spread that one framework alone shows when its initial weights move by a last digit says which
differences mean nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from mnist_mlp.contract import TrainingData
from mnist_mlp.errors import SetupError, UsageError
from mnist_mlp.parity.compare.replay import fitted, worker_of
from mnist_mlp.parity.outcome import Chaos, Proof
from mnist_mlp.parity.steps.drift import largest_gap, one_ulp_away
from mnist_mlp.parity.steps.trajectory import run_reference
from mnist_mlp.plan import Plan, glorot_uniform
from mnist_mlp.reference import Array
from mnist_mlp.run.folder import Run
from mnist_mlp.worker.parent import Worker

ENSEMBLE = 3


def prove(
    runs: Sequence[Run], plan: Plan, data: TrainingData, *, trusted: Collection[str] = ()
) -> Proof:
    """Train both sides wholly in float64 and compare their final weights."""
    double = in_float64(plan)
    finals = []
    for run in runs:
        with ExitStack() as stack:
            try:
                worker = stack.enter_context(worker_of(run, trusted=trusted))
                capabilities, _ = worker.describe()
                if capabilities.refusals(double.spec):
                    return Proof(status="unavailable", reason=f"{run.label} has no float64")
                worker.open(double.spec)
            except (SetupError, UsageError) as error:
                reason = f"{run.label} cannot be run here: {error}"
                return Proof(status="unavailable", reason=reason)
            finals.append(fitted(worker, double, data)[-1].weights)
    end = double.steps_per_epoch * double.spec.training.epochs + 1
    base, nudged = (
        run_reference(p, data, before=[end]).states[end].weights
        for p in (double, one_ulp_away(double, draw=0))
    )
    bound = max(1e-10, 10 * largest_gap(base, nudged))
    gap = largest_gap(finals[0], finals[1])
    a, b = (largest_gap(final, base) for final in finals)
    return Proof(
        status="passed" if gap <= bound else "failed",
        max_abs_difference=gap,
        bound=bound,
        further="a" if a > b else "b",
    )


def in_float64(plan: Plan) -> Plan:
    """The same plan in float64, from the uncast initial weights."""
    training = plan.spec.training.model_copy(update={"precision": "float64"})
    spec = plan.spec.model_copy(update={"training": training})
    weights = glorot_uniform(spec.model, seed=spec.seed, dtype="float64")
    return replace(plan, spec=spec, initial_weights=weights)


def ensemble(run: Run, worker: Worker, plan: Plan, data: TrainingData, differing: Array) -> Chaos:
    """Train one side again from initial weights one ulp away, a few times."""
    logits = run.predictions["logits"]
    predicted = logits.argmax(axis=1)
    changed = np.zeros(len(predicted), bool)
    spread = []
    for draw in range(ENSEMBLE):
        weights = fitted(worker, one_ulp_away(plan, draw=draw), data)[-1].weights
        moved = worker.predict(weights, data.test_images).argmax(axis=1) != predicted
        spread.append(int(moved.sum()))
        changed |= moved
    best = np.sort(logits[differing], axis=1)
    return Chaos(
        backend=run.label,
        spread=tuple(spread),
        different=int(differing.sum()),
        explained=int((changed & differing).sum()),
        margin=float((best[:, -1] - best[:, -2]).max()),
    )
