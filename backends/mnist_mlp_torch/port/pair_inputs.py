"""How a torch module is given its inputs, one or several, and a step its batch."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from mnist_mlp.errors import UserCodeError
from mnist_mlp.ports.batch_keys import BatchKeys, KeysError, keys_of, keys_read_in
from mnist_mlp.ports.inputs import arrays_of, each
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.source import read_source
from mnist_mlp.ports.unlabelled import batch_of
from mnist_mlp.reference import Array


class Fed(Dataset[Any]):
    """Rows one by one, as a loader of the user's would give them."""

    def __init__(self, rows: PairRows, tensor: Callable[[Array], Tensor]) -> None:
        self.x, self.y = each(tensor, rows.x), each(tensor, rows.y)
        self.weights = None if rows.weights is None else tensor(rows.weights)
        self.flat, self.keys, self.count = rows.flat, rows.keys, rows.count
        self.unlabelled, self.rows = rows.unlabelled, rows

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self._row(self.x, index, index)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The rows of one batch, which may be as long as the longest of them."""
        x = self.rows.batch(indices, self.x)
        return [self._row(x, place, index) for place, index in enumerate(indices)]

    def _row(self, inputs: Any, place: int, index: int) -> Any:
        x = each(lambda a: a[place], inputs)
        if self.unlabelled:
            return batch_of(self.unlabelled, x)
        y = each(lambda a: a[index], self.y)
        if self.weights is not None:
            return (*arrays_of(x), *arrays_of(y), self.weights[index])
        if self.keys is not None:
            return self.keys.batch(x, y)
        if not self.flat:
            return x, y
        parts = [*arrays_of(x), *arrays_of(y)]
        order = self.rows.flat_order or range(len(parts))
        return tuple(part for _, part in sorted(zip(order, parts, strict=True), key=_place))


def _place(placed: tuple[int, Any]) -> int:
    return placed[0]


def called(module: Any, x: Any) -> Any:
    """A module of inputs as a loader gives them: one by one, by name, or all in one argument."""
    if isinstance(x, Tensor) or inputs_of(module) == 1:
        return module(x)
    return module(**x) if isinstance(x, Mapping) else module(*x)


def inputs_of(module: Any) -> int | None:
    """How many arguments a module's `forward` needs; None where it takes any number."""
    try:
        known = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return 1
    if any(p.kind is p.VAR_POSITIONAL for p in known):
        return None
    needed = [p for p in known if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return max(len(needed), 1)


def numbers_in(batch: Mapping[str, Any]) -> list[str]:
    """The keys of a batch that hold numbers, and not texts or lists of them."""
    return [
        str(key)
        for key, value in batch.items()
        if isinstance(value, Tensor)
        or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf")
    ]


def keys_of_batch(batch: Mapping[str, Any], *, path: Path, read: Collection[str] = ()) -> BatchKeys:
    """Which keys are inputs and targets; without those that were `read`, the user's file tells.

    Raises
    ------
    UserCodeError
        Nobody can tell which is the target.
    """
    known = read or keys_read_in("".join(piece.text for piece in read_source(path).pieces))
    try:
        return keys_of(numbers_in(batch), known)
    except KeysError as error:
        raise UserCodeError(f"{path}: {error}") from None


def apart_by_keys(batch: Mapping[str, Any], keys: BatchKeys, *, path: Path) -> tuple[Any, Any]:
    """Inputs and targets of a batch.

    Raises
    ------
    UserCodeError
        It lacks one of them.
    """
    try:
        return keys.parts(batch)
    except KeysError as error:
        raise UserCodeError(f"{path}: {error}") from None


def split(module: Any, batch: Any, *, inputs: int | None = None) -> tuple[Any, Any]:
    """What a plain module is called with for a batch of a loader, and the targets.

    Of a tuple, it is the first `inputs` parts, by default all but the last. Of a dictionary, it is
    what its `forward` names, if it does, else all but the targets. A batch of one tensor is both.
    """
    if isinstance(batch, Tensor) or (len(batch) == 1 and not isinstance(batch, Mapping)):
        x = batch if isinstance(batch, Tensor) else batch[0]
        return x, x
    if not isinstance(batch, Mapping):
        cut = inputs or len(batch) - 1
        x, y = (part[0] if len(part) == 1 else part for part in (batch[:cut], batch[cut:]))
        return x, y
    return keys_for(module, batch).parts(batch)


def keys_for(module: Any, batch: Mapping[str, Any]) -> BatchKeys:
    """The keys of a batch that a plain module is called with, and that of the targets."""
    names = numbers_in(batch)
    keys = keys_of(names)
    named = set(inspect.signature(module.forward).parameters) & set(keys.inputs)
    return keys_of(names, {*named, keys.target}) if named else keys


def takes_dictionary(module: Any) -> bool:
    """Whether its `forward` reads what it needs from a dictionary in its first argument."""
    try:
        source = textwrap.dedent(inspect.getsource(type(module).forward))
        first = next(iter(inspect.signature(module.forward).parameters))
    except (OSError, StopIteration, TypeError, ValueError):
        return False
    return bool(keys_read_in(source, first))


def keys_of_step(module: Any) -> BatchKeys | None:
    """What a `training_step` reads from its batch by keys; None where it does not, or where that
    does not tell one input and the targets."""
    try:
        source = textwrap.dedent(inspect.getsource(type(module).training_step))
        first = next(iter(inspect.signature(module.training_step).parameters))
        keys = keys_of(keys_read_in(source, first))
    except (OSError, StopIteration, TypeError, ValueError):
        return None
    return keys if len(keys.inputs) == 1 else None
