"""What can be told of a user's model before it trains."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import islice, pairwise
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mnist_mlp.contract import Array, Tensors, TrainingData
from mnist_mlp.ports.protocol import OwnOrder, OwnValidation
from mnist_mlp.ports.rows import RowFinder, classes_of, is_soft, read_validation
from mnist_mlp.reference import bias_name, kernel_name
from mnist_mlp_keras.port.load import Given, dense_of, layers_in_order
from mnist_mlp_keras.port.recorder import innermost
from mnist_mlp_keras.port.state import number

DRAWS = 24
DRAW_SECONDS = 6.0
EPOCHS = 3
SCHEDULED_STEPS, CHANGES = 4200, 16
"""Steps of a schedule that are asked for (ten of the tutorial's epochs), and changes among them
that make a list of constants of it."""


def native_weights(model: Any, x: Array) -> dict[str, Array]:
    """The Dense layers' weights as they are."""
    weights = {}
    for index, layer in enumerate(dense_of(layers_in_order(model, x))):
        weights[kernel_name(index)] = number(layer.kernel)
        bias = np.zeros(layer.units, np.float32) if layer.bias is None else number(layer.bias)
        weights[bias_name(index)] = bias
    return weights


def draws(given: Given, x: Array) -> tuple[Tensors, ...]:
    """Initial weights of several models, each made after another seed; one if it seeds itself."""
    found = [native_weights(given.first(), x)]
    if given.maker is None:
        return tuple(found)
    start = time.perf_counter()
    for seed in range(1, DRAWS):
        if time.perf_counter() - start > DRAW_SECONDS:
            break
        keras.utils.set_random_seed(seed)
        drawn = native_weights(given.fresh(), x)
        if all(np.array_equal(drawn[name], w) for name, w in found[-1].items()):
            break
        found.append(drawn)
    return tuple(found)


def optimizer_settings(model: Any) -> dict[str, Any]:
    """Class name and settings; a schedule of the learning rate as text."""
    optimizer = innermost(model.optimizer)
    if optimizer is None:
        return {}
    try:
        config = optimizer.get_config()
    except Exception:  # a user's class may take what get_config does not know
        config = {"learning_rate": float(number(optimizer.learning_rate))}
    config.pop("name", None)
    settings = {
        key: value
        for key, value in config.items()
        if isinstance(value, bool | int | float | str) and value is not None
    }
    if isinstance(config.get("learning_rate"), Mapping):
        settings |= _scheduled(optimizer._learning_rate)
    rate = settings.get("learning_rate")
    if isinstance(rate, float):  # Keras keeps it in float32
        settings["learning_rate"] = float(f"{rate:.7g}")
    return {"name": type(optimizer).__name__, "kind": _kind(optimizer), **settings}


def _kind(optimizer: Any) -> str:
    """Name of Keras's optimizer that it is or is made of; empty for one of the user's own."""
    for base in type(optimizer).__mro__:
        if getattr(keras.optimizers, base.__name__, None) is base and (
            base is not keras.optimizers.Optimizer
        ):
            return base.__name__
    return ""


def _scheduled(schedule: Callable[[int], Any]) -> dict[str, Any]:
    """The rate of step 1, and `schedule` as `(step, rate)` pairs from where it changes; as text
    where it changes too often."""
    rates = [float(f"{float(number(schedule(step))):.7g}") for step in range(SCHEDULED_STEPS)]
    changes = [(i + 1, b) for i, (a, b) in enumerate(pairwise(rates), start=1) if a != b]
    told = tuple(changes) if len(changes) <= CHANGES else type(schedule).__name__
    return {"learning_rate": rates[0], "schedule": told}


# --- An own loader --------------------------------------------------------------------------------


class _Spy(keras.Model):
    """Stands in for the model in a real `fit`, to see what it is fed."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.batches: list[tuple[Array, Array]] = []
        self.rows = 0
        self.weighted = False

    def train_step(self, data: Any) -> dict[str, Any]:
        """Keep a batch."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        self.weighted = self.weighted or (weights is not None and bool(np.ptp(number(weights))))
        pixels, labels = number(x), np.zeros(0) if y is None else number(y)
        self.batches.append((pixels.reshape(len(pixels), -1), labels))
        self.rows += len(pixels)
        if self.rows >= self.most:  # an endless generator
            self.stop_training = True
        return {"loss": 0.0}


class _Matched(keras.callbacks.Callback):
    """Finds each epoch's rows among the images when the epoch ends."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        super().__init__()
        self.finder = RowFinder(images)
        self.epochs: list[tuple[NDArray[np.int64], ...]] = []
        self.labels: list[NDArray[np.int64]] = []
        self.pixels: Array | None = None
        self.strange: list[Array] = []
        self.soft = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Match batch by batch."""
        del epoch, logs
        batches = self.model.batches
        if not batches:
            return
        pixels = [x for x, _ in batches]
        self.pixels = pixels[0] if self.pixels is None else self.pixels
        self.labels.append(np.concatenate([classes_of(y) for _, y in batches]))
        self.soft = self.soft or any(is_soft(y) for _, y in batches)
        self.finder.start_epoch()
        found = [self.finder.find(x) for x in pixels]
        if not self.epochs:
            self.strange = [x[at < 0] for x, at in zip(pixels, found, strict=True)]
        self.epochs.append(tuple(found))
        batches.clear()


def own_order(given: Given, data: TrainingData, x: Array, y: Array) -> OwnOrder | None:
    """Which rows the port's own loader gives, in three epochs of a real `fit`.

    A loader with two parameters is called with the training data `(x, y)`, one without as it is.
    """
    loader = given.loader
    if loader is None:
        return None
    if callable(loader) and not isinstance(loader, keras.utils.PyDataset):
        takes = len(inspect.signature(loader).parameters)
        loader = loader(x, y) if takes == 2 else loader()
    arrays = isinstance(loader, tuple)
    options = {key: given.fit[key] for key in ("shuffle", "steps_per_epoch") if key in given.fit}
    if arrays and "batch_size" in given.fit:
        options["batch_size"] = given.fit["batch_size"]
    if not arrays and not isinstance(loader, keras.utils.PyDataset):
        options["shuffle"] = False
    images = data.train_images
    spy, matched = _Spy(most=(EPOCHS + 1) * len(images)), _Matched(images)
    spy.compile(optimizer="sgd", loss=None, run_eagerly=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a generator that ends after one epoch
        fed = loader if arrays else (loader,)
        spy.fit(*fed, epochs=EPOCHS, verbose=0, callbacks=[matched], **options)
    if matched.pixels is None:
        return None
    strange = np.concatenate(matched.strange)
    tested = RowFinder(data.test_images).find(strange) if len(strange) else np.full(0, -1)
    return OwnOrder(
        epochs=tuple(matched.epochs),
        pixels=matched.pixels,
        labels=tuple(matched.labels),
        rescaled=matched.finder.rescaled,
        test_rows=int((tested >= 0).sum()),
        weighted=spy.weighted,
        soft=matched.soft,
    )


def own_validation(given: Given, data: TrainingData) -> OwnValidation | None:
    """What `fit(validation_data=...)` holds; None where it is not given."""
    source = given.fit.get("validation_data")
    if source is None:
        return None
    if isinstance(source, tuple | list):
        batches: Iterable[Any] = [source]
    elif isinstance(source, keras.utils.PyDataset):
        batches = (source[at] for at in range(source.num_batches or 0))
    else:
        batches = islice(source, given.fit.get("validation_steps"))
    pairs = []
    for batch in batches:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        pairs.append((number(x), number(y)))
    return read_validation(pairs, data)
