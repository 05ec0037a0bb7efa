"""The layers of a user's module, in order of execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from mnist_mlp.contract import Array
from mnist_mlp.ports import PortLayer


def to_array(tensor: Tensor) -> Array:
    """A copy in the tensor's own precision; 16-bit floats as float32, which loses nothing."""
    tensor = tensor.detach().cpu()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    array: Array = tensor.numpy().copy()
    return array


@dataclass(frozen=True)
class Dense:
    """A dense layer by its path in the module.

    `weight` and `bias` name its parameters (`bias` is empty where there is none); `inputs_first`
    says that the weight is `(inputs, units)`, which a user's own layer may have.
    """

    path: str
    weight: str
    bias: str
    inputs_first: bool
    inputs: int
    units: int

    def module(self, root: nn.Module) -> Any:
        """The layer itself."""
        return root.get_submodule(self.path)

    def canonical(self, tensor: Tensor) -> Array:
        """Something shaped like the weight as a kernel `(inputs, units)`."""
        array = to_array(tensor)
        return array if self.inputs_first else np.ascontiguousarray(array.T)


class Watch:
    """Leaf modules in the order in which they are first run, while this is on."""

    def __init__(self, root: nn.Module) -> None:
        self.seen: dict[str, nn.Module] = {}
        self.dense: dict[str, Dense] = {}
        self._hooks = [
            module.register_forward_hook(self._note(path))
            for path, module in root.named_modules()
            if path and not list(module.children()) and not _is_metric(path, root)
        ]

    def _note(self, path: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if path not in self.seen:
                self.seen[path] = module
                layer = dense_layer(path, module, inputs, output)
                if layer is not None:
                    self.dense[path] = layer

        return note

    def stop(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def layers(self) -> tuple[PortLayer, ...]:
        """For the facts."""
        result = []
        for path, module in self.seen.items():
            layer = self.dense.get(path)
            parameters = list(module.parameters(recurse=False))
            result.append(
                PortLayer(
                    name=path,
                    kind=type(module).__name__,
                    inputs=layer.inputs if layer else None,
                    units=layer.units if layer else None,
                    bias=bool(layer.bias) if layer else True,
                    parameters=sum(p.numel() for p in parameters),
                    dtype=str(parameters[0].dtype).removeprefix("torch.") if parameters else "",
                )
            )
        return tuple(result)


def _is_metric(path: str, root: nn.Module) -> bool:
    """A torchmetrics metric, or part of one, is no layer."""
    parts = path.split(".")
    parents = (".".join(parts[: n + 1]) for n in range(len(parts)))
    return any(isinstance(root.get_submodule(p), Metric | MetricCollection) for p in parents)


def dense_layer(path: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Dense | None:
    """A `Linear`, or a user's own layer that does what one does with one matrix of its own."""
    if isinstance(module, nn.Linear):
        return Dense(
            path,
            "weight",
            "bias" if module.bias is not None else "",
            inputs_first=False,
            inputs=module.in_features,
            units=module.out_features,
        )
    own = dict(module.named_parameters(recurse=False))
    matrices = [name for name, p in own.items() if p.ndim == 2]
    vectors = [name for name, p in own.items() if p.ndim == 1]
    x: Any = inputs[0] if inputs else None
    if len(matrices) != 1 or len(vectors) > 1 or not _two_dimensional(x, output):
        return None
    bias = vectors[0] if vectors else ""
    with torch.no_grad():
        w = own[matrices[0]]
        for inputs_first, matrix in ((False, w.T), (True, w)):
            if (x.shape[1], output.shape[1]) != matrix.shape:
                continue
            z = x.to(w.dtype) @ matrix + (own[bias] if bias else 0)
            if torch.allclose(z, output.to(z.dtype), rtol=1e-2, atol=1e-2 * float(z.abs().max())):
                sizes = {"inputs": matrix.shape[0], "units": matrix.shape[1]}
                return Dense(path, matrices[0], bias, inputs_first=inputs_first, **sizes)
    return None


def _two_dimensional(x: Any, output: Any) -> bool:
    return all(isinstance(t, Tensor) and t.ndim == 2 and t.is_floating_point() for t in (x, output))
