"""Activations that differ where no judged step has gone."""

from __future__ import annotations

from collections import Counter

from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.segments import side_by_side
from mnist_mlp.parity.pair.settings import differing, told
from mnist_mlp.ports.pair import PairLayer

PIECEWISE = ("relu", "relu6", "leaky_relu", "elu")
"""Activations that are the same on a part of the numbers."""


def untold_activations(run: PairRun) -> list[str]:
    """In words, the activations that differ by what they are, if all judged steps agree.

    `relu6` in place of `relu` shows only where a number is above 6. Both sides may run their
    branches in other orders: nothing is said where they have the same activations altogether.
    """
    a, b = run.facts_a.layers, run.facts_b.layers
    if _counted(a) == _counted(b):
        return []
    found = []
    for place in range(len(run.weights.pairs) + 1):
        for beside in side_by_side(a, b, run.weights, place):
            x, y = beside.a, beside.b
            if x is None or y is None or not {x.kind, y.kind} <= set(PIECEWISE):
                continue
            unlike = [told(name, i, k, y.name) for name, i, k in differing(x, y)]
            if x.kind != y.kind:
                found.append(f"{y.name} instead of {x.name}")
            elif unlike:
                found.append(", ".join(unlike))
    return list(dict.fromkeys(found))


def _counted(layers: tuple[PairLayer, ...]) -> Counter[str]:
    return Counter(
        f"{layer.kind} {sorted(layer.settings.items())}"
        for layer in layers
        if layer.kind in PIECEWISE
    )
