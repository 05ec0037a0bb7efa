"""Run the backend of one side again: single steps from shared states, and the whole training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mnist_mlp.contract import EpochRecord, Progress, State, TrainingData
from mnist_mlp.parity.findings import JudgedStep
from mnist_mlp.parity.steps.sampling import place
from mnist_mlp.parity.steps.stress import Stress
from mnist_mlp.parity.steps.trajectory import batch_of
from mnist_mlp.plan import Plan
from mnist_mlp.run.folder import Run
from mnist_mlp.spec import Spec
from mnist_mlp.worker.of_run import worker_of
from mnist_mlp.worker.parent import Worker


def open_side(
    run: Run,
    spec: Spec,
    *,
    trusted: Collection[str] = (),
    verbose: bool = False,
    timeout: float | None = None,
) -> Worker:
    """Start and open the backend that made a run, with the same device, threads and path.

    `spec` is that of the run, with the number of epochs that are to be trained. If the folder does
    not record a setting, the worker's default is used.

    Raises
    ------
    UsageError
        The folder names no backend, or one that is neither registered nor trusted.
    SetupError
        The backend cannot run on this machine.
    """
    worker = worker_of(run, trusted=trusted, verbose=verbose, timeout=timeout)
    try:
        worker.open(spec)
    except BaseException:
        worker.close()
        raise
    return worker


def judged_steps(
    worker: Worker,
    plan: Plan,
    data: TrainingData,
    *,
    windows: Sequence[range],
    states: Mapping[int, State],
    stress: Stress | None,
) -> list[JudgedStep]:
    """The records of one side for every step in the windows, each started from the shared state."""
    steps = []
    for number, window in enumerate(windows):
        for step in window:
            images, labels = batch_of(plan, data, step)
            epoch, _ = place(plan, step)
            record = worker.step(states[step], images, labels)
            steps.append(JudgedStep(epoch, step, number, states[step], images, labels, record))
    if stress is not None:
        record = worker.step(stress.state, stress.images, stress.labels)
        steps.append(
            JudgedStep(
                0, 0, len(windows), stress.state, stress.images, stress.labels, record, stress=True
            )
        )
    return steps


def fitted(worker: Worker, plan: Plan, data: TrainingData) -> list[EpochRecord]:
    """Train one side by the whole plan; returns the record of each epoch."""
    epochs: list[EpochRecord] = []
    worker.fit(plan, data, Progress(epoch=epochs.append))
    return epochs
