"""Loss and gradients of a batch, by a trace of autograd that is recorded once.

For a network this small, autograd needs about half the time of the arithmetic to build the graph of
a batch and to walk back through it, and the graph is the same for every batch. So the graph is
traced once, down to the operators that autograd calls. These operators are then called directly for
each batch. No derivative is written by hand.

Only large float32 products on a CPU are computed in another way. Eager torch uses MKL for them,
which takes twice as long as oneDNN on the AMD processor measured; `torch.compile` uses oneDNN too.
The choice depends only on the shape of a product, so that a run repeats itself bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph import CodeGen, Graph
from torch.nn import functional

_LARGE = 1 << 22
"""Number of multiplications from which on oneDNN computes a matrix product faster than MKL."""


class TracedGradient:
    """The gradient of a batch's mean cross-entropy.

    It works only for batches of the same shape as `x` (n, inputs) and `y` (n,). The values of the
    parameters may change. `onednn_products` counts the products of a step that oneDNN computes.
    """

    def __init__(self, module: nn.Module, x: Tensor, y: Tensor) -> None:
        names, self._parameters = zip(*module.named_parameters(), strict=True)

        def differentiated(x: Tensor, y: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            logits = functional_call(module, dict(zip(names, values, strict=True)), (x,))
            loss = functional.cross_entropy(logits, y)
            return (logits, loss, *torch.autograd.grad(loss, values))

        self._values = [parameter.detach() for parameter in self._parameters]
        self._traced, self.onednn_products = _traced(differentiated, x, y, *self._parameters)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and mean loss, and set `.grad` of every parameter."""
        logits, loss, *gradients = self._traced(x, y, *self._values)
        for parameter, value in zip(self._parameters, gradients, strict=True):
            parameter.grad = value
        return logits, loss


def trace_forward(module: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that returns the logits (n, classes) of a batch with the shape of `x`."""
    parameters = dict(module.named_parameters())

    def forward(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(module, dict(zip(parameters, values, strict=True)), (x,))

    values = [parameter.detach() for parameter in parameters.values()]
    traced, _ = _traced(forward, x, *values)
    return lambda x: traced(x, *values)


def _traced(function: Callable[..., Any], *example: Tensor) -> tuple[Callable[..., Any], int]:
    """A traced function for tensors of these shapes, and how many products oneDNN computes."""
    traced: Any = make_fx(function)(*example)
    _drop_identities(traced.graph)
    given = _give_to_onednn(traced.graph) if _onednn_serves(example[0]) else 0
    # With torch's default, arguments are packed and unpacked in each call.
    traced.graph.set_codegen(CodeGen())
    traced.recompile()
    return traced.forward, given  # not `Module.__call__`, which would look for hooks


def _drop_identities(graph: Graph) -> None:
    """Remove operators without an effect: aliases, and transposes of transposes."""
    aten = torch.ops.aten
    for node in list(graph.nodes):
        source: Any = node.args[0] if node.args else None
        if node.target is aten.alias.default:
            node.replace_all_uses_with(source)
        elif node.target is aten.t.default and source.target is aten.t.default:
            node.replace_all_uses_with(source.args[0])
    graph.eliminate_dead_code()


def _onednn_serves(x: Tensor) -> bool:
    """Whether this version of torch can compute products of such numbers with oneDNN."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return there and x.device.type == "cpu" and x.dtype == torch.float32


def _give_to_onednn(graph: Graph) -> int:
    """Replace the large products `a @ b` and `bias + a @ b`; returns their number.

    oneDNN's linear layer takes `b.T`.
    """
    aten, given = torch.ops.aten, 0
    for node in list(graph.nodes):
        if node.kwargs or node.target not in (aten.mm.default, aten.addmm.default):
            continue
        *bias, a, b = node.args
        if a.meta["val"].numel() * b.meta["val"].shape[1] < _LARGE:
            continue
        with graph.inserting_before(node):
            is_transpose = b.target is aten.t.default
            transposed = b.args[0] if is_transpose else graph.call_function(aten.t.default, (b,))
            product = graph.call_function(
                torch.ops.mkldnn._linear_pointwise.default,
                (a, transposed, bias[0] if bias else None, "none", [], ""),
            )
        product.meta = dict(node.meta)
        node.replace_all_uses_with(product)
        graph.erase_node(node)
        given += 1
    graph.eliminate_dead_code()
    return given
