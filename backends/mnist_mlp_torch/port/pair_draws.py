"""Random draws of a torch step: recorded where torch draws them, or given by the other side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mnist_mlp.ports.pair import Draw, Planned
from mnist_mlp.reference import Array
from mnist_mlp_torch.port.layers import to_array

_BERNOULLI = (torch.ops.aten.bernoulli_.float, torch.ops.aten.bernoulli.p)


class Draws(TorchDispatchMode):
    """Records every draw for a dropout while it is on; those that are given are used, if they fit.

    `source` is the number of the layer whose result is dropped of. Every dropout of
    torch, and of users who follow it, draws with `bernoulli`.
    """

    def __init__(self, given: Sequence[Draw] = ()) -> None:
        super().__init__()
        self.given = Planned(given)
        self.source: int | None = None
        self.seen: list[Draw] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _BERNOULLI:
            given = self.given.next(self.source)
            if given is not None:
                keep = _laid_out(given.keep, result.shape)
                if keep is not None:
                    result.copy_(keep)
            probability = float(args[1] if len(args) > 1 else (kwargs or {}).get("p", 0.5))
            self.seen.append(Draw(to_array(result) != 0, probability, self.source))
        return result


def _laid_out(keep: Array, shape: Sequence[int]) -> Tensor | None:
    """The same elements in another order of the axes: images are channels first in torch."""
    if keep.shape == tuple(shape):
        return torch.from_numpy(keep)
    last_first = (0, keep.ndim - 1, *range(1, keep.ndim - 1))
    for order in (last_first, *permutations(range(keep.ndim))):
        if len(order) == keep.ndim and tuple(keep.shape[i] for i in order) == tuple(shape):
            return torch.from_numpy(keep.transpose(order).copy())
    plain = tuple(n for n in shape if n != 1)
    squeezed = keep.squeeze()
    if (squeezed.shape, plain) == (keep.shape, tuple(shape)) or keep.size != prod(shape):
        return None
    inner = _laid_out(squeezed, plain)  # one side has an axis of length 1 more
    return None if inner is None else inner.reshape(tuple(shape))
