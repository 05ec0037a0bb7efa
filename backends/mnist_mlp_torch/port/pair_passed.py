"""Functions of torch that are no layer's work: changes of shape, and merging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mnist_mlp.ports.pair import Passed
from mnist_mlp_torch.port.lines import of_call

if TYPE_CHECKING:
    from mnist_mlp_torch.port.pair_observer import Observer

_KINDS = {
    "flatten": "flatten",
    "view": "reshape",
    "reshape": "reshape",
    "unflatten": "reshape",
    "squeeze": "reshape",
    "unsqueeze": "reshape",
    "permute": "permute",
    "transpose": "permute",
    "movedim": "permute",
    "cat": "concatenate",
    "concat": "concatenate",
    "concatenate": "concatenate",
    "add": "add",
    "__add__": "add",
    "__iadd__": "add",
    "add_": "add",
    "mul": "multiply",
    "__mul__": "multiply",
    "__imul__": "multiply",
    "mul_": "multiply",
}
"""Names that Keras's layers have too, by function."""

FUNCTIONS = {
    function: (name, kind)
    for name, kind in _KINDS.items()
    for owner in (torch, Tensor)
    if callable(function := getattr(owner, name, None))
}

_MERGING = ("add", "multiply")

_SHAPING = (nn.Flatten, nn.Unflatten)
"""Modules of torch whose work this is; within all others it is no concern of the user's."""


def passed_by(observer: Observer) -> list[Passed]:
    """What ran between the layers of a step, in its order; padding by a function is among it."""
    pads = (
        Passed(
            *(layer.number, layer.name, "pad", observer.shapes.get(layer.number, ())),
            layer.settings,
            layer.line,
        )
        for layer in observer.layers
        if layer.kind == "pad"
    )
    return sorted((*pads, *observer.passed), key=lambda each: each.after)


def passed_of(
    function: Any,
    args: Sequence[Any],
    result: Any,
    *,
    running: Sequence[Any],
    path: str,
    after: int,
) -> Passed | None:
    """What a call in a module of the user's passes on, if it is one of these.

    `running` are the modules that it stands in, `path` the name of the innermost.
    """
    if function not in FUNCTIONS or not running or not isinstance(result, Tensor):
        return None
    inner = running[-1]
    native = type(inner).__module__.partition(".")[0] in ("torch", "torchmetrics")
    if (native and not isinstance(inner, _SHAPING)) or result.dim() < 2:
        return None
    name, kind = FUNCTIONS[function]
    if kind in _MERGING and not _merges(args):
        return None
    if isinstance(args[0], Tensor) and kind not in _MERGING:
        before = args[0].shape
        if before == result.shape and kind == "reshape":
            return None
        if kind == "reshape" and result.dim() == 2 and len(before) > 2 and before[0] == len(result):
            kind = "flatten"
    return Passed(
        after,
        f"{path}: {name}" if path else name,
        kind,
        tuple(result.shape[1:]),
        {},
        of_call(inner),
    )


def _merges(args: Sequence[Any]) -> bool:
    """Whether two results are put together, and not a number or a bias added to one."""
    tensors = [x for x in args if isinstance(x, Tensor)]
    return (
        len(tensors) > 1
        and tensors[0].shape == tensors[1].shape
        and not any(isinstance(x, nn.Parameter) for x in tensors)
    )
