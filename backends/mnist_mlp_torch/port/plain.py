"""A plain `nn.Module` with the loss and the optimizer of a training loop, as a LightningModule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch
import torch

from mnist_mlp.errors import UsageError
from mnist_mlp_torch.port.pair_inputs import called, split

KEYS = ("loss", "optimizer")
"""What stands beside a plain module in a dictionary."""


class Plain(lightning.pytorch.LightningModule):
    """One batch of the loop is `loss(module(x), y)`, its gradient, and a step of the optimizer."""

    def __init__(self, module: torch.nn.Module, loss: Any, optimizer: Any) -> None:
        super().__init__()
        self.module = module
        self.loss = loss
        self.made_by_user = optimizer
        self.inputs: int | None = None
        """How many parts of a batch are inputs; all but the last where nobody has said."""

    def forward(self, x: Any) -> Any:
        """The module's own, of one input or several."""
        return called(self.module, x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss of a batch."""
        del batch_idx
        x, y = split(self.module, batch, inputs=self.inputs)
        return self.loss(called(self.module, x), y)

    def configure_optimizers(self) -> Any:
        """The user's, or what the user's function makes for the module's parameters."""
        optimizer = self.made_by_user
        if isinstance(optimizer, torch.optim.Optimizer):
            return optimizer
        return optimizer(self.module.parameters())


def is_plain(given: Mapping[str, Any]) -> bool:
    """Whether a dictionary has a loss or an optimizer beside its module."""
    return any(key in given for key in KEYS)


def plain(given: Mapping[str, Any], *, target: str) -> Plain:
    """The module of such a dictionary; `module` and `loss` may be classes or functions.

    Raises
    ------
    UsageError
        One of the three is missing, or the module is none.
    """
    missing = [key for key in ("module", *KEYS) if given.get(key) is None]
    if missing:
        raise UsageError(
            f"{target}: no {missing[0]!r}; a plain module needs 'module', 'loss' and 'optimizer', "
            f"an optimizer or a function of the parameters"
        )
    module, loss = given["module"], given["loss"]
    if not isinstance(module, torch.nn.Module) and callable(module):
        module = module()
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"{target}: 'module' is a {type(module).__name__}, not an nn.Module")
    return Plain(module, loss() if isinstance(loss, type) else loss, given["optimizer"])
