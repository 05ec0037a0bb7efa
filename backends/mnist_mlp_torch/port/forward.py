"""Catching what goes into each dense layer and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnist_mlp.contract import Array
from mnist_mlp_torch.port.layers import Dense, to_array
from mnist_mlp_torch.port.products import Product, Products

Caught = tuple[Tensor, Tensor]


class ForwardTaker:
    """Hooks on the dense layers of a module.

    Of each batch it keeps the first pass, or the first that is recorded for a gradient (a user's
    `training_step` may run the network again, for a metric); of a batch that is run in pieces, the
    pieces. Only the last layer's output is kept of batches that are not judged.
    """

    def __init__(self, root: nn.Module, layers: Sequence[Dense]) -> None:
        self.count = len(layers)
        self._caught: dict[int, list[Caught]] = {}
        self._with_gradient: set[int] = set()
        self._rows = 0
        self._on = False
        self._judged = False
        self._hooks = [
            root.get_submodule(layer.path).register_forward_hook(
                self._keep(index), with_kwargs=True
            )
            for index, layer in enumerate(layers)
            if not layer.product
        ]
        self._products = {
            layer.weight: (index, layer) for index, layer in enumerate(layers) if layer.product
        }
        self._mode: Products | None = None
        self._root = root

    def close(self) -> None:
        """Take the hooks off."""
        self.stop()
        for hook in self._hooks:
            hook.remove()

    def start(self, *, judged: bool, rows: int) -> None:
        """A new batch of so many rows."""
        self._caught, self._with_gradient, self._rows = {}, set(), rows
        self._on, self._judged = True, judged
        if self._products and self._mode is None:
            parameters = dict(self._root.named_parameters())
            self._mode = Products(parameters, self._multiplied)
            self._mode.__enter__()

    def stop(self) -> None:
        """The batch is over; what runs until the next one is not its forward pass."""
        self._on = False
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None

    def _multiplied(self, product: Product) -> None:
        index, layer = self._products.get(product.weight, (-1, None))
        if layer is not None and bool(product.bias) is bool(layer.bias):
            self._take(index, product.x, product.z)

    def _keep(self, index: int) -> Callable[..., None]:
        def keep(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], z: Any) -> None:
            if isinstance(z, Tensor):
                self._take(index, inputs[0] if inputs else next(iter(named.values())), z)

        return keep

    def _take(self, index: int, x: Tensor, z: Tensor) -> None:
        last = index == self.count - 1
        if not self._on or not (self._judged or last):
            return
        gradient = torch.is_grad_enabled()
        with torch._C.DisableTorchFunction():
            # Copies: an activation may work in place.
            piece = _rows(x) if self._judged else z.detach()[:0], _rows(z)
        pieces = self._caught.get(index, [])
        if gradient and index not in self._with_gradient:
            pieces = []
        seen = sum(len(own) for _, own in pieces)
        other = gradient is not (index in self._with_gradient)
        if pieces and (other or seen + len(piece[1]) > self._rows):
            return
        self._caught[index] = [*pieces, piece]
        if gradient:
            self._with_gradient.add(index)

    @property
    def logits(self) -> Array | None:
        """Output of the last dense layer (n, classes)."""
        caught = self._caught.get(self.count - 1)
        return None if caught is None else to_array(_joined(caught)[1])

    def stages(self) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        """Of a judged batch: inputs, pre-activations, activations. What did not run is empty."""
        nothing = torch.zeros((0, 0))
        caught = [_joined(self._caught.get(i, [(nothing, nothing)])) for i in range(self.count)]
        entered = [to_array(x) for x, _ in caught]
        return entered[0], tuple(to_array(z) for _, z in caught), tuple(entered[1:])


def _joined(pieces: Sequence[Caught]) -> Caught:
    return torch.cat([x for x, _ in pieces]), torch.cat([z for _, z in pieces])


def _rows(tensor: Tensor) -> Tensor:
    """As (n, width), copied."""
    return tensor.detach().reshape(-1, tensor.shape[-1]).clone()
