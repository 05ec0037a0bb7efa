"""One side of a comparison in plain NumPy, each link of whose step may be replaced by a wrong one.

`NumpySide(spec)` is an honest side in the precision of its specification. `NumpySide(spec,
pixels=...)` is one that scales its pixels in another way, and so on. It answers to the methods of
`mnist_mlp.worker.parent.Worker` that the checker calls, without a process behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_mlp import reference
from mnist_mlp.contract import State, StepRecord
from mnist_mlp.reference import Array, Tensors, bias_name, kernel_name
from mnist_mlp.spec import Spec

Doubles = dict[str, Array]
Loss = Callable[[Array, Array], tuple[float, Array]]
"""From logits (n, classes) and labels (n,) to the loss and its gradient, both in float64."""


Update = Callable[[State, Doubles, "NumpySide"], Doubles | tuple[Doubles, dict[str, Doubles]]]
"""New weights, and where they are to be judged new slots, from a state and the gradient."""


@dataclass(frozen=True)
class Hidden:
    """An activation of the side's own and its derivative."""

    function: Callable[[Array], Array]
    derivative: Callable[[Array], Array]


class NumpySide:
    """Each keyword replaces one link; what a link keeps between steps goes into `memory`."""

    def __init__(
        self,
        spec: Spec,
        *,
        pixels: Callable[[Array], Array] | None = None,
        used: Callable[[Doubles], Doubles] = lambda weights: weights,
        operand: Callable[[Array], Array] = lambda tensor: tensor,
        linear: Callable[[Array, int], Array] = lambda z, layer: z,
        hidden: Sequence[str | Hidden] | None = None,
        between: Callable[[Array, int], Array] = lambda a, layer: a,
        loss: Loss | None = None,
        penalty: Callable[[Doubles], tuple[float, Doubles]] | None = None,
        gradient: Callable[[Doubles, NumpySide], Doubles] = lambda g, side: g,
        update: Update | None = None,
    ) -> None:
        self.spec, self.dtype = spec, np.dtype(spec.training.precision).type
        self.pixels = pixels or (lambda images: reference.scale_pixels(images, dtype=self.dtype))
        self.used, self.operand, self.linear = used, operand, linear
        self.hidden = hidden or spec.model.activations[:-1]
        self.between, self.loss, self.penalty = between, loss, penalty
        self.gradient, self.update = gradient, update
        self.memory: dict[str, Any] = {}

    def step(self, state: State, images: Array, labels: Array) -> StepRecord:
        """One step; whatever a link answers is brought into the side's precision."""
        self.state = state
        x = self._typed(self.pixels(images))
        weights = {name: self._typed(w) for name, w in self.used(dict(state.weights)).items()}
        zs, activations, slopes = [], [], []
        a = x
        for layer in range(len(weights) // 2):
            product = self.operand(a) @ self.operand(weights[kernel_name(layer)])
            z = self._typed(self.linear(product + weights[bias_name(layer)], layer))
            zs.append(z)
            if layer < len(self.hidden):
                a, slope = self._activate(self.hidden[layer], z)
                a = self._typed(self.between(a, layer))
                activations.append(a)
                slopes.append(slope)
        loss, dz = self._loss(zs[-1], labels)
        gradient = self._backward(weights, [x, *activations], slopes, dz)
        if self.penalty is not None:
            extra, slope_of = self.penalty(dict(state.weights))
            loss += extra
            gradient = {name: g + self._typed(slope_of[name]) for name, g in gradient.items()}
        gradient = self._all_typed(self.gradient(gradient, self))
        return StepRecord(
            inputs=x,
            pre_activations=tuple(zs),
            activations=tuple(activations),
            loss=float(self.dtype(loss)),
            gradient=gradient,
            state=self._updated(state, gradient),
        )

    def _typed(self, tensor: Array) -> Array:
        return np.asarray(tensor).astype(self.dtype)

    def _all_typed(self, tensors: Mapping[str, Array]) -> Doubles:
        return {name: self._typed(tensor) for name, tensor in tensors.items()}

    def _activate(self, hidden: str | Hidden, z: Array) -> tuple[Array, Array]:
        if isinstance(hidden, str):
            return reference.activate(hidden, z)
        return self._typed(hidden.function(z)), self._typed(hidden.derivative(z))

    def _loss(self, z: Array, labels: Array) -> tuple[float, Array]:
        if self.loss is not None:
            loss, dz = self.loss(z.astype(np.float64), labels)
            return loss, self._typed(dz)
        dz = np.exp(reference.log_softmax(z))
        dz[np.arange(len(labels)), labels] -= 1
        return float(reference.sample_losses(z, labels).mean()), dz / self.dtype(len(labels))

    def _backward(
        self, weights: Tensors, inputs: Sequence[Array], slopes: Sequence[Array], dz: Array
    ) -> Doubles:
        gradient: Doubles = {}
        for layer in reversed(range(len(inputs))):
            gradient[kernel_name(layer)] = self.operand(inputs[layer]).T @ self.operand(dz)
            gradient[bias_name(layer)] = dz.sum(axis=0)
            if layer:
                below = self.operand(dz) @ self.operand(weights[kernel_name(layer)]).T
                dz = self._typed(below * slopes[layer - 1])
        return gradient

    def _updated(self, state: State, gradient: Doubles) -> State:
        if self.update is not None:
            new = self.update(state, gradient, self)
            weights, slots = new if isinstance(new, tuple) else (new, {})
            typed = {slot: self._all_typed(tensors) for slot, tensors in slots.items()}
            return State(state.step + 1, self._all_typed(weights), typed)
        weights, slots = reference.update(
            self.spec.optimizer,
            weights=state.weights,
            slots=state.slots,
            gradient=gradient,
            step=state.step + 1,
        )
        return State(state.step + 1, weights, slots)


class Switched:
    """One side before a step (counted from 1), another one from it on."""

    def __init__(self, before: NumpySide, after: NumpySide, *, at: int) -> None:
        self.before, self.after, self.at = before, after, at
        self.asked: list[int] = []

    def step(self, state: State, images: Array, labels: Array) -> StepRecord:
        """By the step that the state stands before."""
        self.asked.append(state.step + 1)
        side = self.after if state.step + 1 >= self.at else self.before
        return side.step(state, images, labels)


def rate(side: NumpySide, state: State, factor: float = 1.0) -> Any:
    """The learning rate of the step after a state, times a factor, in the side's precision."""
    return side.dtype(side.spec.optimizer.rate_at(state.step + 1) * factor)


def sgd(
    direction: Callable[[str, Array, Array, NumpySide], Array], *, factor: float = 1.0
) -> Update:
    """An update `w - lr * factor * direction(name, w, g, side)`."""

    def update(state: State, gradient: Doubles, side: NumpySide) -> Doubles:
        lr = rate(side, state, factor)
        return {
            name: w - lr * side.dtype(1) * direction(name, w, gradient[name], side)
            for name, w in state.weights.items()
        }

    return update
