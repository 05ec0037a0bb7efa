"""The input of the evaluator: the results of a run, as one checked value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.errors import DataError

Column = Sequence[float] | NDArray[np.floating[Any]]

# An accuracy averaged in float32 may exceed 1 by a rounding error.
_ROUNDING = 1e-6


class EvidenceError(DataError):
    """The arrays of a run do not fit together, or have values that no finished run can have."""


@dataclass(frozen=True)
class History:
    """Four numbers per epoch, from epoch 1. All are empty for a run imported without a history.

    `loss` is the mean cross-entropy and `accuracy` the share of correct predictions (0 to 1). Both
    are computed during training, before each update. `val_loss` and `val_accuracy` are computed
    after the epoch.

    >>> len(History(loss=[2.3], accuracy=[0.1], val_loss=[2.2], val_accuracy=[0.2]))
    1
    >>> History(loss=[2.3], accuracy=[0.1], val_loss=[2.2], val_accuracy=[20.0])
    Traceback (most recent call last):
    mnist_mlp.evaluate.evidence.EvidenceError: history: val_accuracy of epoch 1 is 20.0, ...
    """

    loss: Column = ()
    accuracy: Column = ()
    val_loss: Column = ()
    val_accuracy: Column = ()

    def __post_init__(self) -> None:
        columns = {column.name: getattr(self, column.name) for column in fields(self)}
        lengths = {name: len(column) for name, column in columns.items()}
        _require(len(set(lengths.values())) == 1, f"history: epochs per column differ: {lengths}")
        for name, column in columns.items():
            top = 1 + _ROUNDING if "accuracy" in name else np.inf
            for epoch, value in enumerate(column, start=1):
                _require(
                    bool(np.isfinite(value) and 0 <= value <= top),
                    f"history: {name} of epoch {epoch} is {value}, expected a finite number, "
                    + ("0 to 1" if "accuracy" in name else "at least 0"),
                )

    def __len__(self) -> int:
        return len(self.loss)


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """The results of one run, without any trace of the backend that trained it.

    Parameters
    ----------
    y_true : integer (n,)
        Classes of the test rows, 0 .. classes - 1.
    logits : float32 or float64 (n, classes)
        The trained network's outputs before softmax.
    ids : integer (n,)
        Row ids of the test rows, each once.
    classes : int
        Number of classes, at least 2.
    first_kernel : float32 or float64 (height * width, units)
        Weights of layer 0 after training.
    image_shape : tuple of int
        `(height, width)` of one image.
    example_ids : integer (k,)
        Row ids of the example images, each once; every wrongly classified test row is among them.
    example_images : uint8 (k, height, width)
        Their pixels; 0 is background.
    history : History
        One entry per epoch.
    heading : str or None
        What a reader must know about the data (`embedded digits, not MNIST`). It is printed above
        the report and every figure.

    Raises
    ------
    EvidenceError
        If shapes, types or values don't fit together.
    """

    y_true: NDArray[np.integer[Any]]
    logits: NDArray[np.floating[Any]]
    ids: NDArray[np.integer[Any]]
    classes: int
    first_kernel: NDArray[np.floating[Any]]
    image_shape: tuple[int, int]
    example_ids: NDArray[np.integer[Any]]
    example_images: NDArray[np.uint8]
    history: History = field(default_factory=History)
    heading: str | None = None

    def __post_init__(self) -> None:
        n, classes, pixels = len(self.y_true), self.classes, int(np.prod(self.image_shape))
        _require(n >= 1, "y_true: no test rows")
        _require(classes >= 2, f"classes: {classes}, expected at least 2")
        units = self.first_kernel.shape[-1] if self.first_kernel.ndim else 0
        _require(units >= 1, "first_kernel: no units")
        _check_array("y_true", self.y_true, np.integer, (n,))
        _check_array("logits", self.logits, np.floating, (n, classes))
        _check_array("ids", self.ids, np.integer, (n,))
        _check_array("first_kernel", self.first_kernel, np.floating, (pixels, units))
        k = len(self.example_ids)
        _check_array("example_ids", self.example_ids, np.integer, (k,))
        _check_array("example_images", self.example_images, np.uint8, (k, *self.image_shape))
        low, high = int(self.y_true.min()), int(self.y_true.max())
        _require(
            low >= 0 and high < classes,
            f"y_true: classes from {low} to {high}, expected 0 to {classes - 1}",
        )
        for name in ("ids", "example_ids"):
            ids = getattr(self, name)
            _require(len(np.unique(ids)) == len(ids), f"{name}: a row id appears twice")
        wrong = self.ids[self.logits.argmax(axis=1) != self.y_true]
        missing = np.setdiff1d(wrong, self.example_ids)
        _require(
            len(missing) == 0,
            f"example_ids: {len(missing)} of {len(wrong)} wrongly classified rows have no image, "
            f"the first is row {missing[0] if len(missing) else None}",
        )
        _require(
            self.heading is None or (self.heading.strip() != "" and self.heading.isprintable()),
            f"heading: {self.heading!r}, expected one line of text, or None",
        )


def _require(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise EvidenceError(message)


def _check_array(name: str, array: NDArray[Any], kind: Any, shape: tuple[int, ...]) -> None:
    _require(
        np.issubdtype(array.dtype, kind) and array.shape == shape,
        f"{name}: {array.dtype} {array.shape}, expected {kind.__name__} {shape}",
    )
    if kind is np.floating:
        finite = np.isfinite(array)
        _require(
            bool(finite.all()),
            f"{name}: {finite.size - np.count_nonzero(finite)} values are NaN or infinite; "
            "a diverged run cannot be evaluated",
        )
