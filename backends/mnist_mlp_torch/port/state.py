"""A user's weights and optimizer state as canonical arrays, and the other way round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mnist_mlp.contract import Array, State, Tensors
from mnist_mlp.reference import bias_name, is_kernel, kernel_name
from mnist_mlp_torch.optimizers import SLOTS
from mnist_mlp_torch.port.layers import Dense, to_array

Parameters = Mapping[str, tuple[Dense, Any]]
"""Layer and parameter by canonical name; None for the bias of a layer that has none."""


def parameters_of(root: nn.Module, layers: Sequence[Dense]) -> dict[str, tuple[Dense, Any]]:
    """Parameter by canonical name (None: the layer has no bias)."""
    found: dict[str, tuple[Dense, Any]] = {}
    for index, layer in enumerate(layers):
        found[kernel_name(index)] = layer, layer.parameter(root, layer.weight)
        found[bias_name(index)] = layer, layer.parameter(root, layer.bias)
    return found


def canonical(parameters: Parameters, of: Callable[[Any], Tensor | None]) -> dict[str, Array]:
    """`of(parameter)` by canonical name; zeros where it is None."""
    tensors = {}
    for name, (layer, parameter) in parameters.items():
        value = None if parameter is None else of(parameter)
        if value is None:
            bias = not is_kernel(name)
            tensors[name] = np.zeros(
                (layer.units,) if bias else (layer.inputs, layer.units), np.float32
            )
        else:
            tensors[name] = _array(layer, value, name)
    return tensors


def set_state(parameters: Parameters, optimizers: Sequence[Any], state: State) -> None:
    """Copy the shared weights in, and the shared optimizer state where the optimizer keeps it."""
    set_tensors(parameters, state.weights, lambda parameter: parameter)
    for optimizer in optimizers:
        for slot, tensors in state.slots.items():
            set_tensors(parameters, tensors, _entry(optimizer, SLOTS[slot]))
        if state.slots:
            for _, parameter in parameters.values():
                taken = _entry(optimizer, "step")(parameter)
                if taken is not None and "exp_avg" in optimizer.state[parameter]:
                    taken.fill_(state.step)


def _entry(optimizer: Any, key: str) -> Callable[[Any], Tensor | None]:
    """What an optimizer keeps of a parameter under a key, as far as it does.

    Another author's optimizer may use the same key for something else.
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)
    torchs_own = isinstance(optimizer, torch.optim.SGD | torch.optim.Adam | torch.optim.AdamW)

    def entry(parameter: Any) -> Tensor | None:
        if not torchs_own:
            return None
        value = optimizer.state[parameter].get(key) if parameter in optimizer.state else None
        return value if isinstance(value, Tensor) else None

    return entry


def set_tensors(
    parameters: Parameters,
    tensors: Tensors,
    of: Callable[[Any], Tensor | None],
) -> None:
    """Copy canonical arrays into what belongs to each parameter."""
    with torch.no_grad():
        for name, (layer, parameter) in parameters.items():
            target = None if parameter is None else of(parameter)
            if target is not None and name in tensors:
                array = tensors[name]
                turned = array.T if array.ndim == 2 and not layer.inputs_first else array
                source = torch.from_numpy(np.ascontiguousarray(turned))
                target.copy_(source.reshape(target.shape))


def slots(
    parameters: Parameters, optimizers: Sequence[Any], wanted: Iterable[str]
) -> dict[str, dict[str, Array]]:
    """The optimizer state that the specification knows, where it is kept."""
    result: dict[str, dict[str, Array]] = {}
    for slot in wanted:
        tensors = result[slot] = {}
        for name, (layer, parameter) in parameters.items():
            for optimizer in optimizers:
                value = _entry(optimizer, SLOTS[slot])(parameter)
                if value is not None:
                    tensors[name] = _array(layer, value, name)
    return result


def _array(layer: Dense, value: Tensor, name: str) -> Array:
    return to_array(value).reshape(-1) if not is_kernel(name) else layer.canonical(value)
