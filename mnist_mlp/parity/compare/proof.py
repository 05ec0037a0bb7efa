"""Show that two runs use the same algorithm and differ only by rounding.

In float64 the roundings are a billion times smaller. So two runs of the same algorithm end with
weights that agree to 1e-10, while a difference of the algorithm keeps its size. If float32 results
differ, one framework is also trained from initial weights one ulp away. The predictions that change
there depend on the last digit alone, so a difference in them means nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from mnist_mlp.contract import TrainingData
from mnist_mlp.errors import SetupError, UsageError
from mnist_mlp.parity.compare.replay import fitted
from mnist_mlp.parity.outcome import Chaos, Proof
from mnist_mlp.parity.steps import drift
from mnist_mlp.parity.steps.drift import largest_gap, one_ulp_away
from mnist_mlp.parity.steps.trajectory import ReferenceRun
from mnist_mlp.plan import Plan, glorot_uniform
from mnist_mlp.reference import Array, Tensors, is_kernel
from mnist_mlp.run.folder import Run
from mnist_mlp.worker.of_run import worker_of
from mnist_mlp.worker.parent import Worker

ENSEMBLE = 3
"""Training runs of the ensemble: few, since each takes as long as a run; three show the spread."""


APART = 20.0
"""Distance of two runs' final kernels, in roundings, that equal predictions do not excuse.

Keras and Lightning are 1 apart after ten epochs of the tutorial, and ReLU at a high rate makes 4 in
sixty steps. A ten-thousandth of the learning rate in ten steps makes 23."""


def are_apart(a: Tensors, b: Tensors) -> bool:
    """Whether final weights differ by more than a few roundings (RMS, of any kernel)."""
    return any(
        drift.rms(w.astype(np.float64) - b[name])
        > APART * float(np.finfo(w.dtype).eps) * drift.rms(w)
        for name, w in a.items()
        if is_kernel(name)
    )


def prove(
    runs: Sequence[Run],
    plan: Plan,
    data: TrainingData,
    *,
    trusted: Collection[str] = (),
    timeout: float | None = None,
) -> Proof:
    """Train both sides entirely in float64 and compare their final weights."""
    double = in_float64(plan)
    finals = []
    for run in runs:
        with ExitStack() as stack:
            try:
                worker = stack.enter_context(worker_of(run, trusted=trusted, timeout=timeout))
                capabilities, _ = worker.describe()
                if capabilities.refusals(double.spec):
                    return Proof(
                        status="unavailable", reason=f"{run.label} does not support float64"
                    )
                worker.open(double.spec)
            except (SetupError, UsageError) as error:
                reason = f"{run.label} cannot be run here: {error}"
                return Proof(status="unavailable", reason=reason)
            finals.append(fitted(worker, double, data)[-1].weights)
    end = double.steps_per_epoch * double.spec.training.epochs + 1
    base, nudged = (
        ReferenceRun(p, data).states([end])[end].weights
        for p in (double, one_ulp_away(double, draw=0))
    )
    # 1e-10 is far above the rounding of float64 in a calm network. In a network that amplifies
    # roundings, the effect of one ulp in the initial weights shows how far correct runs move apart.
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
    """The same plan in float64, from initial weights that were not rounded to float32."""
    training = plan.spec.training.model_copy(update={"precision": "float64"})
    spec = plan.spec.model_copy(update={"training": training})
    weights = glorot_uniform(spec.model, seed=spec.seed, dtype="float64")
    return replace(plan, spec=spec, initial_weights=weights)


def ensemble(run: Run, worker: Worker, plan: Plan, data: TrainingData, differing: Array) -> Chaos:
    """Train one side `ENSEMBLE` times from initial weights one ulp away.

    `differing` bool (n,) marks the test rows that the two sides predict differently.
    """
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
