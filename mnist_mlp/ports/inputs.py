"""What a model takes, or is trained towards: one array, or several in a tuple or by name; as a
table, all side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, permutations
from math import prod
from typing import Any

import numpy as np

from mnist_mlp.reference import Array

Inputs = Array | tuple[Array, ...] | dict[str, Array]

MOST = 4
"""Inputs that are tried in every order; of more, two at a time are exchanged."""


@dataclass(frozen=True)
class Part:
    """One of several inputs: its key in a dictionary (empty in a tuple), shape of a row, type."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return prod(self.shape)


def arrays_of(x: Any) -> list[Any]:
    """Each input in its order, that of their names in a dictionary."""
    if isinstance(x, Mapping):
        return [x[name] for name in sorted(x)]
    return list(x) if isinstance(x, tuple | list) else [x]


def count_of(x: Any) -> int:
    """Rows of one array, or of several."""
    return len(arrays_of(x)[0])


def is_nested(x: Any) -> bool:
    """Whether one of several inputs or targets is a structure itself."""
    return any(isinstance(a, Mapping | tuple | list) for a in arrays_of(x))


def parts_of(x: Any) -> tuple[Part, ...]:
    """Of several inputs; of one array there are none."""
    if not isinstance(x, Mapping | tuple | list):
        return ()
    names = sorted(x) if isinstance(x, Mapping) else [""] * len(x)
    return tuple(
        Part(str(name), tuple(np.shape(a)[1:]), str(np.asarray(a).dtype))
        for name, a in zip(names, arrays_of(x), strict=True)
    )


def each(function: Callable[[Any], Any], x: Any) -> Any:
    """A function of each input, in the same form."""
    if isinstance(x, Mapping):
        return {name: function(a) for name, a in x.items()}
    return tuple(map(function, x)) if isinstance(x, tuple | list) else function(x)


def side_by_side(x: Any) -> Array:
    """All inputs as one table (n, numbers), but an array as it is."""
    if not isinstance(x, Mapping | tuple | list):
        return np.asarray(x)
    arrays = [np.asarray(a) for a in arrays_of(x)]
    return np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)


def apart(table: Array, parts: Sequence[Part], order: Sequence[int] = ()) -> Inputs:
    """The inputs that stand side by side in a table; `order` are those places of the parts in which
    a user has them."""
    ends = list(accumulate(part.size for part in parts))
    found = [
        table[:, end - part.size : end].reshape(len(table), *part.shape).astype(part.dtype)
        for part, end in zip(parts, ends, strict=True)
    ]
    if parts[0].name:
        return {part.name: x for part, x in zip(parts, found, strict=True)}
    return tuple(found[k] for k in order or range(len(found)))


def columns(parts: Sequence[Part], order: Sequence[int]) -> Array:
    """The places, in a table of parts, of the columns of the same parts in another order."""
    ends = list(accumulate(part.size for part in parts))
    return np.concatenate([np.arange(ends[k] - parts[k].size, ends[k]) for k in order])


def orders(shapes: Sequence[tuple[int, ...]], wanted: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Orders of inputs in which they have the wanted shapes, the one that they have first."""
    n = len(shapes)
    if sorted(shapes) != sorted(wanted):
        return []
    if n <= MOST:
        known = [list(order) for order in permutations(range(n))]
    else:
        known = [list(range(n))]
        for i in range(n):
            for j in range(i + 1, n):
                swapped = list(range(n))
                swapped[i], swapped[j] = j, i
                known.append(swapped)
    return [order for order in known if [shapes[k] for k in order] == list(wanted)]
