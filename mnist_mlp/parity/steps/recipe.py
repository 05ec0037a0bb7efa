"""A training step as a chain of exact functions, each of which a hypothesis may replace.

`Recipe(spec)` is the step of the specification. A hypothesis about a fault is the same recipe with
one function replaced. If the numbers of a side agree with the changed recipe down to rounding, but
not with the original one, the cause is known. Later stages are then judged by the changed recipe,
so that one fault is reported once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mnist_mlp.parity.steps import arbiter
from mnist_mlp.parity.steps.arbiter import Expected, ForwardValues
from mnist_mlp.parity.steps.memory import memory_of
from mnist_mlp.parity.steps.moment import Doubles, Moment, doubles
from mnist_mlp.reference import (
    Array,
    bias_name,
    clip_by_global_norm,
    is_kernel,
    kernel_name,
    layer_of,
    update,
)
from mnist_mlp.spec import OptimizerSpec, Spec

CLIP_EPSILON = 1e-6
"""What torch's `clip_grad_norm_` adds to the norm before it divides by it."""


def scaled_pixels(images: Array) -> Expected:
    """uint8 / 255. This is one correctly rounded division, so an error of one ulp is too much."""
    x = np.asarray(images, np.float64) / 255
    return Expected(x, np.abs(x))


def same_tensor(layer: int, tensor: Array) -> Array:
    """A kernel or a bias, unchanged."""
    del layer
    return tensor


def same_operand(tensor: Array) -> Array:
    """An operand of a matrix product, not rounded."""
    return tensor


def same_gradient(gradient: dict[str, Expected], moment: Moment) -> dict[str, Expected]:
    """The gradient, unchanged."""
    del moment
    return gradient


@dataclass(frozen=True, eq=False)
class NewState:
    """New weights, and the new optimizer state as far as the specification defines it."""

    weights: dict[str, Expected]
    slots: dict[str, dict[str, Expected]] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether any new weight is judged."""
        return any(expected.is_judged for expected in self.weights.values())


def not_judged(moment: Moment) -> NewState:
    """The side's own new weights, not judged: for a step whose optimizer state is unknown."""
    new = doubles(moment.now.record.state.weights)
    return NewState({name: arbiter.unjudged(w) for name, w in new.items()})


def specified_update(recipe: Recipe, moment: Moment) -> NewState:
    """The update of the specification, applied to the side's own gradient."""
    optimizer = recipe.spec.optimizer
    weights, gradient = moment.weights, moment.gradient
    memory = memory_of(optimizer, moment)
    if memory is None:
        return not_judged(moment)
    slots = memory.slots
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
    loose = recipe.step_slack / recipe.eps
    terms = {
        name: t + loose * np.abs(weights[name] - new[name]) + memory.terms.get(name, 0.0)
        for name, t in terms.items()
    }
    judged_slots: dict[str, dict[str, Expected]] = {}
    for slot, tensors in new_slots.items():
        judged_slots[slot] = {}
        for name, value in tensors.items():
            # Squaring doubles a relative error; Adam's second moment squares the gradient.
            entering = (1 + 2 * loose) * _entering(recipe, moment, name, slot)
            judged_slots[slot][name] = Expected(
                value, np.abs(value) + np.abs(slots[slot][name]) + entering
            )
    return NewState({name: Expected(new[name], terms[name]) for name in new}, judged_slots)


def _entering(recipe: Recipe, moment: Moment, name: str, slot: str) -> Array:
    optimizer = recipe.spec.optimizer
    d = np.abs(moment.gradient[name]) + optimizer.weight_decay * np.abs(moment.weights[name])
    return entering(optimizer, slot, d)


def entering(optimizer: OptimizerSpec, slot: str, d: Array) -> Array:
    """The terms that a direction with the absolute terms `d` adds to those of a slot."""
    if slot == "second_moment":
        return (1 - optimizer.beta_2) * d * d
    return (1 - optimizer.beta_1) * d if slot == "first_moment" else d


@dataclass(frozen=True, eq=False)
class Recipe:
    """All functions of a training step. The defaults are those of the specification."""

    spec: Spec
    eps: float
    image_shape: tuple[int, int] = (0, 0)
    pixels: Callable[[Array], Expected] = scaled_pixels
    kernel: Callable[[int, Array], Array] = same_tensor
    bias: Callable[[int, Array], Array] = same_tensor
    operand: Callable[[Array], Array] = same_operand
    activations: tuple[Any, ...] = ()
    """For each hidden layer a name of the specification, or an `arbiter.OtherActivation`."""
    loss: Callable[[Array, Array], Expected] = arbiter.mean_cross_entropy
    at_logits: Callable[[Array, Array], Expected] = arbiter.logit_gradient
    penalty: Callable[[Doubles], Expected] | None = None
    """A regularizer: a function of the weights that is added to the loss."""

    gradient: Callable[[dict[str, Expected], Moment], dict[str, Expected]] = same_gradient
    gradient_eps: float = 0.0
    """Rounding of the matrix products of the gradient, if it is coarser than `eps`."""
    update: Callable[[Recipe, Moment], NewState] = specified_update
    slack: float = 0.0
    """Relative error of a whole step that a hypothesis allows in addition to rounding."""
    measured: frozenset[int] | None = None
    """Steps whose learning rate was measured on a side. None: the specification gives all rates.

    Updates at other steps are not judged, since the side's schedule is unknown there.
    """
    muted: frozenset[str] = frozenset()
    """Rungs that are no longer judged, since they broke and no cause was found."""

    @property
    def names(self) -> tuple[Any, ...]:
        """The activation of each hidden layer."""
        return self.activations or self.spec.model.activations[:-1]

    @property
    def step_slack(self) -> float:
        """Relative error of a whole step that is allowed in addition to rounding.

        With clipping it includes the 1e-6 that torch's `clip_grad_norm_` adds to the norm.
        """
        limit = self.spec.optimizer.clip_norm
        return self.slack + (CLIP_EPSILON / limit if limit else 0.0)

    def with_settings(self, **changes: Any) -> Recipe:
        """The recipe with other optimizer settings.

        `model_copy` does not validate: a hypothesis may need settings that a specification refuses,
        such as a negative learning rate.

        """
        optimizer = self.spec.optimizer.model_copy(update=changes)
        return replace(self, spec=self.spec.model_copy(update={"optimizer": optimizer}))

    # --- The stages, each from the one before it on the same side ---------------------------------

    def pre_activation(self, moment: Moment, layer: int) -> Expected:
        """`z` of a layer, computed from the side's own input of that layer."""
        record, weights = moment.now.record, moment.now.shared.weights
        below = record.activations[layer - 1] if layer else record.inputs
        kernel = self.kernel(layer, np.asarray(weights[kernel_name(layer)], np.float64))
        bias = self.bias(layer, np.asarray(weights[bias_name(layer)], np.float64))
        operand = np.asarray(below, np.float64)
        return arbiter.dense(self.operand(operand), self.operand(kernel), bias)

    def activation(self, moment: Moment, layer: int) -> Expected:
        """`a` of a hidden layer, computed from the side's own `z`."""
        z = moment.now.record.pre_activations[layer]
        chosen = self.names[layer]
        return arbiter.activation(chosen, z) if isinstance(chosen, str) else chosen.judged(z)

    def batch_loss(self, moment: Moment) -> Expected:
        """The loss of the batch, computed from the side's own logits."""
        judged = self.loss(moment.now.record.pre_activations[-1], moment.now.labels)
        if self.penalty is not None:
            extra = self.penalty(moment.weights)
            judged = Expected(judged.value + extra.value, judged.terms + extra.terms)
        return judged

    def gradients(self, moment: Moment) -> dict[str, Expected]:
        """The gradient of every tensor, computed from the side's own forward values."""
        record = moment.now.record
        at_logits = self.at_logits(record.pre_activations[-1], moment.now.labels)
        weights = {
            name: self.kernel(layer_of(name), np.asarray(w, np.float64)) if is_kernel(name) else w
            for name, w in moment.now.shared.weights.items()
        }
        exact = arbiter.gradients(
            weights,
            (*self.names, "softmax"),
            ForwardValues(record.inputs, record.pre_activations, record.activations),
            at_logits,
        )
        coarser = max(self.gradient_eps / self.eps, 1.0)
        exact = {name: Expected(g.value, g.terms * coarser) for name, g in exact.items()}
        return self.gradient(exact, moment)

    def updated(self, moment: Moment) -> NewState:
        """New weights and slots, computed from the side's own gradient."""
        if self.measured is not None and moment.step not in self.measured:
            return not_judged(moment)
        return self.update(self, moment)
