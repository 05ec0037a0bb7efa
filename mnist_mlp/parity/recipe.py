"""A step as a chain of exact functions, each of which a hypothesis may replace.

`Recipe(spec)` is the specification itself. A hypothesis about a fault is the same recipe with one
link exchanged: if a side's numbers follow the exchanged recipe down to rounding, and did not follow
the original, the fault has a name. Later stages are then judged by the exchanged recipe, so that
one fault is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnist_mlp.parity import arbiter
from mnist_mlp.parity.arbiter import Judged, Passed
from mnist_mlp.parity.evidence import JudgedStep
from mnist_mlp.reference import (
    Array,
    Tensors,
    bias_name,
    clip_by_global_norm,
    kernel_name,
    update,
)
from mnist_mlp.spec import OptimizerSpec, Spec

Doubles = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Moment:
    """A judged step together with the side's steps before it in the same window, oldest first."""

    now: JudgedStep
    before: Sequence[JudgedStep] = ()

    @property
    def weights(self) -> Doubles:
        """The shared weights in float64."""
        return doubles(self.now.shared.weights)

    @property
    def slots(self) -> dict[str, Doubles]:
        """The shared optimizer state in float64."""
        return {slot: doubles(tensors) for slot, tensors in self.now.shared.slots.items()}

    @property
    def gradient(self) -> Doubles:
        """The side's own gradient in float64."""
        return doubles(self.now.record.gradient)

    @property
    def step(self) -> int:
        """The step's number, from 1."""
        return self.now.step


def doubles(tensors: Tensors) -> Doubles:
    """Copies in float64."""
    return {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}


def scaled_pixels(images: Array) -> Judged:
    """uint8 / 255: one correctly rounded division, so one unit is already an ulp too many."""
    x = np.asarray(images, np.float64) / 255
    return Judged(x, np.abs(x))


def same_tensor(layer: int, tensor: Array) -> Array:
    """A kernel or a bias as it was handed over."""
    del layer
    return tensor


def same_operand(tensor: Array) -> Array:
    """No rounding of a matrix product's operands."""
    return tensor


def same_gradient(gradient: dict[str, Judged], moment: Moment) -> dict[str, Judged]:
    """The gradient as it comes."""
    del moment
    return gradient


@dataclass(frozen=True, eq=False)
class Updated:
    """New weights, and the new optimizer state as far as the specification knows it."""

    weights: dict[str, Judged]
    slots: dict[str, dict[str, Judged]] = field(default_factory=dict)


def specified_update(recipe: Recipe, moment: Moment) -> Updated:
    """`reference.update` on the side's own gradient."""
    optimizer = recipe.spec.optimizer
    weights, slots, gradient = moment.weights, moment.slots, moment.gradient
    new, new_slots = update(
        optimizer, weights=weights, slots=slots, gradient=gradient, step=moment.step
    )
    terms = arbiter.update_terms(
        optimizer,
        weights=weights,
        slots=slots,
        new_slots=new_slots,
        gradient=clip_by_global_norm(gradient, optimizer.clip_norm),
        step=moment.step,
    )
    if optimizer.clip_norm:
        # torch's clip_grad_norm_ adds 1e-6 to the divisor: tolerated, for it is nobody's fault.
        loose = 1e-6 / optimizer.clip_norm / recipe.eps
        terms = {name: t + loose * np.abs(weights[name] - new[name]) for name, t in terms.items()}
    judged_slots: dict[str, dict[str, Judged]] = {}
    for slot, tensors in new_slots.items():
        judged_slots[slot] = {}
        for name, value in tensors.items():
            entering = _entering(recipe, moment, name, slot)
            judged_slots[slot][name] = Judged(
                value, np.abs(value) + np.abs(slots[slot][name]) + entering
            )
    return Updated({name: Judged(new[name], terms[name]) for name in new}, judged_slots)


def _entering(recipe: Recipe, moment: Moment, name: str, slot: str) -> Array:
    optimizer = recipe.spec.optimizer
    d = np.abs(moment.gradient[name]) + optimizer.weight_decay * np.abs(moment.weights[name])
    return entering(optimizer, slot, d)


def entering(optimizer: OptimizerSpec, slot: str, d: Array) -> Array:
    """What a direction of absolute terms `d` adds to a slot's."""
    if slot == "second_moment":
        return (1 - optimizer.beta_2) * d * d
    return (1 - optimizer.beta_1) * d if slot == "first_moment" else d


@dataclass(frozen=True, eq=False)
class Recipe:
    """Every link of a training step; the defaults are the specification's."""

    spec: Spec
    eps: float
    image_shape: tuple[int, int] = (0, 0)
    pixels: Callable[[Array], Judged] = scaled_pixels
    kernel: Callable[[int, Array], Array] = same_tensor
    bias: Callable[[int, Array], Array] = same_tensor
    operand: Callable[[Array], Array] = same_operand
    activations: tuple[Any, ...] = ()
    """Per hidden layer: a name of the specification, or an `arbiter.OtherActivation`."""
    loss: Callable[[Array, Array], Judged] = arbiter.mean_cross_entropy
    at_logits: Callable[[Array, Array], Judged] = arbiter.logit_gradient
    penalty: Callable[[Doubles], Judged] | None = None
    """Added to the loss, as a function of the weights (a regulariser)."""
    gradient: Callable[[dict[str, Judged], Moment], dict[str, Judged]] = same_gradient
    gradient_eps: float = 0.0
    """Rounding of the gradient's own matrix products, where it is coarser than `eps`."""
    update: Callable[[Recipe, Moment], Updated] = specified_update
    muted: frozenset[str] = frozenset()
    """Rungs that are no longer judged, because what broke them could not be named."""

    @property
    def names(self) -> tuple[Any, ...]:
        """The activation of each hidden layer."""
        return self.activations or self.spec.model.activations[:-1]

    # --- The stages, each from the one before it on the same side ---------------------------------

    def pre_activation(self, moment: Moment, layer: int) -> Judged:
        """`z` of a layer, from the side's own input to it."""
        record, weights = moment.now.record, moment.now.shared.weights
        below = record.activations[layer - 1] if layer else record.inputs
        kernel = self.kernel(layer, np.asarray(weights[kernel_name(layer)], np.float64))
        bias = self.bias(layer, np.asarray(weights[bias_name(layer)], np.float64))
        operand = np.asarray(below, np.float64)
        return arbiter.dense(self.operand(operand), self.operand(kernel), bias)

    def activation(self, moment: Moment, layer: int) -> Judged:
        """`a` of a hidden layer, from the side's own `z`."""
        z = moment.now.record.pre_activations[layer]
        chosen = self.names[layer]
        return arbiter.activation(chosen, z) if isinstance(chosen, str) else chosen.judged(z)

    def batch_loss(self, moment: Moment) -> Judged:
        """The loss, from the side's own logits."""
        judged = self.loss(moment.now.record.pre_activations[-1], moment.now.labels)
        if self.penalty is not None:
            extra = self.penalty(moment.weights)
            judged = Judged(judged.value + extra.value, judged.terms + extra.terms)
        return judged

    def gradients(self, moment: Moment) -> dict[str, Judged]:
        """Every gradient, from the side's own forward values."""
        record = moment.now.record
        at_logits = self.at_logits(record.pre_activations[-1], moment.now.labels)
        weights = {
            name: self.kernel(int(name.split(".")[1]), np.asarray(w, np.float64))
            if name.endswith("kernel")
            else w
            for name, w in moment.now.shared.weights.items()
        }
        exact = arbiter.gradients(
            weights,
            (*self.names, "softmax"),
            Passed(record.inputs, record.pre_activations, record.activations),
            at_logits,
        )
        coarser = max(self.gradient_eps / self.eps, 1.0)
        exact = {name: Judged(g.value, g.terms * coarser) for name, g in exact.items()}
        return self.gradient(exact, moment)

    def updated(self, moment: Moment) -> Updated:
        """New weights and slots, from the side's own gradient."""
        return self.update(self, moment)
