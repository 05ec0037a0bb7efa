"""Activations that differ where no judged step has gone."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_mlp.parity.pair.activations import untold_activations
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.weight_map import LayerPair, WeightMap
from mnist_mlp.ports.pair import PairFacts, PairLayer
from mnist_mlp.ports.pair_rows import PairRows

ROWS = PairRows(np.zeros((8, 2)), np.zeros(8), 4)

Named = tuple[str, dict[str, float]]


def facts(framework: str, *kinds: Named) -> PairFacts:
    """Dense layers with an activation behind each."""
    layers: list[PairLayer] = []
    for kind, settings in kinds:
        layers.append(PairLayer(len(layers), "dense", "dense", shapes={"kernel": (2, 2)}))
        layers.append(PairLayer(len(layers), f"act: {kind}", kind, settings))
    return PairFacts(framework, tuple(layers), 0)


def untold(a: tuple[Named, ...], b: tuple[Named, ...]) -> list[str]:
    sides = facts("keras", *a), facts("torch", *b)
    dense = [[x for x in side.layers if x.shapes] for side in sides]
    weights = WeightMap(tuple(LayerPair(x, y) for x, y in zip(*dense, strict=True)))
    return untold_activations(PairRun(lambda job: (), *sides, (), ROWS, weights, rows_a=ROWS))


RELU: Named = ("relu", {})
RELU6: Named = ("relu6", {})
STEEP: Named = ("leaky_relu", {"slope": 0.3})
FLAT: Named = ("leaky_relu", {"slope": 0.01})


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ((RELU6, RELU), (RELU6, RELU), []),
        ((RELU6, RELU), (RELU, RELU), ["act: relu instead of act: relu6"]),
        ((RELU, STEEP), (RELU, FLAT), ["slope 0.01 instead of 0.3 in act: leaky_relu"]),
        ((RELU6, RELU), (RELU, RELU6), []),
        ((("sigmoid", {}), RELU), (("tanh", {}), RELU), []),
    ],
    ids=["the same", "no bound", "another slope", "other branches first", "others show"],
)
def test_what_no_step_tells_apart(
    a: tuple[Named, ...], b: tuple[Named, ...], told: list[str]
) -> None:
    assert untold(a, b) == told
