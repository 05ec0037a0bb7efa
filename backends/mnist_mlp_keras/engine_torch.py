"""All calls to torch, as an engine of Keras: see `engines`.

Keras has its own training loop here, and no compiled one. Lightning is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import torch

from mnist_mlp.contract import Runtime

# By default torch's softplus is linear above 20, an error of 2e-9: visible in float64.
ACTIVATIONS: Mapping[str, Any] = {"softplus": partial(torch.nn.functional.softplus, threshold=40)}

JIT_COMPILE = False


def versions() -> Mapping[str, str]:
    """Versions by distribution name."""
    return {"keras": keras.__version__, "torch": str(torch.__version__)}


def gpus() -> tuple[str, ...]:
    """None: this engine computes on the CPU."""
    return ()


def configure(runtime: Runtime) -> Mapping[str, Any]:
    """Set threads; float32 is float32 throughout on a CPU."""
    torch.set_num_threads(runtime.threads)
    if torch.get_num_interop_threads() != 1:  # torch raises an error if it is set twice
        torch.set_num_interop_threads(1)
    return {"tf32": False}


def gradients(
    loss: Callable[[], tuple[Any, Any]], variables: Sequence[Any]
) -> tuple[Any, Any, list[Any]]:
    """Both results of `loss()`, and the gradient of the first for each Keras variable."""
    value, recorded = loss()
    return value, recorded, list(torch.autograd.grad(value, [each.value for each in variables]))


def batches(elements: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """The elements: Keras takes a generator as it is."""
    return elements()
