"""Loss and gradients of a batch, as autograd recorded them once.

On a network this small, building the graph of a batch and walking back through it takes autograd
about as long as half of the arithmetic does, and it is the same graph for every batch. So it is
traced once, down to the operators that autograd calls, and these are called again for each batch:
the same operators on the same numbers, hence the same bits. Nothing is derived by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph import CodeGen
from torch.nn import functional


def trace_gradient(
    module: nn.Module, x: Tensor, y: Tensor
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A function of a batch: its logits (n, classes) and mean loss; it sets every `.grad`.

    For batches of the shape of `x` (n, inputs) and `y` (n,) alone; parameters may change in value.
    """
    parameters = dict(module.named_parameters())

    def differentiated(x: Tensor, y: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(parameters, values, strict=True))
        logits = functional_call(module, named, (x,))
        loss = functional.cross_entropy(logits, y)
        return (logits, loss, *torch.autograd.grad(loss, values))

    traced: Any = make_fx(differentiated)(x, y, *parameters.values())
    traced.graph.set_codegen(CodeGen())  # plain arguments: nothing to pack and unpack per call
    traced.recompile()
    forward = traced.forward  # past `Module.__call__`, which looks for hooks
    values = [parameter.detach() for parameter in parameters.values()]

    def gradient(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits, loss, *gradients = forward(x, y, *values)
        for parameter, value in zip(parameters.values(), gradients, strict=True):
            parameter.grad = value
        return logits, loss

    return gradient
