"""Read a run folder: the results of a training run, in open formats.

`docs/run-folder.md` describes the format for other programs that write it. Reading needs no
framework.
"""

from __future__ import annotations

import os
from functools import cached_property
from glob import escape
from pathlib import Path
from typing import Any

from mnist_mlp.errors import RunFolderError
from mnist_mlp.readers.arrays import read_npz, read_safetensors
from mnist_mlp.readers.regular import MEMBER, parsed
from mnist_mlp.readers.texts import read_json, read_text
from mnist_mlp.reference import Array
from mnist_mlp.run.checkpoint import CHECKPOINT_FILE, Checkpoint, read_checkpoint
from mnist_mlp.run.checks import (
    check_checkpoint,
    check_examples,
    check_history,
    check_order,
    check_predictions,
    check_spec,
    check_weights,
)
from mnist_mlp.run.history import HistoryRow, history_rows
from mnist_mlp.run.record import DatasetRecord, Metrics, parse_record
from mnist_mlp.spec import Spec, SpecError, parse_spec
from mnist_mlp.stopping import best_epoch

BEST_FILE = "best_weights.safetensors"


class Run:
    """A finished run folder. Each file is read and checked when it is first used.

    Parameters
    ----------
    path : Path
        The folder.
    complete : bool
        Refuse a run that is not marked `complete`. Otherwise, history and weights of an unfinished
        run are those of its last whole epoch.

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
            raise RunFolderError(f"{path}: no such run folder{_unplaced(path)}")
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

    @property
    def is_complete(self) -> bool:
        """Whether the run is marked `complete`."""
        return self.record.status == "complete"

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """The state after the last whole epoch that was saved; None if there is none."""
        path = self.path / CHECKPOINT_FILE
        if not os.path.lexists(path):
            return None
        found = read_checkpoint(self.path)
        check_checkpoint(found, self.spec, file=path)
        return found

    @cached_property
    def history(self) -> list[HistoryRow]:
        """One row per epoch, from epoch 1; empty for imported weights."""
        if not self.is_complete and self.checkpoint:
            return list(self.checkpoint.history)
        path = self.path / "history.csv"
        if not os.path.lexists(path):
            return []
        text = read_text(path, MEMBER)
        rows = parsed(path, MEMBER, "a readable history", lambda: history_rows(text))
        check_history(rows, file=path)
        return rows

    @cached_property
    def initial_weights(self) -> dict[str, Array]:
        """Weights before training, by canonical name."""
        return self._weights("initial_weights.safetensors")

    @cached_property
    def weights(self) -> dict[str, Array]:
        """Weights after training, by canonical name."""
        if not self.is_complete and self.checkpoint:
            return dict(self.checkpoint.weights)
        return self._weights("weights.safetensors")

    def _weights(self, name: str) -> dict[str, Array]:
        path = self.path / name
        weights = read_safetensors(path, MEMBER)
        check_weights(weights, self.spec.model, file=path)
        return weights

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss (`mnist_mlp.stopping`); 0 without a history."""
        return best_epoch([row.val_loss for row in self.history])

    @cached_property
    def best_weights(self) -> dict[str, Array]:
        """Weights after the best epoch, by canonical name."""
        if not self.is_complete and self.checkpoint:
            return dict(self.checkpoint.best)
        return self._weights(BEST_FILE)

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


def _unplaced(path: Path) -> str:
    """Where the run is if a kill came between the two renamings of a replacement; "" if nowhere."""
    try:
        found = sorted(path.parent.glob(f".{escape(path.name)}.new-*"))
    except (OSError, ValueError):
        return ""
    if not found:
        return ""
    return (
        f"; an interrupted --overwrite left its new run in {found[0]}: "
        f"`train --resume {found[0]}` puts it in place"
    )


def _record_in(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not os.path.lexists(path):
        raise RunFolderError(f"{path}: missing, so {folder} is not a run folder")
    value = read_json(path, MEMBER)
    if not isinstance(value, dict):
        raise RunFolderError(f"{path}: expected a JSON object")
    return value


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
