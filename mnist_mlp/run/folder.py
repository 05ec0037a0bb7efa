"""Reading a run folder: what a training run left behind, in open formats.

`docs/run-folder.md` describes the format for other writers. Nothing here needs a framework.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
import zlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.errors import RunFolderError
from mnist_mlp.reference import Array
from mnist_mlp.run.record import DatasetRecord, Metrics, parse_record
from mnist_mlp.run.tensors import read_tensors
from mnist_mlp.spec import Spec, SpecError, parse_spec


@dataclass(frozen=True)
class HistoryRow:
    """One line of `history.csv`; `weights_sha256` is `tensors_digest` after the epoch."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    weights_sha256: str


HISTORY_COLUMNS = tuple(field.name for field in fields(HistoryRow))


class Run:
    """A finished run folder. Files are read when they are asked for, and checked then.

    Parameters
    ----------
    path : Path
        The folder.
    complete : bool
        Refuse a run that is not marked complete.

    Attributes
    ----------
    record : RunRecord
        The content of `run.json`.

    Raises
    ------
    RunFolderError
        No `run.json`, another schema, a wrong key, an unfinished run, or (later) a damaged file.
    """

    def __init__(self, path: Path, *, complete: bool = True) -> None:
        self.path = path
        try:
            found = path.is_dir()
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be looked at: {error.strerror}") from None
        if not found:
            raise RunFolderError(f"{path}: no such run folder")
        self.record = parse_record(self._json("run.json"), folder=path, complete=complete)

    @property
    def label(self) -> str:
        """Short name for tables: the backend's."""
        return self.record.backend.name

    @cached_property
    def spec(self) -> Spec:
        """The specification the run was made from."""
        try:
            return parse_spec(self.record.spec)
        except SpecError as error:
            raise RunFolderError(f"{self.path}/run.json: spec: {error}") from None

    @property
    def dataset(self) -> DatasetRecord:
        """The data set's name, digest, shape and counts."""
        return self.record.dataset

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        return self.dataset.image_shape

    @property
    def metrics(self) -> Metrics:
        """Loss and accuracy on the test rows; only a finished run has them."""
        if self.record.metrics is None:
            raise RunFolderError(f"{self.path}/run.json: metrics is missing")
        return self.record.metrics

    @cached_property
    def history(self) -> list[HistoryRow]:
        """One row an epoch, from epoch 1; empty for imported weights."""
        path = self.path / "history.csv"
        if not path.exists():
            return []
        try:
            with path.open(newline="", encoding="utf-8") as file:
                header, *lines = csv.reader(file)
            rows = [_history_row(header, line) for line in lines if line]
        except (OSError, ValueError, csv.Error) as error:
            raise RunFolderError(f"{path}: not a readable history: {error}") from None
        if [row.epoch for row in rows] != list(range(1, len(rows) + 1)):
            raise RunFolderError(f"{path}: epochs must be numbered 1, 2, 3, ...")
        return rows

    @cached_property
    def initial_weights(self) -> dict[str, Array]:
        """Weights before training, by canonical name."""
        return read_tensors(self.path / "initial_weights.safetensors")

    @cached_property
    def weights(self) -> dict[str, Array]:
        """Weights after training, by canonical name."""
        return read_tensors(self.path / "weights.safetensors")

    @cached_property
    def predictions(self) -> dict[str, Array]:
        """`y_true` (n,), `logits` (n, classes), `ids` (n,) of the test rows."""
        arrays = self._npz("predictions.npz", ("y_true", "logits", "ids"))
        logits = arrays["logits"]
        if logits.ndim != 2 or not len(logits) == len(arrays["y_true"]) == len(arrays["ids"]):
            raise RunFolderError(
                f"{self.path}/predictions.npz: y_true, ids and the rows of logits must be equally "
                f"many, not {arrays['y_true'].shape}, {arrays['ids'].shape}, {logits.shape}"
            )
        return arrays

    @cached_property
    def examples(self) -> dict[str, Array]:
        """`ids` (k,) and uint8 `images` (k, height, width) of the wrongly classified test rows."""
        return self._npz("examples.npz", ("ids", "images"))

    @cached_property
    def order(self) -> dict[str, Array]:
        """`train_ids` (n_train,) and `epochs` (epochs, n_train): positions in visiting order."""
        return self._npz("order.npz", ("train_ids", "epochs"))

    @cached_property
    def report_text(self) -> str:
        """The classification report."""
        try:
            return (self.path / "report.txt").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{self.path}/report.txt: cannot be read: {error}") from None

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunFolderError(f"{path}: missing, so this is no run folder") from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise RunFolderError(f"{path}: not readable JSON: {error}") from None
        if not isinstance(value, dict):
            raise RunFolderError(f"{path}: expected a JSON object")
        return value

    def arrays(self, name: str) -> dict[str, Array]:
        """Every array of an npz file of the folder."""
        return self._npz(name, None)

    def _npz(self, name: str, keys: tuple[str, ...] | None) -> dict[str, Array]:
        path = self.path / name
        try:
            content = io.BytesIO(path.read_bytes())
            with zipfile.ZipFile(content) as archive:
                if keys is None:
                    keys = tuple(entry.removesuffix(".npy") for entry in archive.namelist())
                return {key: _npy(archive.read(f"{key}.npy")) for key in keys}
        except FileNotFoundError:
            raise RunFolderError(f"{path}: missing") from None
        except _DAMAGE as error:
            raise RunFolderError(f"{path}: not a readable npz file: {error}") from None


# What zipfile, zlib and NumPy raise for files that are not what they seem.
_DAMAGE = (
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def _npy(content: bytes) -> Array:
    array: Array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array


def _history_row(header: list[str], line: list[str]) -> HistoryRow:
    """One line, its columns in any order; `ValueError` where it is not one."""
    if len(line) != len(header):
        raise ValueError(f"a line of {len(line)} columns below {len(header)} headings")
    row = dict(zip(header, line, strict=True))
    missing = [column for column in HISTORY_COLUMNS if column not in row]
    if missing:
        raise ValueError(f"column {missing[0]} is missing")
    digest = row["weights_sha256"]
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is not a SHA-256")
    return HistoryRow(
        epoch=int(row["epoch"]),
        **{key: float(row[key]) for key in HISTORY_COLUMNS[1:6]},
        weights_sha256=digest,
    )


def is_run_argument(argument: str) -> bool:
    """Whether a command-line word means a run folder rather than a backend's name.

    It does when it holds a `run.json` or has a path separator in it.
    """
    if "/" in argument or "\\" in argument:
        return True
    try:
        return (Path(argument) / "run.json").is_file()
    except OSError:  # for instance a word too long for a file's name
        return False
