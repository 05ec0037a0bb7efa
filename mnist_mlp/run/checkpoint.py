"""The checkpoint of a run: all that its later epochs depend on, in one file.

Weights, optimizer state and history are replaced together, in one step. So they always belong to
the same epoch, whenever a run is killed. There is no random state to keep: the order of an epoch
depends only on the seed and on the number of the epoch (`mnist_mlp.plan`).

It is a safetensors file with the tensors `weights/<name>`, `slots/<slot>/<name>` and, if another
epoch than the last is the best, `best/<name>`. The text of `history.csv` is in it as bytes. Its
metadata has the single key `checkpoint`, a text with a JSON object; `docs/run-folder.md` describes
it. Nothing is computed anew for each row of the history, so that saving takes hardly longer after
thousands of epochs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.contract import EpochRecord
from mnist_mlp.readers.arrays import read_safetensors_and_metadata
from mnist_mlp.readers.regular import MEMBER, parsed
from mnist_mlp.reference import Array, Tensors
from mnist_mlp.run.files import write_atomically
from mnist_mlp.run.history import HEADING, HistoryRow, history_rows, line_bytes
from mnist_mlp.run.tensors import tensors_digest
from mnist_mlp.stopping import best_epoch, is_lower

CHECKPOINT_FILE = "checkpoint.safetensors"

_VERSION = 1
_KEY = "checkpoint"
_HISTORY = "history"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run after its last whole epoch: made by `after`, epoch by epoch, or read.

    Parameters
    ----------
    start_sha256 : str
        `tensors_digest` of the initial weights: by it, the checkpoint of another run is recognised.
    history : tuple of HistoryRow
        One row per epoch, from epoch 1; empty before training.
    history_text : bytes
        The same as the content of `history.csv`.
    weights : dict of arrays
        Weights after the last epoch; empty before training.
    slots : dict of dicts of arrays, or None
        The optimizer's state, as in `contract.State`. None if the backend does not report it. Then
        training cannot go on from here.
    best_epoch : int
        The epoch with the lowest validation loss (`mnist_mlp.stopping`); 0 before training.
    best : dict of arrays
        Weights after the best epoch; empty before training.
    """

    start_sha256: str
    history: tuple[HistoryRow, ...] = ()
    history_text: bytes = HEADING
    weights: Tensors = field(default_factory=dict)
    slots: Mapping[str, Tensors] | None = None
    best_epoch: int = 0
    best: Tensors = field(default_factory=dict)

    @property
    def val_losses(self) -> list[float]:
        """Validation loss after each epoch."""
        return [row.val_loss for row in self.history]

    @property
    def epoch(self) -> int:
        """Number of whole epochs."""
        return len(self.history)

    def after(self, record: EpochRecord) -> Checkpoint:
        """The state one epoch later."""
        row = HistoryRow(
            epoch=record.epoch,
            loss=record.loss,
            accuracy=record.accuracy,
            val_loss=record.val_loss,
            val_accuracy=record.val_accuracy,
            seconds=record.seconds,
            weights_sha256=tensors_digest(record.weights),
        )
        later = replace(
            self,
            history=(*self.history, row),
            history_text=self.history_text + line_bytes(row),
            weights=record.weights,
            slots=record.slots,
        )
        if self.history and not is_lower(row.val_loss, self.history[self.best_epoch - 1].val_loss):
            return later
        return replace(later, best_epoch=row.epoch, best=record.weights)


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a run folder.

    The previous one stays in its place until the new one is on disk and has been read back.

    Raises
    ------
    SetupError
        It cannot be written, or what was read back is something else.
    """
    write_atomically(folder / CHECKPOINT_FILE, _to_bytes(checkpoint), durable=True)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read and check the checkpoint of a run folder.

    Raises
    ------
    RunFolderError
        It is missing or damaged; the text names the file and the reason.
    """
    path = folder / CHECKPOINT_FILE
    tensors, metadata = read_safetensors_and_metadata(path, MEMBER)
    return parsed(path, MEMBER, "a readable checkpoint", lambda: _from_file(tensors, metadata))


def _to_bytes(checkpoint: Checkpoint) -> bytes:
    from safetensors.numpy import save

    tensors = {f"weights/{name}": array for name, array in checkpoint.weights.items()}
    tensors[_HISTORY] = np.frombuffer(checkpoint.history_text, np.uint8)
    if checkpoint.best_epoch < checkpoint.epoch:  # else they are the last weights, above
        tensors |= {f"best/{name}": array for name, array in checkpoint.best.items()}
    for slot, arrays in (checkpoint.slots or {}).items():
        tensors |= {f"slots/{slot}/{name}": array for name, array in arrays.items()}
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    state = {
        "schema_version": _VERSION,
        "start_sha256": checkpoint.start_sha256,
        "slots": None if checkpoint.slots is None else sorted(checkpoint.slots),
        "tensors_sha256": tensors_digest(tensors),
    }
    # One key only: safetensors writes several in an order that differs between runs.
    text = json.dumps({"state": state, "sha256": _digest(state)})
    return bytes(save(tensors, metadata={_KEY: text}))


def _from_file(tensors: Tensors, metadata: Mapping[str, str]) -> Checkpoint:
    """The inverse of `_to_bytes`; any exception means that the content is damaged."""
    document = json.loads(metadata[_KEY])
    state = document["state"]
    if state["schema_version"] != _VERSION:
        raise ValueError(f"schema_version {state['schema_version']}, expected {_VERSION}")
    if document["sha256"] != _digest(state) or state["tensors_sha256"] != tensors_digest(tensors):
        raise ValueError("its content does not have the recorded digest")
    text = tensors[_HISTORY].tobytes()
    history = tuple(history_rows(text.decode()))
    weights = _below("weights/", tensors)
    if history and history[-1].weights_sha256 != tensors_digest(weights):
        raise ValueError("the weights are not those of the last epoch of the history")
    slots = state["slots"]
    found = Checkpoint(
        start_sha256=state["start_sha256"],
        history=history,
        history_text=text,
        weights=weights,
        slots=None if slots is None else {s: _below(f"slots/{s}/", tensors) for s in slots},
        best_epoch=best_epoch([row.val_loss for row in history]),
        best=_below("best/", tensors) or weights,
    )
    if history and history[found.best_epoch - 1].weights_sha256 != tensors_digest(found.best):
        raise ValueError("the best weights are not those of the best epoch of the history")
    return found


def _below(prefix: str, tensors: Tensors) -> dict[str, Array]:
    """The tensors whose names begin with a prefix, without it."""
    # Copies: the arrays of `load` are views of the file's content, which cannot be changed.
    return {
        name.removeprefix(prefix): np.array(array)
        for name, array in tensors.items()
        if name.startswith(prefix)
    }


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
