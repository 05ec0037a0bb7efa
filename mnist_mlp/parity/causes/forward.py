"""Why a layer's output does not follow from its own input and the shared weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import pi, sqrt

import numpy as np

from mnist_mlp.parity.causes.hypothesis import Hypothesis, step_of
from mnist_mlp.parity.findings import Cause, Finding, JudgedStep
from mnist_mlp.parity.steps.arbiter import Expected, OtherActivation, keep_bits, unjudged
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import NewState, Recipe
from mnist_mlp.reference import Array, activate, bias_name, kernel_name, sigmoid
from mnist_mlp.spec import ACTIVATIONS


def hypotheses(
    recipe: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """Causes of a wrong activation, or of a wrong pre-activation; for both, other arithmetic."""
    step = step_of(finding, steps)
    assert finding.layer is not None
    if finding.tensor == "activation":
        yield from _other_activations(recipe, step, finding.layer)
        yield from _between_layers(recipe, step, finding.layer)
    else:
        yield from _other_kernels(recipe, step, finding.layer)
        yield from _other_bias(recipe, step, finding.layer)
    yield from _other_arithmetic(recipe, steps, finding)


# --- The product ----------------------------------------------------------------------------------


def _other_kernels(recipe: Recipe, step: JudgedStep, layer: int) -> Iterator[Hypothesis]:
    shape = np.shape(step.shared.weights[kernel_name(layer)])

    every = range(len(step.record.pre_activations))
    uses = [("kernel_reshaped", filled_by_reshape), ("kernel_reshaped", read_by_reshape)]
    if shape[0] == shape[1]:
        uses.insert(0, ("kernel_transposed", transposed))
    for name, use in uses:
        for layers in (every, [layer]):
            where = "every layer" if layers is every else f"layer {layer}"
            yield Hypothesis(
                Cause(name, where),
                _arranged(recipe, step, use, layers),
                rung="init",
                before_training=True,
            )


def filled_by_reshape(kernel: Array) -> Array:
    """The kernel in use, if a weight (units, inputs) was filled with `kernel.reshape(...)`."""
    return kernel.reshape(kernel.shape[::-1]).T


def read_by_reshape(kernel: Array) -> Array:
    """The kernel in use, if a right weight (units, inputs) is reshaped where it is used."""
    return kernel.T.reshape(kernel.shape)


def transposed(kernel: Array) -> Array:
    """A square kernel with inputs and units exchanged; other kernels unchanged."""
    return kernel.T if kernel.shape[0] == kernel.shape[1] else kernel


_INVERSE: dict[Callable[[Array], Array], Callable[[Array], Array]] = {
    filled_by_reshape: read_by_reshape,
    read_by_reshape: filled_by_reshape,
    transposed: transposed,
}
"""The inverse of each arrangement."""


def _arranged(
    recipe: Recipe, step: JudgedStep, use: Callable[[Array], Array], layers: Sequence[int]
) -> Recipe:
    """The recipe with kernels in another arrangement.

    The gradient may be that of the specified kernel (the side arranges it within its forward pass)
    or that of the arranged one (it arranged its weights before). The one nearer to the side's own
    gradient is taken.
    """
    names = [kernel_name(layer) for layer in layers]

    def kernel(index: int, own: Array) -> Array:
        return use(own) if index in layers else own

    def gradient(exact: dict[str, Expected], moment: Moment) -> dict[str, Expected]:
        own = recipe.gradient(exact, moment)
        inverse = _INVERSE[use]
        restored = {n: Expected(inverse(own[n].value), inverse(own[n].terms)) for n in names}
        return {**own, **restored}

    arranged = replace(recipe, kernel=kernel)
    here = Moment(step)
    return min(
        (replace(arranged, gradient=gradient), arranged),
        key=lambda r: _gradient_distance(r, here),
    )


def _gradient_distance(recipe: Recipe, moment: Moment) -> float:
    got = moment.gradient
    return sum(float(((got[n] - g.value) ** 2).sum()) for n, g in recipe.gradients(moment).items())


def _other_bias(recipe: Recipe, step: JudgedStep, layer: int) -> Iterator[Hypothesis]:
    bias = np.asarray(step.shared.weights[bias_name(layer)], np.float64)
    if not bias.any():
        return

    def without(index: int, own: Array) -> Array:
        return np.zeros_like(own) if index == layer else own

    yield Hypothesis(Cause("bias_missing", f"layer {layer}"), replace(recipe, bias=without))


def without_biases(recipe: Recipe, layers: Sequence[int]) -> Recipe:
    """The recipe of a network in which some layers have no bias."""
    names = {bias_name(layer) for layer in layers}

    def bias(index: int, own: Array) -> Array:
        return np.zeros_like(own) if index in layers else recipe.bias(index, own)

    def gradient(exact: dict[str, Expected], moment: Moment) -> dict[str, Expected]:
        own = recipe.gradient(exact, moment)
        return own | {n: Expected(np.zeros_like(own[n].value), own[n].terms) for n in names}

    def update(changed: Recipe, moment: Moment) -> NewState:
        # A bias that does not exist has no new value, so nothing is compared with it.
        updated = recipe.update(changed, moment)
        missing = {n: unjudged(updated.weights[n].value) for n in names}
        slots = {
            slot: tensors | {n: unjudged(tensors[n].value) for n in names & tensors.keys()}
            for slot, tensors in updated.slots.items()
        }
        return NewState(updated.weights | missing, slots)

    return replace(recipe, bias=bias, gradient=gradient, update=update)


# --- Arithmetic -----------------------------------------------------------------------------------


NARROW = {"bfloat16_arithmetic": 7, "float16_arithmetic": 10, "float32_arithmetic": 23}
"""Mantissa bits of arithmetic that is coarser than the specification's."""


def _ties_away(tensor: Array) -> Array:
    return np.trunc(tensor + np.copysign(0.5, tensor))


CUTS: tuple[Callable[[Array], Array], ...] = (np.round, _ties_away, np.trunc)
"""Ways in which hardware and its emulations round an operand to fewer bits: ties to even, ties away
from 0, and truncation. TF32 drops 13 of 23 bits, so one operand in 8192 is a tie; a layer has
enough of them to show the difference."""


def _results(step: JudgedStep, finding: Finding) -> Sequence[Array]:
    """The output of the layer that broke. Other layers may compute in float32."""
    assert finding.layer is not None
    kind = (
        step.record.activations if finding.tensor == "activation" else step.record.pre_activations
    )
    return kind[finding.layer : finding.layer + 1]


def _other_arithmetic(
    recipe: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """Results that fit into fewer mantissa bits, or operands that were rounded to 11 bits.

    All later stages are then judged by the rounding of that arithmetic.
    """
    results = [result for step in steps for result in _results(step, finding)]
    for name, bits in NARROW.items():
        if 2.0**-bits > recipe.eps and all(np.array_equal(keep_bits(z, bits), z) for z in results):
            coarse = replace(recipe, eps=2.0**-bits)
            yield Hypothesis(Cause(name), coarse)
            return
    for cut in CUTS:

        def operand(tensor: Array, cut: Callable[[Array], Array] = cut) -> Array:
            return keep_bits(tensor, 10, cut)

        # The gradient's products are cut the same way.
        yield Hypothesis(
            Cause("tf32_arithmetic", "matrix products with 10 mantissa bits"),
            replace(recipe, operand=operand, gradient_eps=2.0**-10),
        )


# --- The activation -------------------------------------------------------------------------------


def _hard_sigmoid_2(z: Array) -> Array:
    return np.clip(0.2 * z + 0.5, 0, 1)


def _hard_sigmoid_3(z: Array) -> Array:
    return np.clip(z + 3, 0, 6) / 6


def _gelu_tanh(z: Array) -> Array:
    return 0.5 * z * (1 + np.tanh(sqrt(2 / pi) * (z + 0.044715 * z**3)))


OTHERS: dict[str, Callable[[Array], Array]] = {
    "hard_sigmoid": _hard_sigmoid_2,
    "hard_sigmoid (Keras 3, torch)": _hard_sigmoid_3,
    "gelu (tanh approximation)": _gelu_tanh,
    "quick_gelu": lambda z: z * sigmoid(1.702 * z),
    "relu6": lambda z: np.clip(z, 0, 6),
    "hard_tanh": lambda z: np.clip(z, -1, 1),
    "hard_swish": lambda z: z * _hard_sigmoid_3(z),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "exponential": np.exp,
    "log_sigmoid": lambda z: -np.logaddexp(0, -z),
}
"""Activations that a specification can't name."""


def numeric_slope(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The derivative of a function as a central difference; its error is about 1e-10.

    At a kink it is the mean of both slopes.
    """
    # Smaller steps lose digits by cancellation (eps / h), larger ones by curvature (h^2).
    h = 1e-6
    return lambda z: (function(z + h) - function(z - h)) / (2 * h)


def _other_activations(recipe: Recipe, step: JudgedStep, layer: int) -> Iterator[Hypothesis]:
    specified = recipe.names[layer]
    z = np.asarray(step.record.pre_activations[layer], np.float64)
    a = np.asarray(step.record.activations[layer], np.float64)

    def at(new: str | OtherActivation, label: str, *, name: str = "") -> Iterator[Hypothesis]:
        for layers in (range(len(recipe.names)), [layer]):
            names = tuple(
                new if index in layers and recipe.names[index] == specified else old
                for index, old in enumerate(recipe.names)
            )
            usual = specified if isinstance(specified, str) else specified.name
            chosen = name or _activation_cause(usual, label)
            yield Hypothesis(
                Cause(chosen, f"{label} instead of {usual}"), replace(recipe, activations=names)
            )

    for name in ACTIVATIONS:
        if name != specified:
            yield from at(name, name)
    negative = z < -1e-3  # nearer to 0, the quotient a / z is mostly rounding
    if negative.any():
        slope = float(np.median(a[negative] / z[negative]))
        if 1e-4 < slope < 1:  # 0 is ReLU, 1 is linear
            label = f"leaky_relu({slope:.4g})"
            yield from at(label, label, name="leaky_relu_slope")
    for label, function in OTHERS.items():
        yield from at(OtherActivation(label, function, numeric_slope(function)), label)


def _activation_cause(specified: str, label: str) -> str:
    if label.startswith("hard_sigmoid") and specified == "sigmoid":
        return "hard_sigmoid"
    if label.startswith("gelu (tanh") and specified == "gelu":
        return "gelu_tanh_approximation"
    return "activation_missing" if label == "linear" else "other_activation"


def _between_layers(recipe: Recipe, step: JudgedStep, layer: int) -> Iterator[Hypothesis]:
    """Dropout and normalisation between two layers.

    They are recognised by their output and not replayed: dropout draws random numbers, and
    normalisation has parameters and statistics that are not in the record. So the rungs `forward`
    and `gradient` are muted.
    """
    name = recipe.names[layer]
    if not isinstance(name, str):
        return
    z = np.asarray(step.record.pre_activations[layer], np.float64)
    a = np.asarray(step.record.activations[layer], np.float64)
    muted = replace(recipe, muted=recipe.muted | {"forward", "gradient"})
    exact, _ = activate(name, z)
    # Smaller activations are left out: a 0 there may be a rounding, and their quotients are not
    # exact enough.
    kept = (a != 0) & (np.abs(exact) > 1e-6)
    dropped = (a == 0) & (np.abs(exact) > 1e-6)
    # Dropout draws for each element. If whole rows or whole units are 0, it is another fault.
    whole = any(not (dropped.any(axis=x) & kept.any(axis=x)).any() for x in (0, 1))
    if dropped.any() and kept.any() and not whole:
        factor = a[kept] / exact[kept]
        if np.allclose(factor, factor.flat[0], rtol=1e-4):
            # As for inputs (`data._dropped`): the factor 1 / (1 - rate) gives the rate exactly.
            exact_rate = 1 - 1 / float(factor.flat[0])
            share = dropped.sum() / (dropped.sum() + kept.sum())
            rate = exact_rate if exact_rate > 0 else share
            yield Hypothesis(Cause("dropout", f"rate {rate:.3g} after layer {layer}"), muted)
    for axis, cause in ((0, "batch_normalisation"), (1, "layer_normalisation")):
        for epsilon in (1e-3, 1e-5):  # the defaults of Keras and of torch

            def normal(t: Array, axis: int = axis, epsilon: float = epsilon) -> Array:
                variance = t.var(axis=axis, keepdims=True)
                return (t - t.mean(axis=axis, keepdims=True)) / np.sqrt(variance + epsilon)

            # Before the activation, and after it.
            for normalised in (activate(name, normal(z))[0], normal(exact)):
                if np.allclose(a, normalised, rtol=1e-3, atol=1e-4 * np.abs(a).max()):
                    yield Hypothesis(Cause(cause, f"epsilon {epsilon:g}, layer {layer}"), muted)
