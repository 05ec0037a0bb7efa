"""Read a run folder: the results of a training run, in open formats.

`docs/run-folder.md` describes the format for other programs that write it. Reading needs no
framework.
"""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from mnist_mlp.errors import RunFolderError
from mnist_mlp.readers.arrays import read_npz, read_safetensors
from mnist_mlp.readers.regular import MEMBER, parsed
from mnist_mlp.readers.texts import read_json, read_text
from mnist_mlp.reference import Array
from mnist_mlp.run.checks import (
    check_examples,
    check_history,
    check_order,
    check_predictions,
    check_spec,
    check_weights,
)
from mnist_mlp.run.record import DatasetRecord, Metrics, parse_record
from mnist_mlp.spec import Spec, SpecError, parse_spec


@dataclass(frozen=True)
class HistoryRow:
    """One line of `history.csv`; `weights_sha256` is the `tensors_digest` after the epoch."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    weights_sha256: str


HISTORY_COLUMNS = tuple(field.name for field in fields(HistoryRow))


class Run:
    """A finished run folder. Each file is read and checked when it is first used.

    Parameters
    ----------
    path : Path
        The folder.
    complete : bool
        Refuse a run that is not marked `complete`.

    Attributes
    ----------
    record : RunRecord
        The content of `run.json`.

    Raises
    ------
    RunFolderError
        `run.json` is missing, has another schema or a wrong key, or the run is unfinished. Reading
        an attribute later raises it for a damaged file, and for one that does not fit the record
        (`mnist_mlp.run.checks`).
    DivergedError
        Reading an attribute later: the file holds NaN or infinity.
    """

    def __init__(self, path: Path, *, complete: bool = True) -> None:
        self.path = path
        try:
            found = path.is_dir()
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from None
        if not found:
            raise RunFolderError(f"{path}: no such run folder")
        self.record = parse_record(_record_in(path), folder=path, complete=complete)

    @property
    def label(self) -> str:
        """Short name for tables: the name of the backend."""
        return self.record.backend.name

    @cached_property
    def spec(self) -> Spec:
        """The specification that was trained."""
        file = self.path / "run.json"
        try:
            spec = parse_spec(self.record.spec)
        except SpecError as error:
            raise RunFolderError(f"{file}: spec: {error}") from None
        check_spec(spec, self.dataset, file=file)
        return spec

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
        """Loss and accuracy on the test rows; `RunFolderError` if the run is unfinished."""
        if self.record.metrics is None:
            raise RunFolderError(f"{self.path}/run.json: metrics is missing")
        return self.record.metrics

    @cached_property
    def history(self) -> list[HistoryRow]:
        """One row per epoch, from epoch 1; empty for imported weights."""
        path = self.path / "history.csv"
        if not os.path.lexists(path):
            return []
        text = read_text(path, MEMBER)
        rows = parsed(path, MEMBER, "a readable history", lambda: _history_rows(text))
        check_history(rows, file=path)
        return rows

    @cached_property
    def initial_weights(self) -> dict[str, Array]:
        """Weights before training, by canonical name."""
        return self._weights("initial_weights.safetensors")

    @cached_property
    def weights(self) -> dict[str, Array]:
        """Weights after training, by canonical name."""
        return self._weights("weights.safetensors")

    def _weights(self, name: str) -> dict[str, Array]:
        path = self.path / name
        weights = read_safetensors(path, MEMBER)
        check_weights(weights, self.spec.model, file=path)
        return weights

    @cached_property
    def predictions(self) -> dict[str, Array]:
        """`y_true` (n,), `logits` (n, classes), `ids` (n,) of the test rows."""
        path = self.path / "predictions.npz"
        arrays = read_npz(path, MEMBER, names=("y_true", "logits", "ids"))
        check_predictions(arrays, self.dataset, file=path)
        return arrays

    @cached_property
    def examples(self) -> dict[str, Array]:
        """`ids` (k,) and uint8 `images` (k, height, width) of the wrongly classified test rows."""
        path = self.path / "examples.npz"
        arrays = read_npz(path, MEMBER, names=("ids", "images"))
        check_examples(arrays, self.dataset, file=path)
        return arrays

    @cached_property
    def order(self) -> dict[str, Array]:
        """`train_ids` (n_train,) and `epochs` (epochs, n_train): positions in training order."""
        path = self.path / "order.npz"
        arrays = read_npz(path, MEMBER, names=("train_ids", "epochs"))
        check_order(arrays, file=path)
        return arrays

    @cached_property
    def report_text(self) -> str:
        """The classification report."""
        return read_text(self.path / "report.txt", MEMBER)

    def arrays(self, name: str) -> dict[str, Array]:
        """All arrays of one of the folder's npz files."""
        return read_npz(self.path / name, MEMBER)


def _record_in(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not os.path.lexists(path):
        raise RunFolderError(f"{path}: missing, so {folder} is not a run folder")
    value = read_json(path, MEMBER)
    if not isinstance(value, dict):
        raise RunFolderError(f"{path}: expected a JSON object")
    return value


def _history_rows(text: str) -> list[HistoryRow]:
    header, *lines = csv.reader(io.StringIO(text, newline=""))
    missing = [column for column in HISTORY_COLUMNS if column not in header]
    if missing:
        raise ValueError(f"column {missing[0]} is missing")
    return [_history_row(header, line) for line in lines if line]


def _history_row(header: list[str], line: list[str]) -> HistoryRow:
    """Read one line, whose columns may be in any order; `ValueError` if it is damaged."""
    if len(line) != len(header):
        raise ValueError(f"a line of {len(line)} columns below {len(header)} headings")
    row = dict(zip(header, line, strict=True))
    digest = row["weights_sha256"]
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is not a SHA-256")
    return HistoryRow(
        epoch=int(row["epoch"]),
        **{key: float(row[key]) for key in HISTORY_COLUMNS[1:6]},
        weights_sha256=digest,
    )


def is_run_argument(argument: str) -> bool:
    """Whether a command-line argument means a run folder, not the name of a backend.

    It does if it has a path separator or names a folder with a `run.json`.
    """
    if "/" in argument or "\\" in argument:
        return True
    try:
        return (Path(argument) / "run.json").is_file()
    except OSError:  # for instance, the argument is too long for a file name
        return False
