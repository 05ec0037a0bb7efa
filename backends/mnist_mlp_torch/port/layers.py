"""The layers of a user's module, in order of execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torchmetrics import Metric, MetricCollection

from mnist_mlp.contract import Array
from mnist_mlp.ports.lines import UserLine, line_of
from mnist_mlp.ports.protocol import PortLayer
from mnist_mlp_torch.port.functions import Called, Functions
from mnist_mlp_torch.port.lines import of_call
from mnist_mlp_torch.port.products import Product, Products


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

    `weight` and `bias` are its parameters' full names (`bias` is empty where there is none);
    `inputs_first` says that the weight is `(inputs, units)`, which a user's own layer may have.
    """

    path: str
    weight: str
    bias: str
    inputs_first: bool
    inputs: int
    units: int
    product: bool = False
    """Whether no module does it, but the user's code: `path` is then the weight's name."""

    def parameter(self, root: nn.Module, name: str) -> Any:
        """The weight or the bias; None for a bias that is not there."""
        owner, _, attribute = name.rpartition(".")
        return getattr(root.get_submodule(owner), attribute) if name else None

    def canonical(self, tensor: Tensor) -> Array:
        """Something shaped like the weight as a kernel `(inputs, units)`."""
        array = to_array(tensor)
        return array if self.inputs_first else np.ascontiguousarray(array.T)


class Watch:
    """Leaf modules in the order in which they are run, while this is on; matrix products that the
    user's code makes of parameters without a module; and functions that do a layer's work."""

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.seen: dict[str, nn.Module] = {}
        self.dense: dict[str, Dense] = {}
        self.losses: list[str] = []
        self.loss_line: UserLine | None = None
        self.activations: dict[str, UserLine] = {}
        """Calls of functions behind dense layers, the first behind each, by the layer's number."""
        self._settings: dict[str, dict[str, float]] = {}
        self._products: dict[str, Product] = {}
        self._functions: dict[str, PortLayer] = {}
        self._calls: list[str] = []
        """What was run, in order: paths, names of weights, keys of `_functions`."""
        self._statistics: list[int] = []
        """How many of the calls had been made each time a mean or a variance was taken."""
        self._inside = 0  # modules of torch's own that are running
        self._modes = (
            Functions(self._called),
            Products(dict(root.named_parameters()), self._multiplied),
        )
        for mode in self._modes:
            mode.__enter__()
        leaves = [
            (path, module)
            for path, module in root.named_modules()
            if path and not list(module.children()) and not is_metric(path, root)
        ]
        self._hooks = [
            hook
            for path, module in leaves
            for hook in (
                module.register_forward_pre_hook(self._enter),
                module.register_forward_hook(self._note(path)),
            )
        ]

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        del inputs
        self._inside += is_native(module)

    def _note(self, path: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self._inside -= is_native(module)
            self._calls.append(path)
            self._settings.setdefault(path, settings_of(module))
            if isinstance(module, nn.modules.loss._Loss):
                self.loss_line = line_of(module)
            if path not in self.seen:
                self.seen[path] = module
                layer = dense_layer(path, module, inputs, output)
                if layer is not None:
                    self.dense[path] = layer

        return note

    def _multiplied(self, product: Product) -> None:
        if self._calls[-1:] != [product.weight]:  # a bias that is added later is told once more
            self._calls.append(product.weight)
        if product.weight not in self._products or product.bias:
            self._products[product.weight] = product

    def _called(self, function: Called) -> None:
        if self._inside:  # the module is what is noted
            return
        if function.is_loss:
            self.losses.append(function.name)
            self.loss_line = of_call(None)
        elif function.is_activation:
            behind = sum(key in self.dense for key in dict.fromkeys(self._calls)) - 1
            if (line := of_call(None)) is not None:
                self.activations.setdefault(f"activation {behind}", line)
        elif function.is_statistic:
            self._statistics.append(len(self._calls))
        else:
            name = f"functional.{function.name}"
            layer = PortLayer(
                name=name, kind=function.name, settings=function.settings, line=of_call(None)
            )
            self._functions[f"{name} {len(self._functions)}"] = layer
            self._calls.append(list(self._functions)[-1])

    @property
    def statistics(self) -> bool:
        """Whether the user's code took means or variances before the last dense layer."""
        keys = {*self.dense, *(layer.weight for layer in self.dense.values())}
        last = max((at for at, key in enumerate(self._first_pass()) if key in keys), default=-1)
        return any(calls <= last for calls in self._statistics)

    def _first_pass(self) -> list[str]:
        """What was run before any dense layer was run again."""
        seen: set[str] = set()
        for at, key in enumerate(self._calls):
            if key in self.dense and key in seen:
                return self._calls[:at]
            seen.add(key)
        return self._calls

    def stop(self) -> None:
        """Take the hooks off."""
        for mode in reversed(self._modes):
            mode.__exit__(None, None, None)
        for hook in self._hooks:
            hook.remove()
        self._without_module()

    def _without_module(self) -> None:
        """Put products among the layers, in the order in which weights were used."""
        by_weight = {layer.weight: path for path, layer in self.dense.items()}
        found, container = dict[str, Dense](), set[str]()
        for weight, product in self._products.items():
            path = by_weight.get(weight)
            if path is not None and bool(self.dense[path].bias) is bool(product.bias):
                found[path] = self.dense[path]
                continue
            container |= {name.rpartition(".")[0] for name in (weight, product.bias) if name}
            found[weight] = Dense(
                weight,
                weight,
                product.bias,
                inputs_first=product.inputs_first,
                inputs=product.x.shape[1],
                units=product.z.shape[1],
                product=True,
            )
        used = {layer.weight for layer in found.values()}
        self.dense = found | {p: d for p, d in self.dense.items() if d.weight not in used}
        for owner in container & self.seen.keys():  # its parameters are layers of their own
            del self.seen[owner]

    def layers(self) -> tuple[PortLayer, ...]:
        """For the facts: each module and product once, but what has settings each time."""
        one_pass = len(self._first_pass())
        result: list[PortLayer] = []
        noted: set[str] = set()
        for at, key in enumerate(self._calls):
            layer = self._layer(key)
            if layer is not None and (key not in noted or (layer.settings and at < one_pass)):
                result.append(layer)
                noted.add(key)
        return tuple(result)

    def _layer(self, key: str) -> PortLayer | None:
        own = self.dense.get(key)
        if own is not None and own.product:
            weight = own.parameter(self.root, own.weight)
            return PortLayer(
                name=key,
                kind="product",
                inputs=own.inputs,
                units=own.units,
                bias=bool(own.bias),
                parameters=weight.numel() + (own.units if own.bias else 0),
                dtype=str(weight.dtype).removeprefix("torch."),
            )
        if key in self.seen:
            return module_layer(key, self.seen[key], own, settings=self._settings[key])
        return self._functions.get(key)


def is_native(module: nn.Module) -> bool:
    """Whether a module's class is torch's own."""
    return type(module).__module__.startswith("torch.")


def module_layer(
    path: str, module: nn.Module, own: Dense | None, *, settings: dict[str, float]
) -> PortLayer:
    """A leaf module; `own` says what it does where it is a dense layer."""
    parameters = list(module.parameters(recurse=False))
    return PortLayer(
        name=path,
        kind=type(module).__name__,
        inputs=own.inputs if own else None,
        units=own.units if own else None,
        bias=bool(own.bias) if own else True,
        parameters=sum(p.numel() for p in parameters if not isinstance(p, UninitializedParameter)),
        dtype=str(parameters[0].dtype).removeprefix("torch.") if parameters else "",
        settings=settings,
        native=is_native(module),
        line=line_of(module),
    )


def settings_of(module: nn.Module) -> dict[str, float]:
    """Rate of a dropout as it is now; epsilon and momentum of a normalisation, in Keras's terms."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return {"rate": float(module.p) if module.training else 0.0}
    settings = {}
    if isinstance(eps := getattr(module, "eps", None), float) and is_native(module):
        settings["epsilon"] = eps
        if isinstance(momentum := getattr(module, "momentum", None), float):
            settings["momentum"] = 1 - momentum  # Keras names the weight of the old statistics
    return settings


def is_metric(path: str, root: nn.Module) -> bool:
    """A torchmetrics metric, or part of one, is no layer."""
    parts = path.split(".")
    parents = (".".join(parts[: n + 1]) for n in range(len(parts)))
    return any(isinstance(root.get_submodule(p), Metric | MetricCollection) for p in parents)


def dense_layer(path: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Dense | None:
    """A `Linear`, or a user's own layer that does what one does with one matrix of its own."""
    if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:
        if not isinstance(module.weight, nn.Parameter):
            return None  # pruned, or parametrised some other way: it has no weight of its own
        return Dense(
            path,
            f"{path}.weight",
            f"{path}.bias" if module.bias is not None else "",
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
                names = f"{path}.{matrices[0]}", f"{path}.{bias}" if bias else ""
                return Dense(path, *names, inputs_first=inputs_first, **sizes)
    return None


def _two_dimensional(x: Any, output: Any) -> bool:
    return all(isinstance(t, Tensor) and t.ndim == 2 and t.is_floating_point() for t in (x, output))
