"""Write a run folder. It is marked `complete` last, so that a killed run never looks finished."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.contract import EpochRecord
from mnist_mlp.errors import BackendError, SetupError, UsageError
from mnist_mlp.plan import Plan
from mnist_mlp.reference import Array, Tensors
from mnist_mlp.run.checkpoint import CHECKPOINT_FILE, Checkpoint, write_checkpoint
from mnist_mlp.run.files import json_bytes, sync, write_atomically
from mnist_mlp.run.folder import BEST_FILE
from mnist_mlp.run.history import HistoryRow
from mnist_mlp.run.record import SCHEMA_VERSION, RecordError, RunRecord, checked
from mnist_mlp.run.results import Results
from mnist_mlp.run.tensors import tensors_to_bytes

ORDER_FILE = "order.npz"

OUTCOME_FILES = (
    "weights.safetensors",
    BEST_FILE,
    "best",
    "predictions.npz",
    "examples.npz",
    "trace.npz",
    "report.txt",
    "report.json",
    "report.html",
    "figures",
    "export",
)
"""Files and folders of a run that are made when its training has ended."""

OWN_FILES = (
    "history.csv",
    CHECKPOINT_FILE,
    "initial_weights.safetensors",
    ORDER_FILE,
    "tensorboard",
    *OUTCOME_FILES,
)
"""Files and folders of a run besides `run.json`; they are deleted when the run is replaced."""


class RunWriter:
    """Writes one run folder, from `begin` to `finish`.

    While a run trains, its weights are in the checkpoint alone. So there is never a folder whose
    weights belong to another epoch than its history.

    Parameters
    ----------
    path : Path
        The folder; `begin` makes it.
    record : dict
        The values of `run.json` that are known before training.
    state : Checkpoint, optional
        What training starts from; not needed for a run that does not train.
    every : int
        Number of epochs between two checkpoints.

    Raises
    ------
    BackendError
        A value has the wrong type for `run.json`. Only a backend can be the cause.
    """

    def __init__(
        self,
        path: Path,
        record: Mapping[str, Any],
        *,
        state: Checkpoint | None = None,
        every: int = 1,
    ) -> None:
        self.path = path
        self.record = self._checked(
            {
                "schema_version": SCHEMA_VERSION,
                "status": "running",
                "started": now(),
                **record,
            }
        )
        self.state = state or Checkpoint(start_sha256="")
        self.every = every
        self._saved = self.state.epoch

    @property
    def saved(self) -> int:
        """The last epoch whose checkpoint is written; 0 if none is."""
        return self._saved

    @property
    def history(self) -> Sequence[HistoryRow]:
        """One row per whole epoch."""
        return self.state.history

    def begin(self, files: Mapping[str, bytes]) -> None:
        """Make the folder and write the files that exist before training: `first_files`."""
        self.open_folder()
        for name, content in files.items():
            self.write(name, content)

    def open_folder(self) -> None:
        """Make the folder, and mark it `running`."""
        self._write_record()

    def resume(self, files: Mapping[str, bytes]) -> None:
        """Mark an existing folder `running` again, and go on after its last saved epoch.

        Everything that was made of the weights so far is removed: it would not belong to the later
        ones. Nothing is lost by that, since weights and history are in the checkpoint.
        """
        if self.state.epoch:  # a new folder, which will replace a run that is extended, has none
            write_checkpoint(self.path, self.state)
        self.begin(files)
        try:
            remove_own(self.path, OUTCOME_FILES)
        except OSError as error:
            raise SetupError(f"cannot remove {error.filename}: {error.strerror}") from None
        self.write("history.csv", self.state.history_text)

    def weights(self, weights: Tensors) -> None:
        """Write the final weights as `weights.safetensors`."""
        self.write("weights.safetensors", tensors_to_bytes(weights))

    def epoch(self, record: EpochRecord) -> HistoryRow:
        """Add an epoch to the history, and save its checkpoint if it is due."""
        self.state = self.state.after(record)
        if self.state.epoch % self.every == 0:
            self._save()
        self.write("history.csv", self.state.history_text)
        return self.history[-1]

    def settle(self) -> None:
        """Save the last whole epoch; write its weights and the best ones as files of their own."""
        if self.history:
            self._save()
            self.write("history.csv", self.state.history_text)
            self.weights(self.state.weights)
            self.write(BEST_FILE, tensors_to_bytes(self.state.best))

    def outcome(self, results: Results) -> None:
        """Write the files that the evaluation reads."""
        self.write("predictions.npz", npz_bytes(results.predictions))
        self.write("examples.npz", npz_bytes(results.examples))

    def finish(self, status: str, **more: Any) -> None:
        """Mark the run `complete`, `interrupted` or `failed`, and add the values in `more`."""
        self._change(status=status, finished=now(), **more)
        if status == "complete":
            # Before the record says so, all files must be on the disk.
            self._sync()
        self._write_record(durable=True)

    def stop(self, status: str, *, error: str) -> None:
        """Keep what can be kept of a run that ended early, and mark it."""
        # A full disk may be the reason for the end. The error that ended the run is the one to
        # show, not that this cannot be written either.
        with suppress(SetupError):
            self.settle()
        with suppress(SetupError):
            self.finish(status, error=error)

    def add_flags(self, flags: Mapping[str, Any]) -> None:
        """Add flags that a backend reported during training."""
        self._change(flags=self.record.flags | dict(flags))

    def write(self, name: str, content: bytes) -> None:
        """Write one file of the folder."""
        write_atomically(self.path / name, content)

    def _save(self) -> None:
        if self._saved != self.state.epoch:
            write_checkpoint(self.path, self.state)
            self._saved = self.state.epoch

    def _write_record(self, *, durable: bool = False) -> None:
        content = json_bytes(self.record.document())
        write_atomically(self.path / "run.json", content, durable=durable)

    def _sync(self) -> None:
        try:
            sync(self.path, content=True)
        except OSError as error:
            raise SetupError(
                f"{self.path} cannot be written to the disk: {error.strerror}"
            ) from None

    def _change(self, **values: Any) -> None:
        self.record = self._checked({**self.record.document(), **values})

    def _checked(self, document: Mapping[str, Any]) -> RunRecord:
        try:
            return checked(document)
        except RecordError as error:
            raise BackendError(f"{self.path}/run.json cannot be written: {error}") from None


def first_files(plan: Plan) -> dict[str, bytes]:
    """Files by name that depend only on the plan: initial weights and order."""
    return {
        "initial_weights.safetensors": tensors_to_bytes(plan.initial_weights),
        ORDER_FILE: order_bytes(plan),
    }


def order_bytes(plan: Plan) -> bytes:
    """The content of `order.npz`: the order of every epoch of the plan."""
    # Filled in place: a list of int64 orders would take three times the memory.
    orders = np.empty((plan.spec.training.epochs, len(plan.train_ids)), np.uint32)
    for epoch in range(1, len(orders) + 1):
        orders[epoch - 1] = plan.order(epoch)
    return npz_bytes({"train_ids": plan.train_ids, "epochs": orders})


def remove_own(folder: Path, names: Collection[str]) -> None:
    """Delete files and folders of a run; links are deleted, not followed."""
    from shutil import rmtree

    for path in sorted(folder.iterdir()):
        if path.name not in names:
            continue
        if path.is_dir() and not path.is_symlink():
            rmtree(path)
        else:
            path.unlink()


def copy_logs(run: Path, into: Path) -> None:
    """Copy the logs of a run into the folder of its continuation (`SetupError`)."""
    from shutil import Error, copytree

    logs = run / "tensorboard"
    if logs.is_dir() and not logs.is_symlink():
        try:
            copytree(logs, into / logs.name, symlinks=True)
        except (OSError, Error) as error:
            raise SetupError(f"cannot copy {logs}: {error}") from None


def check_free(path: Path, *, overwrite: bool) -> None:
    """Refuse to overwrite a run, or to write into a folder with other files (`UsageError`).

    Raises `SetupError` if the path cannot be read.
    """
    try:
        _refuse_taken(path, overwrite=overwrite)
    except OSError as error:
        raise SetupError(f"--out {path}: {error.strerror}; choose another folder") from None


def _refuse_taken(path: Path, *, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise UsageError(f"--out {path}: is a file; name a folder")
    if (path / "run.json").exists():
        if not overwrite:
            raise UsageError(
                f"--out {path}: already holds a run; add --overwrite or choose another folder"
            )
    elif any(path.iterdir()):
        raise UsageError(f"--out {path}: is not empty and holds no run; choose another folder")


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """A compressed npz file that is the same for the same arrays (np.savez adds the time)."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return content.getvalue()


def now() -> str:
    """The current UTC time to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
