"""Check that step records have the specified shapes and precision, and finite numbers.

Tensors of other shapes, and NaN and infinity, cannot be judged. Numbers in float64 can be judged,
but their errors would be too small to break any limit of float32; so they are looked for here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mnist_mlp.parity.findings import Finding, JudgedStep
from mnist_mlp.reference import Array, tensor_name
from mnist_mlp.spec import ModelSpec

Named = tuple[str, int | None, str, tuple[int, ...] | None, tuple[int, ...]]
"""Rung, layer, tensor, its shape (None if it is missing) and the shape it should have."""


def misshapen(model: ModelSpec, steps: Sequence[JudgedStep]) -> Finding | None:
    """The first tensor, by step and then by rung, that is missing or has a wrong shape."""
    for step in sorted(steps, key=lambda s: (s.stress, s.step)):
        for rung, layer, tensor, got, expected in _tensors(model, step):
            if got != expected:
                found = "missing" if got is None else f"shape {got}"
                return Finding(
                    rung=rung,
                    epoch=step.epoch,
                    step=step.step,
                    layer=layer,
                    tensor=tensor,
                    size=np.inf,
                    got=np.nan,
                    expected=np.nan,
                    stress=step.stress,
                    note=f"{found}, expected {expected}",
                )
    return None


def finite_part(steps: Sequence[JudgedStep]) -> tuple[list[JudgedStep], str]:
    """The steps before the first one that has NaN or infinity, and a text that says what it is.

    The text is empty if all is finite. Stress batches are kept in any case: their purpose is large
    numbers, and overflow there is a fault of the side.
    """
    for step in sorted((s for s in steps if not s.stress), key=lambda s: s.step):
        for name, array in _numbers(step):
            if not np.isfinite(array).all():
                before = [s for s in steps if s.stress or s.step < step.step]
                return before, f"{name} is not finite at step {step.step} (epoch {step.epoch})"
    return list(steps), ""


def _numbers(step: JudgedStep) -> Iterator[tuple[str, Array]]:
    """All arrays of a step with a description, in the order in which they are computed."""
    record, shared = step.record, step.shared.weights
    yield from ((f"{name} before the update", w) for name, w in shared.items())
    yield "the batch", record.inputs
    for layer, z in enumerate(record.pre_activations):
        yield f"the output of layer {layer}", z
        if layer < len(record.activations):
            yield f"the activation of layer {layer}", record.activations[layer]
    yield "the loss", np.asarray(record.loss)
    yield from ((f"the gradient of {name}", g) for name, g in record.gradient.items())
    yield from ((f"{name} after the update", w) for name, w in record.state.weights.items())


def too_exact(steps: Sequence[JudgedStep]) -> Finding | None:
    """The first layer output with a number that is not a float32; for float32 specifications."""
    for step in sorted(steps, key=lambda s: (s.stress, s.step)):
        for layer, z in enumerate(step.record.pre_activations):
            with np.errstate(over="ignore"):
                single = np.asarray(z, np.float32)
            finer = np.flatnonzero(np.isfinite(z) & (single != z))
            if finer.size:
                last = layer == len(step.record.pre_activations) - 1
                return Finding(
                    rung="forward",
                    epoch=step.epoch,
                    step=step.step,
                    layer=layer,
                    tensor="logits" if last else "pre_activation",
                    size=0.0,
                    got=float(z.flat[finer[0]]),
                    expected=float(single.flat[finer[0]]),
                    stress=step.stress,
                )
    return None


def _tensors(model: ModelSpec, step: JudgedStep) -> Iterator[Named]:
    record, n, last = step.record, len(step.labels), len(model.layers) - 1
    yield "data", 0, "inputs", np.shape(record.inputs), (n, model.layer_sizes[0])
    for layer, (_, units, _) in enumerate(model.layers):
        name = "logits" if layer == last else "pre_activation"
        yield "forward", layer, name, _at(record.pre_activations, layer), (n, units)
        if layer < last:
            yield "forward", layer, "activation", _at(record.activations, layer), (n, units)
    for rung, tensors in (("gradient", record.gradient), ("update", record.state.weights)):
        for layer, (inputs, units, _) in enumerate(model.layers):
            for part, shape in (("kernel", (inputs, units)), ("bias", (units,))):
                tensor = tensors.get(tensor_name(layer, part))
                yield rung, layer, part, None if tensor is None else np.shape(tensor), shape


def _at(arrays: Sequence[Array], layer: int) -> tuple[int, ...] | None:
    return np.shape(arrays[layer]) if layer < len(arrays) else None
