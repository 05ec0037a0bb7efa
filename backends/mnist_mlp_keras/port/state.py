"""Setting and reading the state of a user's model in canonical form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mnist_mlp.contract import Array, State, Tensors
from mnist_mlp.reference import bias_name, kernel_name
from mnist_mlp_keras.optimizers import CanonicalSGD
from mnist_mlp_keras.port.recorder import innermost, variables_of


def number(value: Any) -> Array:
    """A tensor or variable in NumPy; types that NumPy does not have become float32."""
    array = np.array(ops.convert_to_numpy(value))
    return array.astype(np.float32) if array.dtype.kind not in "fiub" else array


class PortState:
    """The part of a model's state that a specification knows.

    That is the Dense layers' weights, the step count, the velocity of SGD and the moments of Adam;
    everything else is the model's own business.
    """

    def __init__(self, model: keras.Model, dense: Sequence[keras.layers.Dense]) -> None:
        self.model = model
        self.variables = variables_of(dense)
        self.units = [layer.units for layer in dense]
        self.optimizer = innermost(model.optimizer)
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(model.trainable_variables)
        self._velocity_of = _velocity_scale(self.optimizer)
        self._rate_before = 0.0

    def rate(self) -> float:
        """Learning rate of the next step."""
        return float(number(self.optimizer.learning_rate))

    def remember_rate(self) -> None:
        """To be called before each step: a native velocity is in terms of the rate of its time."""
        if self._has_velocity:
            self._rate_before = self.rate()

    @property
    def _has_velocity(self) -> bool:
        return isinstance(self.optimizer, keras.optimizers.SGD) and bool(self.optimizer.momentum)

    def load(self, state: State) -> None:
        """Set weights, step count and slots; what the model has no place for is left out."""
        self.load_weights(state.weights)
        if self.optimizer is None:
            return
        self.optimizer._iterations.assign(state.step)
        if isinstance(self.optimizer, keras.optimizers.Adam):
            for slot, variables in self._moments().items():
                self._assign(variables, state.slots.get(slot, {}))
        elif self._has_velocity and "velocity" in state.slots:
            scale = self._velocity_of(self._rate_before or self.rate())
            velocity = state.slots["velocity"]
            self._assign(
                self.optimizer.momentums,
                {name: v * np.asarray(scale, v.dtype) for name, v in velocity.items()},
            )

    def load_weights(self, weights: Tensors) -> None:
        """Set the Dense layers' weights."""
        for name, variable in self.variables.items():
            variable.assign(weights[name])

    def _moments(self) -> dict[str, Any]:
        return {
            "first_moment": self.optimizer._momentums,
            "second_moment": self.optimizer._velocities,
        }

    def _assign(self, variables: Sequence[Any], values: Tensors) -> None:
        for name, index in self._indices().items():
            if name in values:
                variables[index].assign(values[name])

    def _indices(self) -> dict[str, int]:
        """Where the optimizer keeps what belongs to a tensor; frozen tensors are unknown to it."""
        known = {id(v): i for i, v in enumerate(self.optimizer._trainable_variables)}
        return {name: known[id(v)] for name, v in self.variables.items() if id(v) in known}

    def read(self, shared: State) -> State:
        """What a step made of a shared state. A missing bias is one that never moves."""
        weights = {}
        for index in range(len(self.units)):
            for name in (kernel_name(index), bias_name(index)):
                variable = self.variables.get(name)
                weights[name] = shared.weights[name] if variable is None else number(variable)
        return State(step=self._step(shared), weights=weights, slots=self._slots(shared))

    def _step(self, shared: State) -> int:
        """Updates made so far: one more than before, unless a batch had several."""
        if self.optimizer is None:
            return shared.step + 1
        return max(int(number(self.optimizer._iterations)), shared.step + 1)

    def _slots(self, shared: State) -> dict[str, dict[str, Array]]:
        if isinstance(self.optimizer, keras.optimizers.Adam):
            slots = self._moments()
            factor = 1.0
        elif self._has_velocity:
            slots = {"velocity": self.optimizer.momentums}
            factor = self._velocity_of(self._rate_before)
        else:
            return {}
        return {
            slot: {
                name: number(variables[index]) / np.float64(factor or 1.0)
                for name, index in self._indices().items()
            }
            for slot, variables in slots.items()
            if slot in shared.slots
        }


def _velocity_scale(optimizer: Any) -> Any:
    """How an SGD's velocity variable is made of the canonical velocity, as a factor by rate.

    Keras's own holds `-rate * v`; a subclass with an update of its own is tried on one number.
    """
    if isinstance(optimizer, CanonicalSGD):
        return lambda rate: 1.0
    own_update = getattr(type(optimizer), "update_step", None)
    if not isinstance(optimizer, keras.optimizers.SGD) or (
        own_update is keras.optimizers.SGD.update_step
    ):
        return lambda rate: -rate
    try:
        at_one, at_two = (_tried(optimizer, rate) for rate in (0.25, 0.5))
    except Exception:  # a user's class that cannot be made a second time
        return lambda rate: -rate
    return (lambda rate: at_one * rate / 0.25) if at_one != at_two else (lambda rate: at_one)


def _tried(optimizer: Any, rate: float) -> float:
    """The velocity variable per unit of the first gradient, at a learning rate."""
    twin = type(optimizer).from_config({**optimizer.get_config(), "learning_rate": rate})
    weight = keras.Variable(np.zeros(1, "float32"))
    twin.build([weight])
    gradient = 2.0**-10
    twin.apply([ops.convert_to_tensor(np.full(1, gradient, "float32"))], [weight])
    return float(number(twin.momentums[0])[0]) / gradient
