"""A Keras optimizer in the shared language of settings, and experiments on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mnist_mlp.ports.pair import Mend
from mnist_mlp.ports.update_rules import (
    CHANGEABLE,
    FIELDS,
    ByTensor,
    Settings,
    Updates,
    changed,
    settings_of_kind,
    value_at,
)
from mnist_mlp.reference import Tensors
from mnist_mlp_keras.port.facts import kind_of_optimizer
from mnist_mlp_keras.port.state import number

KINDS = {"AdamW": "Adam"}

ATTRIBUTES = {
    "initial_accumulator": "initial_accumulator_value",
    **{same: same for same in ("weight_decay", "momentum", "nesterov", "rho", "centered",
                               "beta_1", "beta_2", "amsgrad", "epsilon")},
}  # fmt: skip
"""Keras's names of settings that are plain attributes."""

READ_IN_EACH_STEP = ("weight_decay", "nesterov", "rho", "beta_1", "beta_2", "epsilon")
"""Attributes that can be changed at any time; for others, variables are made when it is built."""

CLIPS = {"clipnorm": "tensor", "global_clipnorm": "global", "clipvalue": "value"}


def settings_of(optimizer: Any) -> dict[str, Any]:
    """Its settings as they are now; empty for a kind whose rule is not written down."""
    name = kind_of_optimizer(optimizer)
    kind = KINDS.get(name, name)
    if kind not in FIELDS:
        return {}
    found: dict[str, Any] = {
        ours: getattr(optimizer, theirs)
        for ours, theirs in ATTRIBUTES.items()
        if getattr(optimizer, theirs, None) is not None
    }
    found["learning_rate"] = rate_of(optimizer)
    for attribute, clip in CLIPS.items():
        if getattr(optimizer, attribute, None):
            found |= {"clip": clip, "clip_at": float(getattr(optimizer, attribute))}
    return {"name": type(optimizer).__name__, **settings_of_kind("keras", kind, found)}


def rate_of(optimizer: Any) -> float:
    """The learning rate of the coming update."""
    return float(number(keras.ops.convert_to_tensor(optimizer.learning_rate)))


Names = Mapping[int, Sequence[str]]
"""Canonical names of variables, by identity. A GRU's two biases are one variable."""


def by_tensor(optimizer: Any, names: Names) -> dict[str, Settings]:
    """The settings of each tensor that it moves."""
    settings = settings_of(optimizer)
    if not settings:
        return {}
    found: dict[str, Settings] = {}
    for variable in optimizer._trainable_variables:
        own = names.get(id(variable), ())
        if not own:  # of a layer that cannot be mapped
            continue
        decays = optimizer._use_weight_decay(variable)
        here = settings if decays else {**settings, "weight_decay": 0.0}
        found |= dict.fromkeys(own, here if len(own) == 1 else {**here, "part_of": own[0]})
    return found


class _Given(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that is set from outside, in place of a schedule."""

    rate: Any = None

    def __call__(self, step: Any) -> Any:
        return keras.ops.convert_to_tensor(self.rate, dtype=keras.config.floatx())


class Experiment:
    """Changes of the optimizer of one run.

    Arguments are set before each step. Where another rule is asked for, or a setting for one tensor
    alone, the step is taken by the rule as it is written down in NumPy.
    """

    def __init__(
        self, mends: Sequence[Mend], *, epoch_steps: int, callbacks: Sequence[Any] = ()
    ) -> None:
        asked = {mend.field: mend.value for mend in mends}
        self.interval = asked.get("interval")
        self.changes = {field: asked[field] for field in asked if field in CHANGEABLE}
        self.epoch_steps, self.callbacks = epoch_steps, callbacks
        self._updates = Updates()

    @property
    def by_rule(self) -> bool:
        """Whether no argument does it."""
        return any(
            name not in ("learning_rate", *READ_IN_EACH_STEP) or isinstance(value, ByTensor)
            for name, value in self.changes.items()
        )

    def before_step(self, optimizer: Any, step: int) -> None:
        """Set the learning rate, and what else changes from step to step."""
        if self.interval == "epoch":
            self._once_an_epoch(optimizer, step)
        elif self.interval == "step":
            for callback in self.callbacks:  # which would be asked at the beginning of an epoch
                callback.on_epoch_begin(step)
        if self.by_rule:
            return
        for field, value in self.changes.items():
            now = value_at(value, step, "")
            if field != "learning_rate":
                setattr(optimizer, ATTRIBUTES[field], now)
                continue
            _set_rate(optimizer, now)

    def _once_an_epoch(self, optimizer: Any, step: int) -> None:
        """Let a schedule be asked once an epoch: then it counts epochs."""
        schedule = optimizer._learning_rate
        if isinstance(schedule, _Given):
            schedule = schedule.own
        if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            return
        given = _Given()
        given.own = schedule
        given.rate = float(number(schedule(step // self.epoch_steps)))
        optimizer._learning_rate = given

    def applied(
        self,
        optimizer: Any,
        step: int,
        weights: Tensors,
        gradients: Tensors,
        names: Names,
    ) -> Mapping[str, Any]:
        """The weights after a step by rule."""
        settings = {
            name: changed(each, self.changes, step, name)
            for name, each in _every(optimizer, names, self.changes).items()
        }
        optimizer._iterations.assign_add(1)
        return self._updates.taken(weights, gradients, settings)


def _every(optimizer: Any, names: Names, changes: Mapping[str, Any]) -> Mapping[str, Settings]:
    """The settings of each tensor; none but the changes where the kind is not known."""
    known = by_tensor(optimizer, names)
    every = (name for own in names.values() for name in own)
    return known or ({name: {} for name in every} if "kind" in changes else {})


def _set_rate(optimizer: Any, rate: float) -> None:
    if isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        given = _Given()
        given.rate = rate
        optimizer._learning_rate = given
    else:
        optimizer.learning_rate = rate
