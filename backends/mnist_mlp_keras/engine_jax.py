"""All calls to JAX, as an engine of Keras: see `engines`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import keras

from mnist_mlp.contract import Runtime
from mnist_mlp_keras.fast import FastStateless

ACTIVATIONS: Mapping[str, Any] = {}

# Keras's own choice with JAX. Without it, each operation of a step would be compiled by itself.
JIT_COMPILE = True

FAST = FastStateless


def versions() -> Mapping[str, str]:
    """Versions by distribution name."""
    return {"keras": keras.__version__, "jax": jax.__version__}


def gpus() -> tuple[str, ...]:
    """None: this engine computes on the CPU."""
    return ()


def configure(runtime: Runtime) -> Mapping[str, Any]:
    """Set device, threads and float64. Call this before anything runs.

    JAX makes its threads with its first array, and reads these variables then.
    """
    os.environ["NPROC"] = str(runtime.threads)
    one = " --xla_cpu_multi_thread_eigen=false" if runtime.threads == 1 else ""
    if one not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + one
    jax.config.update("jax_platforms", "cpu")
    # Without it, JAX turns every float64 into float32, and only a warning says so.
    jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - JAX's own signature
    return {"tf32": False, "jax_enable_x64": True}


def gradients(
    loss: Callable[[], tuple[Any, Any]], variables: Sequence[Any]
) -> tuple[Any, Any, list[Any]]:
    """Both results of `loss()`, and the gradient of the first for each Keras variable.

    JAX differentiates functions of arguments. Within the scope, the variables have their values.
    """

    def of_values(values: list[Any]) -> tuple[Any, Any]:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return loss()

    values = [each.value for each in variables]
    (value, recorded), gradient = jax.value_and_grad(of_values, has_aux=True)(values)
    return value, recorded, gradient


def batches(elements: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """The elements: Keras takes a generator as it is."""
    return elements()


generated = batches


def validation(series: Any) -> dict[str, Any]:
    """What `Model.fit` is given to validate by one series: arrays of one row.

    Keras would take a generator as exhausted after the first epoch.
    """
    (parts,) = series
    rows = {name: part[None] for name, part in parts.items()}
    return {"validation_data": (rows,), "validation_batch_size": 1}
