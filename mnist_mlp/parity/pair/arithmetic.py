"""How exactly a side computes: its float32 step against its own float64 one."""

from __future__ import annotations

import numpy as np

from mnist_mlp.ports.pair import PairStep

COARSE = 1e-4
"""Share of an output that float32 does not lose: it loses 1e-7 to 1e-5, TF32 and 16 bits 3e-4 and
more. The middle of all layers counts, since one ReLU that flips moves all behind it."""

DOUBLE = 1e-12
"""Less than this is lost only where a model computes in float64 whatever it is asked for."""


def lost(single: PairStep, double: PairStep) -> float:
    """The relative error of the outputs of layers with weights, the middle one of them."""
    errors = []
    for number in single.inputs.keys() & double.inputs.keys():
        x, exact = single.outputs.get(number), double.outputs.get(number)
        if x is None or exact is None or x.shape != exact.shape:
            continue
        size = float(np.linalg.norm(exact)) or 1.0
        errors.append(float(np.linalg.norm(x - exact)) / size)
    return float(np.median(errors)) if errors else 0.0


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
