"""Finished run folders of the small problem, made and looked at without starting a process.

The backends here are plain NumPy, so that a whole comparison takes a fraction of a second in this
process. That they do the same in processes of their own is tested once, in `test_in_processes.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from small_problems import made_up, spec_of

from mnist_mlp.contract import Capabilities, Environment, Progress, Runtime, State, StepRecord
from mnist_mlp.errors import UsageError
from mnist_mlp.parity.compare.runs import compare_runs
from mnist_mlp.parity.compare.trace import trace_files
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.registry import label_of, target_of
from mnist_mlp.run.folder import Run
from mnist_mlp.run.history import HistoryRow, history_bytes
from mnist_mlp.run.tensors import tensors_to_bytes
from mnist_mlp.run.writer import npz_bytes
from mnist_mlp.spec import Spec
from mnist_mlp.training import train
from mnist_mlp.worker.child import load
from mnist_mlp.worker.parent import NO_PROGRESS, Opened

SPEC = spec_of("sigmoid", learning_rate=0.3)
"""Three epochs of nine batches of 32 and one of 21; no step is a round number of tens."""


class InProcess:
    """Answers as `mnist_mlp.worker.parent.Worker` does."""

    def __init__(self, backend: str, *, threads: int = 1, **options: Any) -> None:
        assert set(options) <= {"accelerator", "devices", "fit_path", "timeout", "verbose"}
        self.accelerator = "cpu"
        self.backend, self.label, self.threads = backend, label_of(backend), threads
        self.inner: Any = load(target_of(backend))
        self.opened: Opened | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to end."""

    def describe(self) -> tuple[Capabilities, Environment]:
        """What it can do."""
        return self.inner.capabilities, self.inner.environment()

    def open(self, spec: Spec) -> Opened:
        """Refuses what the backend does not support."""
        refused = self.inner.capabilities.refusals(spec)
        if refused:
            raise UsageError(f"backend {self.backend!r} does not support: {', '.join(refused)}")
        runtime = Runtime(accelerator="cpu", threads=self.threads)
        flags = dict(self.inner.open(spec, runtime))
        self.opened = Opened(runtime, "cpu", self.inner.environment(), flags, 0.0)
        return self.opened

    def start_importing(self) -> None:
        """Nothing to do ahead."""

    def start_opening(self, spec: Spec) -> None:
        """Nothing to do ahead."""

    def fit(
        self,
        plan: Any,
        data: Any,
        progress: Progress = NO_PROGRESS,
        *,
        start: State | None = None,
        val_losses: Sequence[float] = (),
    ) -> Mapping[str, Any]:
        """Train; whether to stop is answered by `progress`."""
        del val_losses
        options = {} if start is None else {"start": start}
        return self.inner.fit(plan, data, progress, **options) or {}

    def step(self, state: State, images: Any, labels: Any) -> StepRecord:
        """One step."""
        record: StepRecord = self.inner.step(state, images, labels)
        return record

    def predict(self, weights: Mapping[str, Any], images: Any) -> NDArray[Any]:
        """Logits."""
        logits: NDArray[Any] = self.inner.predict(dict(weights), images)
        return logits


def trained(backend: str, folder: Path, spec: Spec = SPEC, *, trace: bool = False) -> Run:
    """A finished run, trained once for each folder; not to be changed."""
    path = folder / f"{label_of(backend)}-{spec.digest[:12]}{'-trace' if trace else ''}"
    if path.exists():
        return Run(path)
    return train(
        spec, backend=backend, dataset=made_up(), out=path, keep=trace_files if trace else None
    )


def compared(a: Run, b: Run, **options: Any) -> Outcome:
    """The two put on the ladder, folders read anew."""
    trusted = [run.record.backend.target for run in (a, b)]
    options = {"dataset": made_up(), "trusted": trusted} | options
    return compare_runs(Run(a.path), Run(b.path), **options)


def copied(run: Run, folder: Path) -> Path:
    """A copy that may be altered."""
    shutil.copytree(run.path, folder)
    return folder


# --- Altering a folder ----------------------------------------------------------------------------


def rewrite_tensors(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change tensors of a safetensors file."""
    run = Run(folder)
    tensors = run.weights if name.startswith("weights") else run.initial_weights
    tensors = {key: tensor.copy() for key, tensor in tensors.items()}
    change(tensors)
    (folder / name).write_bytes(tensors_to_bytes(tensors))


def rewrite_arrays(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change arrays of an npz file."""
    with np.load(folder / name) as stored:
        arrays = {key: stored[key].copy() for key in stored.files}
    change(arrays)
    (folder / name).write_bytes(npz_bytes(arrays))


def rewrite_history(
    folder: Path, change: Callable[[HistoryRow], HistoryRow], *, epoch: int
) -> None:
    """Change one line of the history."""
    rows = [change(row) if row.epoch == epoch else row for row in Run(folder).history]
    (folder / "history.csv").write_bytes(history_bytes(rows))
