"""The specification's update rules as Keras optimizers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mnist_mlp.spec import OptimizerSpec


def constant(number: float, like: Any) -> Any:
    """A Python number as a tensor of a variable's precision.

    `ops.cast(0.9, "float64")` would round it to float32 first, an error of 2e-8.
    """
    return ops.convert_to_tensor(number, dtype=like.dtype)


class CanonicalSGD(keras.optimizers.SGD):
    """SGD whose velocity does not contain the learning rate, and whose decay is in the gradient.

    Keras's own SGD has `lr * g` in the velocity, which gives other updates when the learning rate
    changes. It also applies the decay to the weights directly and not through the gradient.
    """

    def __init__(self, *, l2: float, **options: Any) -> None:
        super().__init__(**options)
        self.l2 = l2

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """`d = g + l2 * w; v = momentum * v + d; w = w - lr * v` (Nesterov: `d + momentum * v`)."""
        direction = gradient
        if self.l2:
            direction = direction + constant(self.l2, variable) * variable
        if self.momentum:
            momentum = constant(self.momentum, variable)
            velocity = self.momentums[self._get_variable_index(variable)]
            self.assign(velocity, momentum * velocity + direction)
            direction = direction + momentum * velocity if self.nesterov else velocity
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * direction)


class CanonicalAdam(keras.optimizers.Adam):
    """Keras's Adam with the decay in the gradient, and with scalars in float64.

    Keras's own decay is decoupled (AdamW). Keras also computes `1 - beta_2^t` in float32, where the
    difference cancels: the first steps are then too long or too short by about 1e-5.
    """

    def __init__(self, *, l2: float, **options: Any) -> None:
        super().__init__(**options)
        self.l2 = l2

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """`m`, `s` and `w` as in `mnist_mlp.reference.update`."""
        index = self._get_variable_index(variable)
        m, s = self._momentums[index], self._velocities[index]
        d = gradient + constant(self.l2, variable) * variable if self.l2 else gradient
        self.assign(
            m, constant(self.beta_1, variable) * m + constant(1 - self.beta_1, variable) * d
        )
        self.assign(
            s, constant(self.beta_2, variable) * s + constant(1 - self.beta_2, variable) * d * d
        )
        t = ops.cast(self.iterations + 1, "float64")
        beta_1, beta_2 = (
            ops.convert_to_tensor(beta, dtype="float64") for beta in (self.beta_1, self.beta_2)
        )
        correction = ops.sqrt(1 - ops.power(beta_2, t)) / (1 - ops.power(beta_1, t))
        rate = ops.cast(ops.cast(learning_rate, "float64") * correction, variable.dtype)
        self.assign_sub(variable, rate * m / (ops.sqrt(s) + constant(self.epsilon, variable)))


class Piecewise(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule of a specification: `[step, learning_rate]` pairs, steps counted from 1."""

    def __init__(self, spec: OptimizerSpec) -> None:
        self.spec = spec

    def __call__(self, iterations: Any) -> Any:
        """The learning rate of the step that follows `iterations` updates."""
        dtype = keras.config.floatx()
        rate = ops.convert_to_tensor(self.spec.learning_rate, dtype=dtype)
        for first, scheduled in self.spec.schedule:
            changed = ops.convert_to_tensor(scheduled, dtype=dtype)
            rate = ops.where(iterations + 1 >= first, changed, rate)
        return rate

    def get_config(self) -> dict[str, Any]:
        """The arguments for Keras's serialisation."""
        return {"spec": self.spec.model_dump(mode="json")}


def make_optimizer(spec: OptimizerSpec) -> keras.optimizers.Optimizer:
    """The optimizer of a specification: Keras's own for plain SGD, else a subclass from above."""
    rate = Piecewise(spec) if spec.schedule else float(spec.learning_rate)
    common = {"learning_rate": rate, "global_clipnorm": spec.clip_norm or None}
    if spec.name == "adam":
        return CanonicalAdam(
            l2=spec.weight_decay,
            beta_1=spec.beta_1,
            beta_2=spec.beta_2,
            epsilon=spec.epsilon,
            **common,
        )
    if spec.plain_sgd:
        return keras.optimizers.SGD(**common)
    return CanonicalSGD(
        l2=spec.weight_decay, momentum=float(spec.momentum), nesterov=spec.nesterov, **common
    )


def slot_variables(optimizer: keras.optimizers.Optimizer) -> dict[str, list[Any]]:
    """The optimizer's state by canonical slot name, in the order of the trainable variables."""
    if isinstance(optimizer, keras.optimizers.Adam):
        return {"first_moment": optimizer._momentums, "second_moment": optimizer._velocities}
    return {"velocity": optimizer.momentums} if optimizer.momentum else {}
