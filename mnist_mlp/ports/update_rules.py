"""The update rules of both frameworks, written down once in NumPy, in one language of settings.

Where the frameworks' rules differ, that is a setting too, though no argument sets it: `epsilon_in`
says where epsilon is added, `rate_in_velocity` whether the velocity has the learning rate in it,
and `decoupled` whether weight decay is subtracted from the weights. `RULES` has each framework's.

Sources: the `update_step` of Keras's optimizers, and the `_single_tensor_...` functions of
`torch.optim`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnist_mlp.reference import Array, Tensors

Settings = Mapping[str, Any]
"""Of one tensor in one step: `kind`, and the fields of `FIELDS` for it.

Tensors that are one variable, as a GRU's biases in Keras, have the first one's name as `part_of`.
"""

VELOCITY = ("momentum", "rate_in_velocity")

FIELDS: Mapping[str, tuple[str, ...]] = {
    "SGD": (*VELOCITY, "nesterov", "dampening"),
    "RMSprop": (*VELOCITY, "rho", "centered", "epsilon", "epsilon_in"),
    "Adam": ("beta_1", "beta_2", "amsgrad", "epsilon", "epsilon_in"),
    "Adagrad": ("initial_accumulator", "rate_decay", "epsilon", "epsilon_in"),
    "Adadelta": ("rho", "epsilon"),
    "Adamax": ("beta_1", "beta_2", "epsilon", "epsilon_in"),
    "Nadam": ("beta_1", "beta_2", "momentum_decay", "epsilon"),
}
"""What each kind of optimizer has beside what all have. AdamW is Adam, decoupled."""

COMMON = ("learning_rate", "weight_decay", "decoupled", "maximize", "clip", "clip_at", "clip_slack")
"""`clip` is `tensor`, `global` or `value`, or empty; torch adds `clip_slack` to a norm that it
divides by."""

CHANGEABLE = frozenset({"kind", *COMMON, *(name for each in FIELDS.values() for name in each)})
"""All settings of an optimizer that an experiment may change."""

RULES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "keras": {
        "SGD": {"rate_in_velocity": True},
        "RMSprop": {"rate_in_velocity": True, "epsilon_in": "the root"},
        "Adam": {"epsilon_in": "the root of the uncorrected moment"},
        "Adagrad": {"epsilon_in": "the root"},
        "Adamax": {"epsilon_in": "the denominator"},
    },
    "torch": {
        "SGD": {"rate_in_velocity": False},
        "RMSprop": {"rate_in_velocity": False, "epsilon_in": "the denominator"},
        "Adam": {"epsilon_in": "the root of the corrected moment"},
        "Adagrad": {"epsilon_in": "the denominator"},
        "Adamax": {"epsilon_in": "the maximum"},
    },
}
"""What no argument sets: each framework's own way."""

RULE_FIELDS = ("kind", "epsilon_in", "rate_in_velocity", "decoupled", "clip_slack")
"""Fields that only another rule changes."""


def settings_of_kind(framework: str, kind: str, found: Settings) -> dict[str, Any]:
    """The whole language for one tensor: what was found, the framework's own way, and neutral
    values for what it has not."""
    neutral = {
        "weight_decay": 0.0, "decoupled": framework == "keras", "maximize": False, "clip": "",
        "clip_at": 0.0, "clip_slack": 0.0, "momentum": 0.0, "nesterov": False, "dampening": 0.0,
        "rho": 0.0, "centered": False, "amsgrad": False, "initial_accumulator": 0.0,
        "rate_decay": 0.0, "momentum_decay": 1.0, "epsilon": 0.0,
    }  # fmt: skip
    names = (*COMMON, *FIELDS[kind])
    known = {**neutral, **RULES[framework].get(kind, {}), **found}
    return {"kind": kind, **{name: known[name] for name in names if name in known}}


# --- Changes for an experiment --------------------------------------------------------------------


@dataclass(frozen=True)
class ByStep:
    """A value for each step."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class ByTensor:
    """A value for each tensor, by name."""

    values: tuple[tuple[str, Any], ...]


def value_at(value: Any, step: int, tensor: str) -> Any:
    """What a changed setting is in a step (from 0) for a tensor; None if it says nothing of it."""
    if isinstance(value, ByTensor):
        return value_at(dict(value.values).get(tensor), step, tensor)
    if isinstance(value, ByStep):
        return value.values[min(step, len(value.values) - 1)]
    return value


def changed(settings: Settings, changes: Mapping[str, Any], step: int, tensor: str) -> Settings:
    """Settings with changes in effect."""
    new = {field: value_at(value, step, tensor) for field, value in changes.items()}
    return {**settings, **{field: value for field, value in new.items() if value is not None}}


# --- Rules ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class Memory:
    """What an optimizer remembers of one tensor."""

    step: int = 0
    slots: dict[str, Array] = field(default_factory=dict)

    def moved(self, w: Array, g: Array, s: Settings) -> Array:
        """The new weights; `g` is clipped already."""
        self.step += 1
        if s["maximize"]:
            g = -g
        decay, rate = s["weight_decay"], s["learning_rate"]
        if decay and s["decoupled"]:
            w = w - w * decay * rate
        elif decay:
            g = g + decay * w
        moved: Array = w - _MOVES[s["kind"]](self, g, s, rate)
        return moved

    def mean(self, name: str, fresh: Array, share: float) -> Array:
        """A running mean that keeps `share` of the old value."""
        old = self.slots.get(name, np.zeros_like(fresh))
        self.slots[name] = share * old + (1 - share) * fresh
        return self.slots[name]


def _with_velocity(memory: Memory, fresh: Array, s: Settings, rate: float) -> Array:
    """The movement by a velocity that takes `fresh` in."""
    inside = s["rate_in_velocity"]
    fresh = rate * fresh if inside else fresh
    if not s["momentum"]:
        return fresh if inside else rate * fresh
    old = memory.slots.get("velocity")
    damped = (1 - s.get("dampening", 0.0)) * fresh
    velocity = fresh if old is None else s["momentum"] * old + damped
    memory.slots["velocity"] = velocity
    move = fresh + s["momentum"] * velocity if s.get("nesterov") else velocity
    return move if inside else rate * move


def _sgd(memory: Memory, g: Array, s: Settings, rate: float) -> Array:
    return _with_velocity(memory, g, s, rate)


def _rmsprop(memory: Memory, g: Array, s: Settings, rate: float) -> Array:
    square = memory.mean("square", g * g, s["rho"])
    if s["centered"]:
        square = square - memory.mean("mean", g, s["rho"]) ** 2
    return _with_velocity(memory, g / _root(square, s), s, rate)


def _root(square: Array, s: Settings) -> Array:
    inside = s["epsilon_in"] == "the root"
    root: Array = np.sqrt(square + s["epsilon"]) if inside else np.sqrt(square) + s["epsilon"]
    return root


def _adam(memory: Memory, g: Array, s: Settings, rate: float) -> Array:
    m = memory.mean("mean", g, s["beta_1"]) / (1 - s["beta_1"] ** memory.step)
    square = memory.mean("square", g * g, s["beta_2"])
    if s["amsgrad"]:
        square = np.maximum(memory.slots.get("largest", 0.0), square)
        memory.slots["largest"] = square
    correction = np.sqrt(1 - s["beta_2"] ** memory.step)
    epsilon = s["epsilon"]
    if s["epsilon_in"] == "the root of the uncorrected moment":
        epsilon = epsilon / correction
    move: Array = rate * m / (np.sqrt(square) / correction + epsilon)
    return move


def _adagrad(memory: Memory, g: Array, s: Settings, rate: float) -> Array:
    start = np.full_like(g, s["initial_accumulator"])
    memory.slots["sum"] = memory.slots.get("sum", start) + g * g
    rate = rate / (1 + (memory.step - 1) * s["rate_decay"])
    move: Array = rate * g / _root(memory.slots["sum"], s)
    return move


def _adadelta(memory: Memory, g: Array, s: Settings, rate: float) -> Array:
    square = memory.mean("square", g * g, s["rho"])
    moves = memory.slots.get("moves", np.zeros_like(g))
    move: Array = np.sqrt(moves + s["epsilon"]) / np.sqrt(square + s["epsilon"]) * g
    memory.mean("moves", move * move, s["rho"])
    return rate * move


def _adamax(memory: Memory, g: Array, s: Settings, rate: float) -> Array:
    m = memory.mean("mean", g, s["beta_1"]) / (1 - s["beta_1"] ** memory.step)
    inside = s["epsilon_in"] == "the maximum"
    size = np.abs(g) + (s["epsilon"] if inside else 0.0)
    largest = np.maximum(s["beta_2"] * memory.slots.get("largest", 0.0), size)
    memory.slots["largest"] = largest
    move: Array = rate * m / (largest if inside else largest + s["epsilon"])
    return move


def _nadam(memory: Memory, g: Array, s: Settings, rate: float) -> Array:
    def momentum(step: int) -> float:
        return float(s["beta_1"] * (1 - 0.5 * 0.96 ** (step * s["momentum_decay"])))

    now, later = momentum(memory.step), momentum(memory.step + 1)
    product = memory.slots.get("product", np.ones(())) * now
    memory.slots["product"] = product
    m = memory.mean("mean", g, s["beta_1"])
    square = memory.mean("square", g * g, s["beta_2"]) / (1 - s["beta_2"] ** memory.step)
    ahead = later * m / (1 - product * later) + (1 - now) * g / (1 - product)
    move: Array = rate * ahead / (np.sqrt(square) + s["epsilon"])
    return move


_MOVES = {
    "SGD": _sgd, "RMSprop": _rmsprop, "Adam": _adam, "Adagrad": _adagrad, "Adadelta": _adadelta,
    "Adamax": _adamax, "Nadam": _nadam,
}  # fmt: skip


def clipped(gradients: Tensors, settings: Mapping[str, Settings]) -> Tensors:
    """Gradients as the optimizer takes them, all tensors of a model together."""
    first = settings[next(iter(gradients))]
    at = first["clip_at"]
    match first["clip"]:
        case "value":
            return {name: np.clip(g, -at, at) for name, g in gradients.items()}
        case "tensor":
            whole = {name: settings[name].get("part_of", name) for name in gradients}
            slack = first["clip_slack"]
            norms = {w: _norm(gradients[n] for n in gradients if whole[n] == w) + slack
                     for w in whole.values()}  # fmt: skip
            return {name: g * min(1.0, at / norms[whole[name]]) for name, g in gradients.items()}
        case "global":
            norm = _norm(gradients.values()) + first["clip_slack"]
            return {name: g * min(1.0, at / norm) for name, g in gradients.items()}
    return dict(gradients)


def _norm(arrays: Any) -> float:
    tiny = float(np.finfo(np.float64).tiny)
    return max(float(np.sqrt(sum(np.sum(g * g) for g in arrays))), tiny)


class Updates:
    """The updates of a model by rule, step after step."""

    def __init__(self) -> None:
        self.memories: dict[str, Memory] = {}

    def taken(
        self, weights: Tensors, gradients: Tensors, settings: Mapping[str, Settings]
    ) -> dict[str, Array]:
        """The new weights of all tensors that have a gradient and settings."""
        names = [n for n in gradients if n in settings and n in weights]
        if not names:
            return {}
        given = clipped({n: gradients[n] for n in names}, settings)
        with np.errstate(all="ignore"):  # a rule that does not fit may divide by zero
            return {
                n: self.memories.setdefault(n, Memory()).moved(weights[n], given[n], settings[n])
                for n in names
            }


@dataclass(frozen=True, eq=False)
class Given:
    """What an optimizer was given in one step, by tensor."""

    weights: Tensors
    gradients: Tensors
    settings: Mapping[str, Settings]


def replayed(steps: Sequence[Given], changes: Mapping[str, Any] | None = None) -> list[Tensors]:
    """The weights after each step, by rule, with some settings changed."""
    updates = Updates()
    return [
        updates.taken(
            step.weights,
            step.gradients,
            {n: changed(s, changes or {}, k, n) for n, s in step.settings.items()},
        )
        for k, step in enumerate(steps)
    ]
