"""Check the files of a run folder against its record.

`Run` calls these for every file that it reads, so that all commands refuse the same files. NaN and
infinity are a `DivergedError`, everything else is a `RunFolderError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.errors import DivergedError, RunFolderError
from mnist_mlp.reference import Array, Tensors, bias_name, kernel_name, slot_names
from mnist_mlp.run.checkpoint import Checkpoint
from mnist_mlp.run.history import HistoryRow
from mnist_mlp.run.record import DatasetRecord
from mnist_mlp.shown import one_line, shown
from mnist_mlp.spec import ModelSpec, Spec


def check_spec(spec: Spec, dataset: DatasetRecord, *, file: Path) -> None:
    """Refuse a network that does not fit the recorded images and classes."""
    height, width = dataset.image_shape
    sizes = spec.model.layer_sizes
    if sizes[0] != height * width or sizes[-1] != dataset.classes:
        raise RunFolderError(
            f"{file}: model.layer_sizes is {shown(list(sizes))}, but dataset has images of "
            f"{height} x {width} pixels and {dataset.classes} classes"
        )


def expected_shapes(model: ModelSpec) -> dict[str, tuple[int, ...]]:
    """The shape of each weight by its canonical name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (inputs, units, _) in enumerate(model.layers):
        shapes |= {kernel_name(layer): (inputs, units), bias_name(layer): (units,)}
    return shapes


def check_weights(weights: Tensors, model: ModelSpec, *, file: Path) -> None:
    """Refuse weights of other names, shapes or types than the specification has."""
    expected = expected_shapes(model)
    for name in expected:
        if name not in weights:
            raise RunFolderError(f"{file}: lacks {name}, which the specification has")
    for name, array in weights.items():
        if name not in expected:
            raise RunFolderError(f"{file}: {shown(name)} is no weight of the specification")
        _check_array(name, array, np.floating, expected[name], file=file)
        if not np.isfinite(array).all():
            raise DivergedError(f"{file}: {name} is not finite; the run diverged")


def check_checkpoint(checkpoint: Checkpoint, spec: Spec, *, file: Path) -> None:
    """Refuse a history that no run has, and tensors that are not those of the specification."""
    check_history(checkpoint.history, file=file)
    if not checkpoint.epoch:
        return
    slots, wanted = checkpoint.slots, set(slot_names(spec.optimizer))
    if slots is not None and slots.keys() != wanted:
        raise RunFolderError(
            f"{file}: holds the slots {shown(sorted(slots))}, but the optimizer has "
            f"{shown(sorted(wanted))}"
        )
    for tensors in (checkpoint.weights, checkpoint.best, *(slots or {}).values()):
        check_weights(tensors, spec.model, file=file)


def check_predictions(arrays: Mapping[str, Array], dataset: DatasetRecord, *, file: Path) -> None:
    """Refuse labels, logits and row ids that don't fit together or don't fit the data set."""
    y_true, logits, ids = (arrays[name] for name in ("y_true", "logits", "ids"))
    n = y_true.size
    if n == 0:
        raise RunFolderError(f"{file}: holds no test rows")
    _check_array("y_true", y_true, np.integer, (n,), file=file)
    _check_array("logits", logits, np.floating, (n, dataset.classes), file=file)
    _check_ids(ids, (n,), rows=dataset.rows, file=file)
    _check_range("y_true", y_true, below=dataset.classes, file=file)
    if not np.isfinite(logits).all():
        raise DivergedError(f"{file}: a logit is not finite; the run diverged")


def check_examples(arrays: Mapping[str, Array], dataset: DatasetRecord, *, file: Path) -> None:
    """Refuse images of another shape, and rows that the data set does not have."""
    ids, images = arrays["ids"], arrays["images"]
    _check_ids(ids, (ids.size,), rows=dataset.rows, file=file)
    _check_array("images", images, np.uint8, (ids.size, *dataset.image_shape), file=file)


def check_order(arrays: Mapping[str, Array], *, file: Path) -> None:
    """Refuse an order that is not a table of positions: a line for each epoch."""
    train_ids, epochs = arrays["train_ids"], arrays["epochs"]
    n, lines = train_ids.size, epochs.shape[0] if epochs.ndim else 0
    _check_array("train_ids", train_ids, np.integer, (n,), file=file)
    _check_array("epochs", epochs, np.integer, (lines, n), file=file)


def check_history(rows: Sequence[HistoryRow], *, file: Path) -> None:
    """Refuse epochs that are not numbered 1, 2, 3, ... and numbers that no epoch can have."""
    if [row.epoch for row in rows] != list(range(1, len(rows) + 1)):
        raise RunFolderError(f"{file}: epochs must be numbered 1, 2, 3, ...")
    for row in rows:
        if not np.isfinite([row.loss, row.val_loss]).all():
            raise DivergedError(f"{file}: a loss of epoch {row.epoch} is not finite")
        if not (np.isfinite(row.seconds) and row.seconds >= 0):
            raise RunFolderError(f"{file}: seconds of epoch {row.epoch} is {row.seconds}")


def _check_array(name: str, array: Array, kind: Any, shape: tuple[int, ...], *, file: Path) -> None:
    if not np.issubdtype(array.dtype, kind) or array.shape != shape:
        raise RunFolderError(
            f"{file}: {name} is {one_line(str(array.dtype))} {shown(array.shape)}, "
            f"expected {kind.__name__} {shape}"
        )


def _check_ids(ids: Array, shape: tuple[int, ...], *, rows: int | None, file: Path) -> None:
    _check_array("ids", ids, np.integer, shape, file=file)
    _check_range("ids", ids, below=rows, file=file)
    if len(np.unique(ids)) != len(ids):
        raise RunFolderError(f"{file}: ids has the same row twice")


def _check_range(name: str, array: Array, *, below: int | None, file: Path) -> None:
    if not array.size:
        return
    low, high = int(array.min()), int(array.max())
    if low < 0 or (below is not None and high >= below):
        top = "" if below is None else f" to {below - 1}"
        raise RunFolderError(f"{file}: {name} has values from {low} to {high}, expected 0{top}")
