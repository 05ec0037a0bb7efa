"""A user's module as it stands in memory, before anything is put through it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

from torch import nn

from mnist_mlp.ports.protocol import PortDescription, PortLayer
from mnist_mlp_torch.port.functions import NAMES, Called
from mnist_mlp_torch.port.layers import Dense, is_metric, module_layer, settings_of
from mnist_mlp_torch.port.load import Given


def described(given: Given) -> PortDescription:
    """Its leaf modules, each attention, and its losses; a module does not say what it takes."""
    module = given.fresh(seed=0)
    leaves = [
        (path, leaf)
        for path, leaf in module.named_modules()
        if path
        and (not list(leaf.children()) or isinstance(leaf, nn.MultiheadAttention))
        and not is_metric(path, module)
    ]
    losses = [(path, leaf) for path, leaf in leaves if _is_loss(leaf)]
    return PortDescription(
        framework="torch",
        layers=tuple(_layer(path, leaf) for path, leaf in leaves if not _is_loss(leaf)),
        loop=given.loop is not None,
        losses=tuple(dict.fromkeys((*(type(x).__name__ for _, x in losses), *_in_code(module)))),
    )


def _layer(path: str, leaf: nn.Module) -> PortLayer:
    own = None
    if isinstance(leaf, nn.Linear) and leaf.in_features:  # a lazy one does not know its inputs
        sizes = {"inputs": leaf.in_features, "units": leaf.out_features}
        bias = "bias" if leaf.bias is not None else ""
        own = Dense(path, "weight", bias, inputs_first=False, **sizes)
    return module_layer(path, leaf, own, settings=settings_of(leaf))


def _is_loss(leaf: nn.Module) -> bool:
    return isinstance(leaf, nn.modules.loss._Loss)


def _in_code(module: Any) -> list[str]:
    """Losses of torch that the code of the module's class names."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(module))))
    except (OSError, TypeError, SyntaxError):
        return []
    names = (getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree))
    known = {name for name in NAMES.values() if Called(name).is_loss}
    return [name for name in names if name in known]
