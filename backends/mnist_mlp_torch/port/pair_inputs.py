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
        self.x, self.y = each(tensor, rows.x), tensor(rows.y)
        self.flat = rows.flat

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> Any:
        x = each(lambda a: a[index], self.x)
        return (*arrays_of(x), self.y[index]) if self.flat else (x, self.y[index])


def called(module: Any, x: Any) -> Any:
    """A module of inputs as a loader gives them: one by one, by name, or all in one argument."""
    if isinstance(x, Tensor):
        return module(x)
    try:
        known = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return module(x)
    needed = [p for p in known if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if len(needed) < 2 and not any(p.kind is p.VAR_POSITIONAL for p in known):
        return module(x)
    return module(**x) if isinstance(x, Mapping) else module(*x)
