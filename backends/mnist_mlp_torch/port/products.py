"""Layers without a module: matrix products with a parameter that the user's code makes itself.

`F.linear(x, self.weight, self.bias)`, `x @ self.w1 + self.b1`, `torch.einsum("bi,io->bo", x, w)`
do what a dense layer does, but no hook of a module sees it. A function mode does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_PRODUCTS = {
    functional.linear,
    torch.addmm,
    torch.einsum,
    torch.matmul,
    torch.mm,
    Tensor.addmm,
    Tensor.matmul,
    Tensor.mm,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
}
_SUMS = {torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__}


@dataclass(frozen=True, eq=False)
class Product:
    """`z = x @ matrix + bias`, with the matrix a parameter or its transpose (`inputs_first` says
    which), by the parameters' names; `bias` is empty where there is none."""

    weight: str
    bias: str
    inputs_first: bool
    x: Tensor
    z: Tensor


class Products(TorchFunctionMode):
    """Tells of every product with one of some parameters, while it is on.

    A bias may be added later: `tell` then hears of the same weight once more, with the sum.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], tell: Callable[[Product], None]):
        super().__init__()
        self._names = {id(p): name for name, p in parameters.items()}
        self._tell = tell
        self._last: Product | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _PRODUCTS:
            self._product(result, [*_tensors(args), *_tensors((kwargs or {}).values())])
        elif func in _SUMS and self._last is not None:
            self._sum(result, _tensors(args))
        return result

    def _product(self, z: Any, operands: list[Tensor]) -> None:
        named = [(t, self._name_of(t)) for t in operands]
        matrices = [(t, name) for t, name in named if name and t.ndim == 2 and min(t.shape) > 1]
        inputs = [t for t, name in named if not name and t.ndim == 2]
        if len(matrices) != 1 or len(inputs) != 1 or not isinstance(z, Tensor) or z.ndim != 2:
            return
        (matrix, weight), x = matrices[0], inputs[0]
        first = _inputs_first(x, self._parameter(matrix), z)
        if first is None:
            return
        bias = next((n for t, n in named if n and t is not matrix and _is_bias(t, z)), "")
        self._heard(Product(weight, bias, first, x, z))

    def _sum(self, z: Any, operands: list[Tensor]) -> None:
        last = self._last
        if last is None or last.bias or not any(t is last.z for t in operands):
            return
        for tensor in operands:
            name = self._name_of(tensor)
            if name and _is_bias(tensor, last.z):
                self._heard(Product(last.weight, name, last.inputs_first, last.x, z))
                return

    def _heard(self, product: Product) -> None:
        self._last = product
        self._tell(product)

    @staticmethod
    def _parameter(tensor: Tensor) -> Tensor:
        return tensor if tensor._base is None else tensor._base

    def _name_of(self, tensor: Tensor) -> str:
        """A parameter's name, also by way of a view such as its transpose."""
        return self._names.get(id(tensor)) or self._names.get(id(self._parameter(tensor)), "")


def _is_bias(tensor: Tensor, z: Tensor) -> bool:
    """One number a unit: `(units,)` or `(1, units)`."""
    return tensor.numel() == z.shape[1] and tensor.shape[-1] == z.shape[1]


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _tensors(value)
    return found


def _inputs_first(x: Tensor, parameter: Tensor, z: Tensor) -> bool | None:
    """Whether a product's parameter lies as (inputs, units); None if it is no such product."""
    shape = (x.shape[1], z.shape[1])
    ways = [
        first
        for first, own in ((True, parameter.shape), (False, parameter.shape[::-1]))
        if tuple(own) == shape and x.shape[0] == z.shape[0]
    ]
    if len(ways) < 2:
        return ways[0] if ways else None
    with torch._C.DisableTorchFunction(), torch.no_grad():
        gaps = [float((x @ m - z).abs().mean()) for m in (parameter, parameter.T)]
    return gaps[0] <= gaps[1]
