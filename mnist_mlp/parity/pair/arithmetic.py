"""How exactly a side computes: its float32 step against its own float64 one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from mnist_mlp.parity.steps.arbiter import keep_bits
from mnist_mlp.ports.pair import RESULT, PairStep, layer_and_role
from mnist_mlp.reference import Array

COARSE = 1e-4
"""Share of an output that products in float32 do not lose: they lose 1e-7 to 1e-5, those in TF32
and 16 bits 3e-4 and more."""

DOUBLE = 1e-12
"""Less than this is lost only where a model computes in float64 whatever it is asked for."""


def lost(single: PairStep, double: PairStep) -> float | None:
    """The relative error of the outputs of layers with weights, the middle one of them; of the
    result of the whole model where no layer is known, and None where that is not known either."""
    numbers = single.inputs.keys() & double.inputs.keys()
    if not numbers:
        if single.result is None or double.result is None:
            return None
        return _apart({RESULT: single.result}, {RESULT: double.result}, RESULT)
    return _middle(_apart(single.outputs, double.outputs, number) for number in numbers)


def lost_in_products(single: PairStep, double: PairStep) -> float:
    """What layers with kernels add to the relative error of their inputs, the middle one of them.

    Only products are made in TF32 or 16 bits where a model is else in float32. What a
    normalisation loses does not count: Keras's variance of an image's border, which hardly varies,
    loses 3e-4 in honest float32. The middle counts, since a ReLU that flips moves all behind it.
    """
    roles = map(layer_and_role, single.before)
    numbers = {number for number, role in roles if role == "kernel"} & single.inputs.keys()
    pairs = (
        (_apart(single.inputs, double.inputs, n), _apart(single.outputs, double.outputs, n))
        for n in numbers & double.inputs.keys()
    )
    return _middle(
        None if before is None or after is None else max(after - before, 0.0)
        for before, after in pairs
    )


NARROW = {"bfloat16_arithmetic": 7, "float16_arithmetic": 10}
"""Mantissa bits of 16-bit numbers."""


def narrow(single: PairStep) -> str:
    """The cause whose numbers all results of layers with kernels are; empty for none."""
    roles = map(layer_and_role, single.before)
    numbers = {number for number, role in roles if role == "kernel"} & single.outputs.keys()
    results = [single.outputs[number] for number in numbers]
    fitting = (
        name
        for name, bits in NARROW.items()
        if results and all(np.array_equal(keep_bits(x, bits), x) for x in results)
    )
    return next(fitting, "")


def _apart(single: Mapping[int, Array], double: Mapping[int, Array], number: int) -> float | None:
    """Relative distance of two results of a layer; None if there are none to compare."""
    x, exact = single.get(number), double.get(number)
    if x is None or exact is None or x.shape != exact.shape:
        return None
    return float(np.linalg.norm(x - exact)) / (float(np.linalg.norm(exact)) or 1.0)


def _middle(errors: Iterable[float | None]) -> float:
    known = [error for error in errors if error is not None]
    return float(np.median(known)) if known else 0.0


PRECISION = 20 * float(np.finfo(np.float64).eps / np.finfo(np.float32).eps)
"""What float64 loses for what float32 loses in the same place, twenty times over."""


def conditioning(single: PairStep, double: PairStep) -> dict[str, float]:
    """What each gradient may lose in float64, as a share of its largest element.

    An ill-conditioned tensor, of which float32 leaves little right, is not as exact in float64 as
    the others either.
    """
    found = {}
    for name in single.gradients.keys() & double.gradients.keys():
        exact = double.gradients[name]
        size = float(np.abs(exact).max(initial=0.0))
        apart = float(np.abs(single.gradients[name] - exact).max(initial=0.0))
        found[name] = PRECISION * apart / size if size else 0.0
    return found
