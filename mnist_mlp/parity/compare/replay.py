"""One side's backend at work again: its steps from shared states, and its whole run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mnist_mlp.contract import EpochRecord, Progress, State, TrainingData
from mnist_mlp.errors import UsageError
from mnist_mlp.parity.findings import JudgedStep
from mnist_mlp.parity.steps.sampling import place
from mnist_mlp.parity.steps.stress import Stress
from mnist_mlp.parity.steps.trajectory import batch_of
from mnist_mlp.plan import Plan
from mnist_mlp.registry import target_in_folder
from mnist_mlp.run.folder import Run
from mnist_mlp.worker.parent import Worker


def open_side(run: Run, *, trusted: Collection[str] = (), verbose: bool = False) -> Worker:
    """The backend a run was made by, with its device, threads and path, opened.

    What the folder does not record is left at the worker's own defaults.

    Raises
    ------
    UsageError
        The folder names no backend, or one that is neither registered nor trusted.
    SetupError
        The backend cannot be run here.
    """
    worker = worker_of(run, trusted=trusted, verbose=verbose)
    try:
        worker.open(run.spec)
    except BaseException:
        worker.close()
        raise
    return worker


def worker_of(run: Run, *, trusted: Collection[str] = (), verbose: bool = False) -> Worker:
    """As `open_side`, but not opened."""
    record = run.record
    if not record.backend.target:
        raise UsageError(f"{run.path}/run.json records no backend.target (module:Class)")
    return Worker(
        target_in_folder(record.backend.target, folder=run.path, trusted=trusted),
        accelerator=record.accelerator or "auto",
        threads=record.threads or 1,
        fit_path=record.fit_path or "fast",
        verbose=verbose,
    )


def judged_steps(
    worker: Worker,
    plan: Plan,
    data: TrainingData,
    *,
    windows: Sequence[range],
    states: Mapping[int, State],
    stress: Stress | None,
) -> list[JudgedStep]:
    """One side's records of every step in the windows, each from the shared state."""
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
    """A whole training run of one side."""
    epochs: list[EpochRecord] = []
    worker.fit(plan, data, Progress(epoch=epochs.append))
    return epochs
