"""Arithmetic that is coarser or finer than the specification's: named as a class of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy_side import NumpySide
from small_problems import look_at, only_break, problem, spec_of, told

from mnist_mlp.parity.causes.explain import explain
from mnist_mlp.reference import Array
from mnist_mlp.spec import Spec

SIGMOID = spec_of()


def ten_bits(tensor: Array) -> Array:
    """As tensor cores take float32 operands: 13 of the 23 mantissa bits cut, to nearest."""
    bits = np.asarray(tensor, np.float32).view(np.uint32)
    return ((bits + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)


def cut_bits(tensor: Array) -> Array:
    return (np.asarray(tensor, np.float32).view(np.uint32) & 0xFFFFE000).view(np.float32)


def bfloat16(tensor: Array) -> Array:
    bits = np.asarray(tensor, np.float32).view(np.uint32)
    return ((bits + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def half(tensor: Array) -> Array:
    return tensor.astype(np.float16)


def to_even(tensor: Array) -> Array:
    bits = np.asarray(tensor, np.float32).view(np.uint32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("operand", [ten_bits, cut_bits, to_even])
@pytest.mark.parametrize("spec", [SIGMOID, spec_of("relu"), spec_of(momentum=0.9)])
def test_matrix_products_with_ten_mantissa_bits(
    spec: Spec, operand: Callable[[Array], Array]
) -> None:
    found = only_break(spec, operand=operand)
    assert told(found) == ("tf32_arithmetic", "forward", 1, 0, "pre_activation")


def test_float64_where_float32_was_asked_for() -> None:
    """Nearer to the truth than any rounding, and another arithmetic all the same."""
    steps = [
        replace(
            step,
            record=replace(
                step.record,
                pre_activations=tuple(
                    z + 1e-12 for z in map(np.float64, step.record.pre_activations)
                ),
            ),
        )
        for step in problem(SIGMOID).steps(NumpySide(SIGMOID))
    ]
    (found,) = explain(problem(SIGMOID).recipe, steps, side="a").breaks
    assert told(found) == ("float64_arithmetic", "forward", 1, 0, "pre_activation")


@pytest.mark.parametrize(
    ("rounded", "cause"), [(bfloat16, "bfloat16_arithmetic"), (half, "float16_arithmetic")]
)
def test_layers_that_compute_in_sixteen_bits(rounded: Callable[[Array], Array], cause: str) -> None:
    """Mixed precision: products and activations of 16 bits, weights and updates of 32."""
    found = look_at(
        NumpySide(
            SIGMOID,
            operand=rounded,
            linear=lambda z, layer: rounded(z),
            between=lambda a, layer: rounded(a),
        ),
        SIGMOID,
    ).breaks
    assert told(found[0]) == (cause, "forward", 1, 0, "pre_activation")
