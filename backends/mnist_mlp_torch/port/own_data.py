"""A user's own training loader: which rows it gives, in which order."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnist_mlp.contract import Array, TrainingData
from mnist_mlp.errors import UserCodeError
from mnist_mlp.ports.protocol import OwnOrder, OwnValidation
from mnist_mlp.ports.rows import RowFinder, classes_of, is_soft, read_validation
from mnist_mlp.ports.user_code import user_errors
from mnist_mlp_torch.port.layers import to_array
from mnist_mlp_torch.port.load import Given, seed_everything

EPOCHS = 3
SLOW_S = 6.0
"""A first epoch slower than this: two epochs have to do, and validation is not tried."""

SEED = 7

Loaders = tuple[Any, Any]
"""For training and, if there is one, for validation."""


def own_data(given: Given, data: TrainingData) -> tuple[OwnOrder | None, OwnValidation | None]:
    """What the user's loader or datamodule does over three epochs, and what it validates on.

    The same again, with the same seed, but with validation after the first epoch, tells whether
    that moves the order.
    """
    if given.loader is None and given.datamodule is None:
        return None, None
    with user_errors(given.path):
        make = _maker(given)
        seed_everything(SEED)
        train, validation = make()
        generators = _generators(train)
        states = [generator.get_state() for generator in generators]
        finder = RowFinder(data.train_images)
        start = time.perf_counter()
        first = _epoch(train, finder, given)
        slow = time.perf_counter() - start > SLOW_S
        strange = any((batch < 0).any() for batch in first.batches)
        tested = _epoch(train, RowFinder(data.test_images), given) if strange else None
        others = [_epoch(train, finder, given) for _ in range(1 if slow else EPOCHS - 1)]
        rescaled = finder.rescaled
        epochs = [first, *others]
        moved: bool | None = None
        validated: OwnValidation | None = None
        if validation is not None and not slow:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
            seed_everything(SEED)
            train, validation = make()
            _pass_over(train)
            validated = _validation(validation, data, given)
            again = _epoch(train, finder, given)
            moved = not _same(again.batches, epochs[1].batches)
        elif validation is not None:
            validated = _validation(validation, data, given)
    order = OwnOrder(
        epochs=tuple(tuple(epoch.batches) for epoch in epochs),
        pixels=first.pixels,
        labels=tuple(epoch.labels for epoch in epochs),
        soft=any(epoch.soft for epoch in epochs),
        rescaled=rescaled,
        test_rows=sum(int((b >= 0).sum()) for b in tested.batches) if tested else 0,
        moved_by_validation=moved,
    )
    return order, validated


def _validation(loader: Iterable[Any], data: TrainingData, given: Given) -> OwnValidation | None:
    return read_validation([_pair(batch, given, "validation loader") for batch in loader], data)


def _pair(batch: Any, given: Given, what: str) -> tuple[Array, Array]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise UserCodeError(
            f"{given.path}: the {what} gives {type(batch).__name__}, expected (x, y)"
        )
    x, y = batch
    return _as_array(x), _as_array(y)


def _maker(given: Given) -> Callable[[], Loaders]:
    """A function that makes the loaders anew, as far as they can be made anew."""
    if given.datamodule is not None:

        def from_datamodule() -> Loaders:
            source = given.datamodule
            made = source() if callable(source) else copy.deepcopy(source)
            made.prepare_data()
            made.setup("fit")
            try:
                validation = made.val_dataloader()
            except Exception:  # Lightning's own raises where the user has none
                validation = None
            return _single(made.train_dataloader()), _single(validation)

        return from_datamodule

    def from_loader() -> Loaders:
        source = given.loader
        made = source() if callable(source) else source
        if isinstance(made, tuple | list):
            return made[0], made[1] if len(made) > 1 else None
        return made, None

    return from_loader


def _single(loaders: Any) -> Any:
    return loaders[0] if isinstance(loaders, tuple | list) and loaders else loaders


def batch_size_of(loader: Any) -> int | None:
    """As the loader says it."""
    for owner in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(owner, "batch_size", None)
        if isinstance(size, int):
            return size
    return None


def _generators(loader: Any) -> list[torch.Generator]:
    """Private generators of a loader and its samplers, which seeding does not reach."""
    found = []
    for name in ("", "sampler", "batch_sampler"):
        owner = getattr(loader, name, None) if name else loader
        for holder in (owner, getattr(owner, "sampler", None)):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator) and generator not in found:
                found.append(generator)
    return found


class _Epoch:
    def __init__(
        self, batches: list[NDArray[np.int64]], pixels: Array, labels: Array, *, soft: bool
    ) -> None:
        self.batches, self.pixels, self.labels, self.soft = batches, pixels, labels, soft


def _epoch(loader: Iterable[Any], finder: RowFinder, given: Given) -> _Epoch:
    finder.start_epoch()
    batches: list[NDArray[np.int64]] = []
    pixels: Array = np.zeros((0,))
    labels: list[NDArray[np.int64]] = []
    soft = False
    for number, batch in enumerate(loader):
        x, y = _pair(batch, given, "loader")
        batches.append(finder.find(x))
        labels.append(classes_of(y))
        soft = soft or is_soft(y)
        if number == 0:
            pixels = x
    if not batches:
        raise UserCodeError(f"{given.path}: the loader gives no batch")
    return _Epoch(batches, pixels, np.concatenate(labels), soft=soft)


def _as_array(part: Any) -> Array:
    return to_array(part) if isinstance(part, Tensor) else np.asarray(part)


def _pass_over(loader: Iterable[Any]) -> None:
    for _ in loader:
        pass


def _same(a: Sequence[Array], b: Sequence[Array]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
