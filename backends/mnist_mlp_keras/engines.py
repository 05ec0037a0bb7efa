"""The engine that Keras runs on. Each has one file, and only that file names the engine.

Those files have the same functions and values for a specification's network:

- `versions()`, by distribution name, and `gpus()`, names of the GPUs that are used;
- `configure(runtime)` sets threads, device and precision, and returns the flags in effect;
- `gradients(loss, variables)` differentiates a function;
- `batches(elements)` is what `Model.fit` takes in place of a function that gives an iterator;
- `ACTIVATIONS` replaces Keras's functions that are too inexact on this engine;
- `JIT_COMPILE` says whether the plain path compiles a step.

With a fast path (`fast`), a file also has the model of it, FAST, and what its `fit` takes of
series: generated for training, validation for the test rows.

A user's own model runs on TensorFlow only, so the rest of its file has no counterpart.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PACKAGE = "mnist_mlp_keras"

MODULES = {
    "tensorflow": f"{PACKAGE}.engine",
    "jax": f"{PACKAGE}.engine_jax",
    "torch": f"{PACKAGE}.engine_torch",
}
"""The file of each engine, by Keras's name for it."""


def start(name: str) -> Any:
    """Import Keras on an engine; returns the engine's module.

    Keras chooses its engine when it is imported, once for each process.
    """
    os.environ["KERAS_BACKEND"] = name
    if name == "tensorflow":  # level 2 hides its own notices
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if name == "torch":  # Keras would take any GPU that torch finds
        os.environ["KERAS_TORCH_DEVICE"] = "cpu"
    if name != "tensorflow":
        # `keras.utils.set_random_seed` imports it on every engine. A process that has imported both
        # TensorFlow and a CUDA build of torch aborts. None stands for a module that is not there.
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
        return importlib.import_module(MODULES[name])
    with _without("jax"):
        return importlib.import_module(MODULES[name])


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Context in which a module is taken for one that is not there, if it is not imported yet.

    Where JAX is installed, TensorFlow Lite and a callback of Keras's import it, and go on without
    it: that takes up to a second and 107 MB, and then each collection of garbage asks JAX, too.
    """
    known = module in sys.modules
    if not known:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if not known:
            del sys.modules[module]


def current() -> Any:
    """The module of the engine that Keras runs on in this process."""
    import keras

    return importlib.import_module(MODULES[keras.config.backend()])


def keep_float64() -> None:
    """Let Keras compute in float64 on every engine, as it does on TensorFlow.

    Elsewhere, Keras takes float32 as the common type of two float64, whatever `floatx` says. Only
    its table of types says so: no argument does.
    """
    from keras.src.backend.common import dtypes

    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"


def import_all(name: str) -> None:
    """Import Keras on an engine, and all modules of this package that can run on it."""
    start(name)
    others = set(MODULES.values()) - {MODULES[name]}
    for module in pkgutil.walk_packages(sys.modules[PACKAGE].__path__, f"{PACKAGE}."):
        of_users = module.name.startswith(f"{PACKAGE}.port")
        if module.name not in others and not (of_users and name != "tensorflow"):
            importlib.import_module(module.name)
