"""Where a user's code makes layers, losses, optimizers and schedules, and compiles them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras

from mnist_mlp.ports.lines import UserLine, line_of, line_of_function, mark, marking, noted
from mnist_mlp_keras.port.recorder import innermost

MADE = (
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.losses.Loss,
    keras.callbacks.Callback,
)

_watching: list[type] = []


def watch() -> None:
    """Mark what is made from now on; once in a process."""
    if _watching:
        return
    _watching.append(keras.layers.Layer)
    for kind in MADE:
        kind.__init__ = marking(kind.__init__)
    make, own_compile = keras.layers.Layer.__new__, keras.Model.compile

    # Keras looks at the signature of a layer's `__init__`, so that this must stay its own.
    def new(cls: type, *args: Any, **options: Any) -> Any:
        layer = make(cls, *args, **options)
        mark(layer)
        return layer

    @functools.wraps(own_compile)
    def compiling(self: Any, *args: Any, **options: Any) -> Any:
        mark(self, name="compile", role=COMPILE)
        return own_compile(self, *args, **options)

    keras.layers.Layer.__new__ = staticmethod(new)
    # On its own class: Keras compiles no loaded model whose class has a `compile` of its own.
    trainer = next(base for base in keras.Model.__mro__ if "compile" in vars(base))
    trainer.compile = compiling


COMPILE = "_compile"


def roles(model: Any, callbacks: Sequence[Any], loader: Any) -> dict[str, UserLine]:
    """Lines of a training by what they are about."""
    compiled = line_of(model, "compile", of=COMPILE)
    optimizer, fit = innermost(model.optimizer), noted("fit")
    loss = getattr(model, "loss", None)
    loss = loss[0] if isinstance(loss, list | tuple) and len(loss) == 1 else loss
    found = {
        "loss": line_of(loss, "loss") or compiled,
        "optimizer": line_of(optimizer, "optimizer") or compiled,
        "schedule": line_of(getattr(optimizer, "_learning_rate", None), "schedule"),
        "loader": line_of_function(loader, "loader"),
        "fit": fit,
        "backward": noted("backward"),
        "step": noted("step"),
        "class_weights": fit,
        "clipping": line_of(optimizer, "optimizer") or compiled,
    }
    kinds = {
        "schedule": keras.callbacks.LearningRateScheduler,
        "plateau": keras.callbacks.ReduceLROnPlateau,
        "early_stopping": keras.callbacks.EarlyStopping,
    }
    for role, kind in kinds.items():
        made = next((c for c in callbacks if isinstance(c, kind)), None)
        found[role] = line_of(made, "callback") or found.get(role)
    return {role: line for role, line in found.items() if line is not None}
