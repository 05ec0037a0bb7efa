"""The layers that several losses look at: which of two models' are the same output.

They all have one input, so that the values of a step do not tell them apart. Names do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

from mnist_mlp.parity.pair.weight_map import WeightMap
from mnist_mlp.ports.pair import PairFacts, PairLayer

GENERIC = {
    *("dense", "linear", "head", "heads", "out", "output", "outputs", "fc", "layer", "layers"),
    *("net", "model", "module", "loss", "sequential", "classifier", "regressor", "branch", "task"),
    *("pred", "prediction", "logits", "functional"),
}
"""Words in the names of layers that tell nothing about one of several outputs."""

MOST = 4
"""Outputs whose order is looked for."""


def by_names(a: PairFacts, b: PairFacts, weights: WeightMap) -> WeightMap:
    """Outputs of equal shapes matched by their names; where these tell nothing, by their order."""
    return max(
        (weights, *exchanged(a, weights)),
        key=lambda each: (names_alike(a, b, each), _in_order(a, b, each)),
    )


def _in_order(a: PairFacts, b: PairFacts, weights: WeightMap) -> int:
    """How many outputs have the same place in both models."""
    ours, theirs = _places(a), _places(b)
    return sum(
        pair.a.number in ours
        and pair.b.number in theirs
        and ours.index(pair.a.number) == theirs.index(pair.b.number)
        for pair in weights.pairs
    )


def _places(facts: PairFacts) -> list[int]:
    """The layers behind the outputs, in the order of the outputs: in Keras, that in which they were
    compiled, as it may run branches in any order; in torch, that in which they run."""
    found = [loss.behind for loss in facts.losses if loss.behind is not None]
    return found if facts.framework == "keras" else sorted(found)


def exchanged(a: PairFacts, weights: WeightMap) -> Iterator[WeightMap]:
    """The same with outputs in other orders, as far as their shapes allow."""
    heads, pairs = _heads(a, weights), weights.pairs
    for order in list(permutations(heads))[1:]:
        moved = list(zip(heads, order, strict=True))
        if any(pairs[k].b.shapes != pairs[j].b.shapes for k, j in moved):
            continue
        changed = list(pairs)
        for k, j in moved:
            changed[k] = replace(pairs[k], b=pairs[j].b)
        yield replace(weights, pairs=tuple(changed))


def _heads(a: PairFacts, weights: WeightMap) -> list[int]:
    behind = {loss.behind for loss in a.losses}
    found = [k for k, pair in enumerate(weights.pairs) if pair.a.number in behind]
    return found if len(found) <= MOST else []


def names_alike(a: PairFacts, b: PairFacts, weights: WeightMap) -> int:
    """How many words the names of the outputs' layers share."""
    heads = [weights.pairs[k] for k in _heads(a, weights)]
    ours = [_words(pair.a, a) for pair in heads]
    theirs = [_words(pair.b, b) for pair in heads]
    # Keras numbers its layers through; numbers only tell something where both have the same.
    numbers = [
        sorted(word for words in side for word in words if word.isdigit())
        for side in (ours, theirs)
    ]
    told = numbers[0] == numbers[1]
    return sum(
        len({word for word in x & y if told or not word.isdigit()})
        for x, y in zip(ours, theirs, strict=True)
    )


def _words(layer: PairLayer, facts: PairFacts) -> set[str]:
    """Of the names of a layer, and of its output where the framework has one."""
    names = [layer.name.partition(":")[0]]
    if facts.framework == "keras":
        names += [x.name.partition(":")[0] for x in facts.losses if x.behind == layer.number]
    return set(re.findall(r"[a-z]+|[0-9]+", " ".join(names).lower())) - GENERIC
