"""Start the backend that made a run folder."""

from __future__ import annotations

from collections.abc import Collection

from mnist_mlp.contract import Devices
from mnist_mlp.errors import UsageError
from mnist_mlp.registry import target_in_folder
from mnist_mlp.run.folder import Run
from mnist_mlp.worker.parent import Worker


def worker_of(
    run: Run,
    *,
    trusted: Collection[str] = (),
    verbose: bool = False,
    timeout: float | None = None,
) -> Worker:
    """Start the backend that made a run, with the same devices, threads and path; not opened yet.

    If the folder does not record a setting, the worker's default is used. The devices of several
    machines are all looked for on this one.

    Raises
    ------
    UsageError
        The folder names no backend, or one that is neither registered nor trusted.
    """
    record = run.record
    if not record.backend.target:
        raise UsageError(f"{run.path}/run.json: backend.target is missing, expected module:Class")
    return Worker(
        target_in_folder(record.backend.target, folder=run.path, trusted=trusted),
        accelerator=record.accelerator or "auto",
        threads=record.threads or 1,
        fit_path=record.fit_path or "fast",
        devices=Devices(record.devices * record.num_nodes, strategy=record.strategy),
        verbose=verbose,
        timeout=timeout,
    )
