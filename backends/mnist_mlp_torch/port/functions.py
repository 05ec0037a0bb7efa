"""Functions of torch that do a layer's work without a module: dropout, normalisation, convolution.

Also those that tell what a step is about: losses, and means and variances of what passes through.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_LAYERS = re.compile(r"dropout|_norm$|normalize|^conv|pool|embedding|attention|interpolate|fold$")
_LOSSES = re.compile(r"_loss$|cross_entropy|^kl_div$")

NAMES = {
    getattr(functional, name): name
    for name in dir(functional)
    if not name.startswith("_") and (_LAYERS.search(name) or _LOSSES.search(name))
}
"""Names by function, in `torch.nn.functional`."""

_ACTIVATIONS = {
    function
    for owner in (functional, torch, Tensor)
    for name in ("relu", "relu_", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid",
                 "tanh", "softplus", "softmax", "log_softmax")
    if (function := getattr(owner, name, None)) is not None
}  # fmt: skip

_STATISTICS = {
    function
    for owner in (torch, Tensor)
    for name in ("mean", "var", "std", "var_mean", "std_mean")
    if (function := getattr(owner, name, None)) is not None
}


@dataclass(frozen=True)
class Called:
    """A function that was called; `settings` in Keras's terms."""

    name: str
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_loss(self) -> bool:
        """Whether it makes a loss."""
        return bool(_LOSSES.search(self.name))

    @property
    def is_activation(self) -> bool:
        """Whether it is an activation."""
        return self.name == "activation"

    @property
    def is_statistic(self) -> bool:
        """Whether it takes a mean or a variance."""
        return self.name == "statistic"


class Functions(TorchFunctionMode):
    """Tells of each such call while it is on; what a called function calls itself is not told."""

    def __init__(self, tell: Callable[[Called], None]) -> None:
        super().__init__()
        self._tell = tell

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = NAMES.get(func)
        if name is not None:
            self._tell(Called(name, _settings(func, args, kwargs or {})))
        elif func in _ACTIVATIONS:
            self._tell(Called("activation"))
        elif func in _STATISTICS:
            self._tell(Called("statistic"))
        return func(*args, **(kwargs or {}))


def _settings(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, float]:
    """The rate of a dropout (0 where it is off), epsilon and momentum of a normalisation."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):  # written in C++
        return {}
    bound.apply_defaults()
    given = bound.arguments
    if "p" in given and "training" in given:
        return {"rate": float(given["p"]) if given["training"] else 0.0}
    settings = {}
    if isinstance(given.get("eps"), float):
        settings["epsilon"] = given["eps"]
        if isinstance(given.get("momentum"), float):
            settings["momentum"] = 1 - given["momentum"]
    return settings


@contextmanager
def passing_by(root: nn.Module, kinds: Sequence[str]) -> Iterator[None]:
    """Let modules and functions of some kinds hand on what they are given, while this lasts."""
    if not kinds:
        yield
        return
    passed = [module for module in root.modules() if type(module).__name__ in kinds]
    for module in passed:
        module.forward = lambda x, *args, **options: x
    try:
        with _PassedBy(kinds):
            yield
    finally:
        for module in passed:
            del module.forward


class _PassedBy(TorchFunctionMode):
    def __init__(self, kinds: Sequence[str]) -> None:
        super().__init__()
        self._kinds = kinds

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if NAMES.get(func) in self._kinds:
            return args[0] if args else next(iter((kwargs or {}).values()))
        return func(*args, **(kwargs or {}))
