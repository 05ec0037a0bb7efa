"""Random draws of a torch step: recorded where torch draws them, or given by the other side."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mnist_mlp.ports.draws import Draw, Planned
from mnist_mlp_torch.port.layers import to_array

_BERNOULLI = (torch.ops.aten.bernoulli_.float, torch.ops.aten.bernoulli.p)

_STANDARD = ("aten::randn", "aten::randn_like")
"""Operations that draw normal numbers of mean 0 and deviation 1."""

_NORMAL = ("aten::normal", "aten::normal_", "aten::normal_functional")
"""Those that are given a mean and a deviation."""


class Draws(TorchDispatchMode):
    """Records every draw while it is on; those that are given are used, if they fit.

    `source` is the number of the layer whose result is dropped of. Every dropout of
    torch, and of users who follow it, draws with `bernoulli`, and noise with normal numbers. What
    draws otherwise is `unseen`.
    """

    def __init__(self, given: Sequence[Draw] = ()) -> None:
        super().__init__()
        self.given = Planned(given, channels_last=False)
        self.source: int | None = None
        self.seen: list[Draw] = []
        self._others: dict[str, None] = {}
        self._elsewhere = _elsewhere()

    @property
    def unseen(self) -> tuple[str, ...]:
        """What drew numbers that are not recorded, since these began."""
        moved = [name for name, state in _elsewhere().items() if state != self._elsewhere.get(name)]
        return (*self._others, *moved)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name
        if func in _BERNOULLI:
            keep = self.given.next(self.source, result.shape)
            if keep is not None:
                result.copy_(torch.from_numpy(keep.copy()))
            probability = float(args[1] if len(args) > 1 else (kwargs or {}).get("p", 0.5))
            kept = to_array(result) != 0
            self.seen.append(Draw(kept, probability, self.source, channels_last=False))
        elif name in _STANDARD or name in _NORMAL:
            self._normal(result, *_moments(func, args, kwargs or {}))
        elif torch.Tag.nondeterministic_seeded in func.tags:
            self._others[name.removeprefix("aten::")] = None
        return result

    def _normal(self, result: Tensor, mean: Any, deviation: Any) -> None:
        given = self.given.next(self.source, result.shape, normal=True)
        if given is not None:
            made = torch.from_numpy(given.copy()).to(result.dtype)
            result.copy_(made * deviation + mean)
        drawn = (result - mean) / deviation
        numbers = to_array(drawn).astype(np.float64)
        self.seen.append(Draw(numbers, 1.0, self.source, normal=True, channels_last=False))


def _moments(func: Any, args: Sequence[Any], given: Any) -> tuple[Any, Any]:
    """Mean and deviation of the numbers that an operation draws."""
    if func._schema.name in _STANDARD:
        return 0.0, 1.0
    names: Iterable[str] = [argument.name for argument in func._schema.arguments]
    bound = {**dict(zip(names, args, strict=False)), **given}
    return bound.get("mean", 0.0), bound.get("std", 1.0)


def _elsewhere() -> dict[str, str]:
    """The states of generators that are not torch's."""
    numbers: Any = np.random.get_state()  # noqa: NPY002 - the one that users' code draws from
    return {
        "numpy.random": f"{hash(numbers[1].tobytes())} {numbers[2:]}",
        "random": str(hash(random.getstate())),
    }
