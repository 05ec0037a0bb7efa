"""Write a run folder. It is marked `complete` last, so that a killed run never looks finished."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.contract import EpochRecord
from mnist_mlp.errors import BackendError, SetupError, UsageError
from mnist_mlp.plan import Plan
from mnist_mlp.reference import Array, Tensors
from mnist_mlp.run.files import json_bytes, sync, write_atomically
from mnist_mlp.run.folder import HISTORY_COLUMNS, HistoryRow
from mnist_mlp.run.record import SCHEMA_VERSION, RecordError, RunRecord, checked
from mnist_mlp.run.tensors import tensors_digest, tensors_to_bytes

OWN_FILES = (
    "history.csv",
    "initial_weights.safetensors",
    "weights.safetensors",
    "order.npz",
    "predictions.npz",
    "examples.npz",
    "trace.npz",
    "report.txt",
    "report.json",
    "report.html",
    "figures",
    "tensorboard",
    "export",
)
"""Files and folders of a run besides `run.json`; they are deleted when the run is replaced."""


class RunWriter:
    """Writes one run folder, from `begin` to `finish`.

    Parameters
    ----------
    path : Path
        The folder; `begin` makes it.
    record : dict
        The values of `run.json` that are known before training.

    Raises
    ------
    BackendError
        A value has the wrong type for `run.json`. Only a backend can be the cause.
    """

    def __init__(self, path: Path, record: Mapping[str, Any]) -> None:
        self.path = path
        self.record = self._checked(
            {
                "schema_version": SCHEMA_VERSION,
                "status": "running",
                "started": now(),
                **record,
            }
        )
        self.history: list[HistoryRow] = []

    def begin(self, files: Mapping[str, bytes]) -> None:
        """Make the folder and write the files that exist before training: `first_files`."""
        self.open_folder()
        for name, content in files.items():
            self.write(name, content)

    def open_folder(self) -> None:
        """Make the folder, and mark it `running`."""
        self._write_record()

    def weights(self, weights: Tensors) -> None:
        """Write the current weights as `weights.safetensors`."""
        self.write("weights.safetensors", tensors_to_bytes(weights))

    def epoch(self, record: EpochRecord) -> HistoryRow:
        """Add an epoch to `history.csv` and write its weights."""
        row = HistoryRow(
            epoch=record.epoch,
            loss=record.loss,
            accuracy=record.accuracy,
            val_loss=record.val_loss,
            val_accuracy=record.val_accuracy,
            seconds=record.seconds,
            weights_sha256=tensors_digest(record.weights),
        )
        self.history.append(row)
        self.write("history.csv", history_bytes(self.history))
        self.weights(record.weights)
        return row

    def outcome(self, *, predictions: Mapping[str, Array], examples: Mapping[str, Array]) -> None:
        """Write the files that the evaluation reads."""
        self.write("predictions.npz", npz_bytes(predictions))
        self.write("examples.npz", npz_bytes(examples))

    def finish(self, status: str, **more: Any) -> None:
        """Mark the run `complete`, `interrupted` or `failed`, and add the values in `more`."""
        self._change(status=status, finished=now(), **more)
        if status == "complete":
            # Before the record says so, all files must be on the disk.
            self._sync()
        self._write_record(durable=True)

    def add_flags(self, flags: Mapping[str, Any]) -> None:
        """Add flags that a backend reported during training."""
        self._change(flags=self.record.flags | dict(flags))

    def write(self, name: str, content: bytes) -> None:
        """Write one file of the folder."""
        write_atomically(self.path / name, content)

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
    # Filled in place: a list of int64 orders would take three times the memory.
    orders = np.empty((plan.spec.training.epochs, len(plan.train_ids)), np.uint32)
    for epoch in range(1, len(orders) + 1):
        orders[epoch - 1] = plan.order(epoch)
    return {
        "initial_weights.safetensors": tensors_to_bytes(plan.initial_weights),
        "order.npz": npz_bytes({"train_ids": plan.train_ids, "epochs": orders}),
    }


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


def history_bytes(rows: list[HistoryRow]) -> bytes:
    """The content of `history.csv`; numbers keep all their digits."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HISTORY_COLUMNS)
    table.writerows(astuple(row) for row in rows)
    return text.getvalue().encode()


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
