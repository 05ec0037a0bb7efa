"""A user's own data: which rows a real `fit` is fed, in which order."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from mnist_mlp.contract import Array
from mnist_mlp.errors import UsageError
from mnist_mlp.ports.inputs import Inputs, Part, arrays_of, count_of, each, is_nested, parts_of
from mnist_mlp.ports.protocol import OwnData, OwnPass
from mnist_mlp.ports.rows import RowTable, read_pass
from mnist_mlp.ports.unlabelled import BARE, TUPLE
from mnist_mlp_keras.port.load import Given
from mnist_mlp_keras.port.state import number

EPOCHS = 3
SLOW_S = 6.0
"""A first epoch slower than this: two have to do."""

ENDLESS, AT_LEAST = 4, 200_000
"""Data without an end are left after so many times the plan's training rows, and at least so many
rows."""

DATA = ("x", "y", "sample_weight")
"""Arguments of `fit` that are data; a `loader` beside the model stands for `x` and `y`."""

OF_ARRAYS = ("batch_size", "shuffle", "validation_split")
"""Arguments of `fit` that only mean something where data are arrays."""

OF_ALL = (
    *("steps_per_epoch", "validation_data", "validation_steps"),
    *("validation_batch_size", "validation_freq"),
)


Triple = tuple[Inputs, Inputs, Array | None]


class _Spy(keras.Model):
    """Stands in for the model in a real `fit`, to see what it is fed."""

    def __init__(self, most: int, *, ragged: bool, unlabelled: str) -> None:
        super().__init__()
        self.unlabelled = unlabelled
        self.most = most
        self.table = RowTable(ragged=ragged)
        self.seen: list[Triple] = []
        self.tested: list[Triple] = []
        self.rows = 0
        self.parts: tuple[Part, ...] = ()

    def train_step(self, data: Any) -> dict[str, Any]:
        """Keep a batch."""
        if not self.rows:
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            self.parts = parts_of(each(number, x))
            if y is None:
                self.unlabelled = TUPLE if isinstance(data, tuple | list) else BARE
        self.seen.append(_triple(data, labelled=not self.unlabelled))
        self.rows += count_of(self.seen[-1][0])
        if self.rows >= self.most:  # an endless generator
            self.stop_training = True
        return {"loss": 0.0}

    def test_step(self, data: Any) -> dict[str, Any]:
        """Keep a batch of the validation."""
        self.tested.append(_triple(data, labelled=not self.unlabelled))
        return {"loss": 0.0}


def _triple(data: Any, *, labelled: bool) -> Triple:
    """Inputs, labels and weights of a batch; several inputs side by side. Where it is not
    `labelled`, the labels are zeros.

    Raises
    ------
    UsageError
        Rows have a weight for each of several outputs, or nested targets.
    """
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    if len(arrays_of(weights)) > 1:
        raise UsageError(
            "the data give each row a weight for each output, which check cannot judge.\n"
            "Give it the data without them; one weight for all outputs is named and not judged."
        )
    if is_nested(y):
        raise UsageError(
            "the data give targets in structures within each other, which check cannot judge.\n"
            "Give the model its outputs, and fit its targets, in one list or one dictionary."
        )
    inputs = each(number, x)
    labels = each(number, y) if labelled and y is not None else np.zeros(count_of(inputs))
    return inputs, labels, None if weights is None else number(arrays_of(weights)[0])


class _Reader(keras.callbacks.Callback):
    """Reads each epoch's batches when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[OwnPass] = []
        self.validation: OwnPass | None = None
        self.first_targets: Inputs | None = None
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Number the rows."""
        del epoch, logs
        model = self.model
        if self.first_targets is None and model.seen:
            self.first_targets = model.seen[0][0 if model.unlabelled else 1]
        read = read_pass(model.seen, model.table)
        model.seen.clear()
        if read.batches:
            self.epochs.append(read)
        if model.tested and self.validation is None:
            self.validation = read_pass(model.tested, model.table)
        model.tested.clear()
        if len(self.epochs) == EPOCHS - 1 and time.perf_counter() - self.start > SLOW_S:
            model.stop_training = True


def own_data(
    given: Given, *, rows: int, fed: Callable[[], tuple[Array, Array]], ragged: bool = False
) -> OwnData | None:
    """What the port's own data are, over a few epochs of a real `fit`, and what it validates on.

    They are what `fit` is given (`x`, `y`, `validation_data`, `validation_split` and the like), or
    the `loader` beside the model. A loader with two parameters is called with the plan's `rows`
    training rows as they are `fed`, `(x, y)`; one without as it is. With `ragged`, batches may be
    padded to different lengths.
    """
    own = training_data(given, fed)
    validation = given.fit.get("validation_data")
    if own is None and validation is None:
        return None
    unlabelled = given.loop.unlabelled if given.loop is not None else ""
    most = max(ENDLESS * rows, AT_LEAST)
    spy, reader = _Spy(most, ragged=ragged, unlabelled=unlabelled), _Reader()
    spy.compile(optimizer="sgd", loss=None, run_eagerly=True)
    kept = {key: given.fit[key] for key in (*OF_ARRAYS, *OF_ALL) if given.fit.get(key) is not None}
    arrays = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a generator that ends after one epoch
        if own is None:
            _evaluated(spy, validation, kept)
            reader.validation = read_pass(spy.tested, spy.table)
        else:
            arrays = not is_stream(own["x"])
            if not arrays:
                kept = {key: value for key, value in kept.items() if key not in OF_ARRAYS}
                if not isinstance(own["x"], keras.utils.PyDataset):
                    kept["shuffle"] = False  # it means nothing there, and Keras says so
                elif "shuffle" in given.fit:
                    kept["shuffle"] = given.fit["shuffle"]
            spy.fit(**own, epochs=EPOCHS, verbose=0, callbacks=[reader], **kept)
    table = spy.table.rows()
    return OwnData(
        rows=table,
        shape=spy.table.shape,
        epochs=tuple(reader.epochs),
        validation=reader.validation,
        shuffle=bool(kept.get("shuffle", True)) if own is not None and arrays else None,
        first_targets=reader.first_targets,
        parts=spy.table.parts(spy.parts),
        target_parts=()
        if reader.first_targets is None or spy.unlabelled
        else parts_of(reader.first_targets),
        padding=spy.table.padding,
        unlabelled=spy.unlabelled,
    )


def training_data(given: Given, fed: Callable[[], tuple[Array, Array]]) -> dict[str, Any] | None:
    """Data arguments of `fit`."""
    loader = given.loader
    if loader is None:
        own = {key: given.fit[key] for key in DATA if given.fit.get(key) is not None}
        return own if "x" in own else None
    if callable(loader) and not isinstance(loader, keras.utils.PyDataset):
        takes = len(inspect.signature(loader).parameters)
        loader = loader(*fed()) if takes == 2 else loader()
    if not isinstance(loader, tuple | list):
        return {"x": loader}
    return dict(zip(DATA, loader, strict=False))


def is_stream(x: Any) -> bool:
    """A data set, a `PyDataset` or a generator: whatever makes its own batches."""
    if isinstance(x, keras.utils.PyDataset):
        return True
    arrays = isinstance(x, np.ndarray | list | tuple | Mapping) or keras.ops.is_tensor(x)
    return not arrays and not hasattr(x, "iloc")  # pandas


def _evaluated(spy: _Spy, validation: Any, fit: Mapping[str, Any]) -> None:
    """Validation data without training data, as `fit` evaluates them."""
    fed = dict(zip(DATA, validation, strict=False)) if isinstance(validation, tuple | list) else {}
    options: dict[str, Any] = {"steps": fit.get("validation_steps")}
    if fed:
        size = fit.get("validation_batch_size") or fit.get("batch_size")
        options["batch_size"] = size
    spy.evaluate(**(fed or {"x": validation}), verbose=0, **options)
