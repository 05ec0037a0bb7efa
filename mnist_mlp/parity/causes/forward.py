"""Why a layer's output is not what its input and the shared weights make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import pi, sqrt

import numpy as np

from mnist_mlp.parity.causes.hypothesis import Hypothesis
from mnist_mlp.parity.findings import Cause, Finding, JudgedStep
from mnist_mlp.parity.steps.arbiter import Expected, OtherActivation, keep_bits, unjudged
from mnist_mlp.parity.steps.moment import Moment
from mnist_mlp.parity.steps.recipe import NewState, Recipe
from mnist_mlp.reference import Array, activate, bias_name, kernel_name, sigmoid
from mnist_mlp.spec import ACTIVATIONS


def hypotheses(
    recipe: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """Other activations for an activation; another use of the kernel, or other arithmetic, else."""
    step = next(s for s in steps if s.step == finding.step and s.stress == finding.stress)
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
    """What a layer multiplies by when its (units, inputs) weight is the kernel, reshaped."""
    return kernel.reshape(kernel.shape[::-1]).T


def read_by_reshape(kernel: Array) -> Array:
    """...and when its (units, inputs) weight is right, and reshaped where it is used."""
    return kernel.T.reshape(kernel.shape)


def transposed(kernel: Array) -> Array:
    """Of a square kernel: inputs and units exchanged."""
    return kernel.T if kernel.shape[0] == kernel.shape[1] else kernel


_BACK: dict[Callable[[Array], Array], Callable[[Array], Array]] = {
    filled_by_reshape: read_by_reshape,
    read_by_reshape: filled_by_reshape,
    transposed: transposed,
}
"""Each arrangement's inverse."""


def _arranged(
    recipe: Recipe, step: JudgedStep, use: Callable[[Array], Array], layers: Sequence[int]
) -> Recipe:
    """The recipe with kernels in another arrangement, and their gradients brought back from it.

    Unless the side does not: its gradient may be that of the arranged kernel.
    """
    names = [kernel_name(layer) for layer in layers]

    def kernel(index: int, own: Array) -> Array:
        return use(own) if index in layers else own

    def gradient(exact: dict[str, Expected], moment: Moment) -> dict[str, Expected]:
        own = recipe.gradient(exact, moment)
        back = _BACK[use]
        turned = {n: Expected(back(own[n].value), back(own[n].terms)) for n in names}
        return {**own, **turned}

    moved = replace(recipe, kernel=kernel)
    back = replace(moved, gradient=gradient)
    here = Moment(step)
    return min((back, moved), key=lambda r: _gradient_distance(r, here))


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
    """The recipe of a network some of whose layers have no bias."""
    names = {bias_name(layer) for layer in layers}

    def bias(index: int, own: Array) -> Array:
        return np.zeros_like(own) if index in layers else recipe.bias(index, own)

    def gradient(exact: dict[str, Expected], moment: Moment) -> dict[str, Expected]:
        own = recipe.gradient(exact, moment)
        return own | {n: Expected(np.zeros_like(own[n].value), own[n].terms) for n in names}

    def update(changed: Recipe, moment: Moment) -> NewState:
        updated = recipe.update(changed, moment)
        nothing = {n: unjudged(updated.weights[n].value) for n in names}
        slots = {
            slot: tensors | {n: unjudged(tensors[n].value) for n in names & tensors.keys()}
            for slot, tensors in updated.slots.items()
        }
        return NewState(updated.weights | nothing, slots)

    return replace(recipe, bias=bias, gradient=gradient, update=update)


# --- Arithmetic -----------------------------------------------------------------------------------


NARROW = {"bfloat16_arithmetic": 7, "float16_arithmetic": 10, "float32_arithmetic": 23}
"""Mantissa bits of arithmetic that is coarser than the specification's."""


def _ties_away(tensor: Array) -> Array:
    return np.trunc(tensor + np.copysign(0.5, tensor))


CUTS: tuple[Callable[[Array], Array], ...] = (np.round, _ties_away, np.trunc)
"""How hardware and its emulations bring an operand to fewer bits: one tie in 8192 weights is
enough to tell them apart."""


def _results(step: JudgedStep, finding: Finding) -> Sequence[Array]:
    """What the layer that broke made of its input; other layers may compute in float32."""
    assert finding.layer is not None
    kind = (
        step.record.activations if finding.tensor == "activation" else step.record.pre_activations
    )
    return kind[finding.layer : finding.layer + 1]


def _other_arithmetic(
    recipe: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """Results that fewer significant bits can hold, or operands that were cut to 11 bits.

    From there on every stage is judged by that arithmetic's own rounding.
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
"""Activations that no specification has."""


def numeric_slope(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Central difference: 1e-10 near smooth points, one of both slopes at a kink."""
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
    negative = z < -1e-3
    if negative.any():
        slope = float(np.median(a[negative] / z[negative]))
        if 1e-4 < slope < 1:
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
    """Dropout and normalisation between two layers: found by what they leave, not replayed."""
    name = recipe.names[layer]
    if not isinstance(name, str):
        return
    z = np.asarray(step.record.pre_activations[layer], np.float64)
    a = np.asarray(step.record.activations[layer], np.float64)
    blind = replace(recipe, muted=recipe.muted | {"forward", "gradient"})
    exact, _ = activate(name, z)
    kept = (a != 0) & (np.abs(exact) > 1e-6)
    dropped = (a == 0) & (np.abs(exact) > 1e-6)
    # Dropout draws for each element: whole rows or whole units are something else.
    whole = any(not (dropped.any(axis=x) & kept.any(axis=x)).any() for x in (0, 1))
    if dropped.any() and kept.any() and not whole:
        factor = a[kept] / exact[kept]
        if np.allclose(factor, factor.flat[0], rtol=1e-4):
            rate = dropped.sum() / (dropped.sum() + kept.sum())
            scaled = 1 - 1 / float(factor.flat[0])
            fitted = scaled if scaled > 0 else rate
            yield Hypothesis(Cause("dropout", f"rate {fitted:.3g} after layer {layer}"), blind)
    for axis, cause in ((0, "batch_normalisation"), (1, "layer_normalisation")):
        for epsilon in (1e-3, 1e-5):

            def normal(t: Array, axis: int = axis, epsilon: float = epsilon) -> Array:
                variance = t.var(axis=axis, keepdims=True)
                return (t - t.mean(axis=axis, keepdims=True)) / np.sqrt(variance + epsilon)

            for made in (activate(name, normal(z))[0], normal(exact)):
                if np.allclose(a, made, rtol=1e-3, atol=1e-4 * np.abs(a).max()):
                    yield Hypothesis(Cause(cause, f"epsilon {epsilon:g}, layer {layer}"), blind)
