"""Random draws of a torch step: recorded where torch draws them, or given by the other side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mnist_mlp.ports.pair import Draw, Planned, laid_out
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
                keep = laid_out(given.keep, result.shape, channels_last=False)
                if keep is not None:
                    result.copy_(torch.from_numpy(keep.copy()))
            probability = float(args[1] if len(args) > 1 else (kwargs or {}).get("p", 0.5))
            self.seen.append(Draw(to_array(result) != 0, probability, self.source))
        return result
