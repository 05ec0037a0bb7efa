"""How a torch module is given its inputs, one or several."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from mnist_mlp.ports.inputs import arrays_of, each
from mnist_mlp.ports.pair import PairRows
from mnist_mlp.reference import Array


class Fed(Dataset[Any]):
    """Rows one by one, as a loader of the user's would give them."""

    def __init__(self, rows: PairRows, tensor: Callable[[Array], Tensor]) -> None:
        self.x, self.y = each(tensor, rows.x), each(tensor, rows.y)
        self.flat, self.count = rows.flat, rows.count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        x, y = (each(lambda a: a[index], given) for given in (self.x, self.y))
        return (*arrays_of(x), *arrays_of(y)) if self.flat else (x, y)


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
