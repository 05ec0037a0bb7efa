"""Schedules of a Keras optimizer, run alone, and what acts on a loss that stops falling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mnist_mlp.ports.pair_rows import RunLength
from mnist_mlp.reference import Array
from mnist_mlp_keras.port.pair_optimizers import rate_of
from mnist_mlp_keras.port.recorder import innermost
from mnist_mlp_keras.port.state import number

Schedule = keras.optimizers.schedules.LearningRateSchedule

HARMLESS = (
    *("ModelCheckpoint", "CSVLogger", "TensorBoard", "History", "ProgbarLogger", "TerminateOnNaN"),
    *("BackupAndRestore", "RemoteMonitor"),
)
"""Callbacks that leave weights and learning rates alone."""

SETTLED = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.EarlyStopping)
"""Callbacks that are judged by their settings."""


def exact(schedule: Any) -> None:
    """Let a schedule compute in float64: it takes the type of its settings, float32 for Python's
    own numbers."""
    for name, value in vars(schedule).items():
        if type(value) is float:
            setattr(schedule, name, np.float64(value))
        elif isinstance(value, list | tuple) and any(type(item) is float for item in value):
            setattr(schedule, name, [np.float64(item) for item in value])
        elif isinstance(value, Schedule):
            exact(value)


def schedule_of(model: Any) -> Any:
    """The optimizer's schedule, if it has one."""
    schedule = innermost(model.optimizer)._learning_rate
    return schedule if isinstance(schedule, Schedule) else None


def followed(callbacks: Sequence[Any]) -> list[Any]:
    """Callbacks that set the learning rate at the beginning of each epoch."""
    return [c for c in callbacks if isinstance(c, keras.callbacks.LearningRateScheduler)]


def described(model: Any, callbacks: Sequence[Any]) -> list[str]:
    """`ExponentialDecay (initial_learning_rate 0.1, ...), once a step`."""
    found = []
    schedule = schedule_of(model)
    if schedule is not None:
        try:
            config = schedule.get_config()
        except Exception:  # a user's class may have none
            config = {}
        shown = {k: v for k, v in config.items() if k != "name" and v is not None}
        settings = ", ".join(f"{name} {_short(value)}" for name, value in shown.items())
        found.append(f"{type(schedule).__name__} ({settings}), once a step")
    found += [f"{type(c).__name__}, once an epoch" for c in followed(callbacks)]
    return found


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_short, value))}]"
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)


def rates(
    model: Any,
    callbacks: Sequence[Any],
    at: Sequence[int],
    length: RunLength,
    interval: str | None,
) -> dict[str, Array]:
    """Learning rate and momentum of the updates `at` (from 0).

    With an `interval`, schedules and callbacks are asked once in each such.
    """
    optimizer, schedule = innermost(model.optimizer), schedule_of(model)
    acting, begun = followed(callbacks), -1
    for callback in acting:
        callback.set_model(model)
        callback.verbose = 0
    found = []
    for step in at:
        now = step // (1 if interval == "step" else length.steps)
        for epoch in range(begun + 1, now + 1) if acting else ():
            for callback in acting:
                callback.on_epoch_begin(epoch)
        begun = now
        asked = step // length.steps if interval == "epoch" else step
        rate = rate_of(optimizer) if schedule is None else float(number(schedule(asked)))
        found.append(rate)
    momentum = getattr(optimizer, "momentum", getattr(optimizer, "beta_1", None))
    result = {"learning_rate": np.array(found)}
    if momentum is not None:
        result["momentum"] = np.full(len(found), float(momentum))
    return result


# --- What follows the loss ------------------------------------------------------------------------


def _mode(callback: Any) -> str:
    if callback.mode in ("min", "max"):
        return str(callback.mode)
    return "max" if "acc" in callback.monitor or callback.monitor.endswith("auc") else "min"


def plateau_of(callbacks: Sequence[Any]) -> Mapping[str, Any] | None:
    """`ReduceLROnPlateau` in the shared words: how many epochs without progress it takes."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.ReduceLROnPlateau):
            return {
                "monitor": callback.monitor,
                "mode": _mode(callback),
                "factor": float(callback.factor),
                "epochs": max(int(callback.patience), 1),
                "min_delta": abs(float(callback.min_delta)),
                "relative": False,
                # The epoch at which the counter comes to 0 is counted already.
                "cooldown": max(int(callback.cooldown) - 1, 0),
                "min_rate": float(callback.min_lr),
            }
    return None


def early_stopping_of(callbacks: Sequence[Any]) -> Mapping[str, Any] | None:
    """`EarlyStopping` in the shared words."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.EarlyStopping):
            return {
                "monitor": callback.monitor,
                "mode": _mode(callback),
                "epochs": max(int(callback.patience), 1),
                "min_delta": abs(float(callback.min_delta)),
                "best_weights": bool(callback.restore_best_weights),
            }
    return None
