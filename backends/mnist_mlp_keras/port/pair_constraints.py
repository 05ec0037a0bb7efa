"""The constraints on a Keras model's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras

from mnist_mlp.ports.constraints import NAMES, Constraint
from mnist_mlp_keras.port.pair_layers import to_canonical
from mnist_mlp_keras.port.state import number

KINDS = {theirs: ours for ours, theirs in NAMES.items()}

Held = list[tuple[Any, Any]]
"""Variables with the constraints that they had."""


def held_back(variables: Sequence[Any]) -> Held:
    """Take the constraints away from variables, so that an optimizer does not apply them."""
    held = [(v, v.constraint) for v in variables if v.constraint is not None]
    for variable, _ in held:
        variable.constraint = None
    return held


def constrain(held: Held) -> None:
    """Give them back and apply them, as an optimizer does after its update."""
    for variable, constraint in held:
        variable.constraint = constraint
        variable.assign(constraint(variable))


def constraints_of(tensors: Mapping[str, tuple[Any, Any, str]]) -> dict[str, Constraint]:
    """By canonical name, for variables with their layers and roles."""
    return {
        name: _of(variable.constraint, variable, layer, role)
        for name, (variable, layer, role) in tensors.items()
        if variable.constraint is not None
    }


def _of(constraint: Any, variable: Any, layer: Any, role: str) -> Constraint:
    name = type(constraint).__name__
    own = Constraint(name)
    if name == "NonNeg":
        return Constraint("non_neg")
    if to_canonical(layer, role, number(variable)).shape != tuple(variable.shape):
        return own  # whose axes are others here
    if name not in KINDS:
        return own
    given = constraint.axis
    axis = tuple(given) if isinstance(given, tuple | list) else (given,)
    found = Constraint(
        KINDS[name],
        axis=tuple(int(k) % len(variable.shape) for k in axis),
        epsilon=float(keras.config.epsilon()),
    )
    if name == "UnitNorm":
        return found
    found = replace(found, high=float(constraint.max_value))
    if name == "MaxNorm":
        return found
    return replace(found, low=float(constraint.min_value), rate=float(constraint.rate))
