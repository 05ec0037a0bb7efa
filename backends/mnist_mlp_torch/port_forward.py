"""Catching what goes into each dense layer and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnist_mlp.contract import Array
from mnist_mlp_torch.port_layers import Dense, to_array

Caught = tuple[Tensor, Tensor]


class ForwardTaker:
    """Hooks on the dense layers of a module.

    Of each batch it keeps the first pass, or the first that is recorded for a gradient (a user's
    `training_step` may run the network again, for a metric). Only the last layer's output is kept
    of batches that are not judged.
    """

    def __init__(self, root: nn.Module, layers: Sequence[Dense]) -> None:
        self.count = len(layers)
        self._caught: dict[int, Caught] = {}
        self._with_gradient: set[int] = set()
        self._on = False
        self._judged = False
        self._hooks = [
            layer.module(root).register_forward_hook(self._keep(index), with_kwargs=True)
            for index, layer in enumerate(layers)
        ]

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def start(self, *, judged: bool) -> None:
        """A new batch."""
        self._caught, self._with_gradient = {}, set()
        self._on, self._judged = True, judged

    def stop(self) -> None:
        """The batch is over; what runs until the next one is not its forward pass."""
        self._on = False

    def _keep(self, index: int) -> Callable[..., None]:
        last = index == self.count - 1

        def keep(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], z: Any) -> None:
            if not self._on or not (self._judged or last) or not isinstance(z, Tensor):
                return
            gradient = torch.is_grad_enabled()
            if index in self._caught and (index in self._with_gradient or not gradient):
                return
            x = inputs[0] if inputs else next(iter(named.values()))
            # Copies: an activation may work in place.
            self._caught[index] = _rows(x) if self._judged else z.detach()[:0], _rows(z)
            if gradient:
                self._with_gradient.add(index)

        return keep

    @property
    def logits(self) -> Array | None:
        """Output of the last dense layer (n, classes)."""
        caught = self._caught.get(self.count - 1)
        return None if caught is None else to_array(caught[1])

    def stages(self) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        """Of a judged batch: inputs, pre-activations, activations. What did not run is empty."""
        nothing = torch.zeros((0, 0))
        caught = [self._caught.get(i, (nothing, nothing)) for i in range(self.count)]
        entered = [to_array(x) for x, _ in caught]
        return entered[0], tuple(to_array(z) for _, z in caught), tuple(entered[1:])


def _rows(tensor: Tensor) -> Tensor:
    """As (n, width), copied."""
    return tensor.detach().reshape(-1, tensor.shape[-1]).clone()
