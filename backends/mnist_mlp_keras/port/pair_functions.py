"""Activations of a Keras model that the user's own code calls as functions: `tf.nn.relu(x)`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Any

import keras

from mnist_mlp.ports.script import patched
from mnist_mlp_keras.engine import modules_of_functions

KINDS = {
    **{name: name for name in (
        "relu", "relu6", "elu", "selu", "gelu", "silu", "leaky_relu", "sigmoid", "tanh", "softmax",
        "log_softmax", "softplus", "softsign", "celu", "mish", "hard_sigmoid", "log_sigmoid",
    )},
    "swish": "silu",
    "hard_silu": "hard_silu",
    "hard_swish": "hard_silu",
}  # fmt: skip
"""Kinds of work by name of the function."""

OUTSIDE = ("keras", "tensorflow", "mnist_mlp_keras")
"""Packages whose own calls are the work of a layer."""

Work = Callable[[Callable[[Any], Any], str, dict[str, Any], Any], Any]
"""`work(own, kind, settings, x)` does the work, and keeps what it saw."""


@contextmanager
def watched_functions(work: Work) -> Iterator[None]:
    """Let calls of activations, in the user's own code, be seen, while this lasts."""
    with ExitStack() as stack:
        for module in modules_of_functions():
            found = {name: getattr(module, name, None) for name in KINDS}
            functions = {name: _seen(own, name, work) for name, own in found.items() if own}
            stack.enter_context(patched(module, **functions))
        yield


def _seen(own: Callable[..., Any], name: str, work: Work) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        caller = str(sys._getframe(1).f_globals.get("__name__", ""))
        if caller.partition(".")[0] in OUTSIDE or not args or not keras.ops.is_tensor(args[0]):
            return own(*args, **options)
        settings = _settings(own, KINDS[name], args, options)
        return work(lambda x: own(x, *args[1:], **options), KINDS[name], settings, args[0])

    return call


def _settings(
    own: Callable[..., Any], kind: str, args: tuple[Any, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """By the names that both frameworks share."""
    try:
        bound = signature(own).bind(*args, **options)
    except (TypeError, ValueError):
        return {}
    bound.apply_defaults()
    given = bound.arguments
    match kind:
        case "leaky_relu":
            return {"slope": float(given.get("negative_slope", given.get("alpha", 0.2)))}
        case "elu" | "celu":
            return {"alpha": float(given.get("alpha", 1.0))}
        case "gelu":
            return {"approximate": bool(given.get("approximate", False))}
    return {}
