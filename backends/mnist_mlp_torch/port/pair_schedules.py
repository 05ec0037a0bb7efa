"""Schedules of a torch optimizer, run alone, and what acts on a loss that stops falling."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch

from mnist_mlp.ports.pair_rows import RunLength
from mnist_mlp.reference import Array

SHOWN = (
    *("step_size", "milestones", "gamma", "T_max", "T_0", "T_mult", "eta_min", "total_steps"),
    *("total_iters", "start_factor", "end_factor", "factor", "power", "base_lrs"),
)
"""Settings of schedules that are told."""

HARMLESS = (
    *("Checkpoint", "ProgressBar", "Summary", "LearningRateMonitor", "DeviceStatsMonitor"),
    "Timer",
)
"""Callbacks that leave weights and learning rates alone."""

SETTLED = ("EarlyStopping",)
"""Callbacks that are judged by their settings."""


def described(config: Any) -> str:
    """`StepLR (step_size 2, gamma 0.1), once an epoch`."""
    scheduler = config.scheduler
    found = {name: getattr(scheduler, name) for name in SHOWN if hasattr(scheduler, name)}
    if hasattr(found.get("milestones"), "elements"):  # counts of each
        found["milestones"] = sorted(found["milestones"].elements())
    settings = ", ".join(f"{name} {_short(value)}" for name, value in found.items())
    often = config.interval if config.frequency == 1 else f"{config.frequency} {config.interval}s"
    often = f"once {'an' if often == 'epoch' else 'a'} {often}" if config.frequency == 1 else often
    return f"{type(scheduler).__name__} ({settings}), {often}"


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def rates(
    optimizer: Any,
    configs: Sequence[Any],
    at: Sequence[int],
    length: RunLength,
    interval: str | None,
) -> dict[str, Array]:
    """Learning rate and momentum of the updates `at` (from 0), as Lightning asks the schedules.

    With an `interval`, all of them are asked once in each such.
    """
    wanted, found = set(at), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer takes no steps
        for step, (batch, epoch) in enumerate(_batches(length)):
            if step in wanted:
                found.append(_now(optimizer))
            if step >= max(at):
                break
            last = batch == length.steps - 1
            for config in configs:
                how, often = (
                    (config.interval, config.frequency) if interval is None else (interval, 1)
                )
                if config.reduce_on_plateau:
                    continue
                due = last if how == "epoch" else True
                if due and ((epoch if how == "epoch" else batch) + 1) % often == 0:
                    config.scheduler.step()
    return {name: np.array([each[name] for each in found]) for name in found[0]}


def _batches(length: RunLength) -> Iterator[tuple[int, int]]:
    """Number of the batch and of its epoch, from 0."""
    for epoch in count():
        for batch in range(length.steps):
            yield batch, epoch


def _now(optimizer: Any) -> dict[str, float]:
    group = optimizer.param_groups[0]
    found = {"learning_rate": _number(group["lr"])}
    if group.get("momentum") is not None:
        found["momentum"] = _number(group["momentum"])
    elif group.get("betas") is not None:
        found["momentum"] = _number(group["betas"][0])
    return found


def _number(value: Any) -> float:
    return float(value.item() if isinstance(value, torch.Tensor) else value)


# --- What follows the loss ------------------------------------------------------------------------


def plateau_of(configs: Sequence[Any]) -> Mapping[str, Any] | None:
    """`ReduceLROnPlateau` in the shared words: how many epochs without progress it takes."""
    for config in configs:
        if config.reduce_on_plateau:
            s = config.scheduler
            return {
                "monitor": str(config.monitor or ""),
                "mode": s.mode,
                "factor": float(s.factor),
                "epochs": int(s.patience) + 1,
                "min_delta": float(s.threshold),
                "relative": s.threshold_mode == "rel",
                "cooldown": int(s.cooldown),
                "min_rate": float(s.min_lrs[0]),
            }
    return None


def early_stopping_of(callbacks: Sequence[Any]) -> Mapping[str, Any] | None:
    """`EarlyStopping` in the shared words."""
    for callback in callbacks:
        if any(base.__name__ == "EarlyStopping" for base in type(callback).__mro__):
            return {
                "monitor": callback.monitor,
                "mode": callback.mode,
                "epochs": max(int(callback.patience), 1),
                "min_delta": abs(float(callback.min_delta)),
                "best_weights": False,  # a checkpoint has them, and nobody loads it
            }
    return None
