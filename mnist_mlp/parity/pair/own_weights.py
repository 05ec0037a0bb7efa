"""Weights that belong to no layer of a known kind: which of two models' are the same.

A layer that only one side has by the framework's own code, where the other has it by hand, is taken
apart: its tensors are weights of no layer, too. Shapes tell which weight is which, then names, then
the order. Where several arrangements fit, the values of a step decide (`PairRun.settle_own`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations, permutations, product

from mnist_mlp.parity.pair.weight_map import (
    LayerPair,
    Unlike,
    WeightMap,
    kind_and_shape,
    match,
    with_weights,
)
from mnist_mlp.ports.pair import PairFacts, PairLayer

APART = ("dense", "conv", "embedding", "layer_norm", "group_norm", "prelu")
"""Layers that are nothing but their tensors: no running statistics, no gates in an order."""

MOST_OWN = 4
"""Weights of no layer and of one shape whose order is looked for."""

MOST_ALIGNED = 12
"""Choices of the layers that are taken apart."""

Own = tuple[LayerPair, ...]
Kinds = Counter[tuple[str, tuple[int, ...]]]


def matched(a: PairFacts, b: PairFacts) -> WeightMap | Unlike | None:
    """Layers and other weights of two models; None where weights of no layer cannot be mapped."""
    found = next(arrangements(a, b), None)
    if found is not None:
        return found
    a, b = _trained(a), _trained(b)
    if a.own or b.own:
        return _with_lone(a, b)
    plain = match(a.layers, b.layers)
    return plain if isinstance(plain, Unlike) else None


def _trained(facts: PairFacts) -> PairFacts:
    """Without weights of no layer that are frozen."""
    return replace(facts, own=tuple(x for x in facts.own if not x.settings.get("frozen")))


def arrangements(a: PairFacts, b: PairFacts) -> Iterator[WeightMap]:
    """All maps in which each tensor has a counterpart, as far as shapes tell; the likeliest first.

    They are many where several weights have one shape. Frozen weights are only looked at where a
    trained one of the other side has no counterpart else.
    """
    found = _all_arranged(_trained(a), _trained(b))
    first = next(found, None)
    if first is not None:
        yield first
        yield from found
        return
    for one, other in ((_trained(a), b), (a, _trained(b))):
        yield from _all_arranged(one, other)


def _all_arranged(a: PairFacts, b: PairFacts) -> Iterator[WeightMap]:
    plain = match(a.layers, b.layers)
    if isinstance(plain, WeightMap):
        yield from (replace(plain, own=own) for own in _arranged(a.own, b.own))
    if a.own or b.own:
        for weights, rest in _aligned(a, b):
            own = _arranged([*a.own, *rest[0]], [*b.own, *rest[1]])
            yield from (replace(weights, own=each) for each in own)


def _aligned(
    a: PairFacts, b: PairFacts
) -> Iterator[tuple[WeightMap, tuple[list[PairLayer], list[PairLayer]]]]:
    """Layers of one kind and shape on both sides, and the tensors of the others, taken apart:
    first as few as it takes, then all that could be the other side's by hand."""
    ours, theirs = with_weights(a.layers), with_weights(b.layers)
    by_hand = [Counter(_size(x.shapes["weight"]) for x in side.own) for side in (a, b)]
    counts = [Counter(map(kind_and_shape, side)) for side in (ours, theirs)]
    alone = [
        list(_dropped(side, counts[n], counts[1 - n])) for n, side in enumerate((ours, theirs))
    ]
    wide = [
        [x for x in side if any(_sizes(x) <= own for own in by_hand)] for side in (ours, theirs)
    ]
    seen = set[tuple[tuple[int, ...], ...]]()
    for gone in chain(product(*alone), [tuple(wide)]):
        numbers = tuple(tuple(x.number for x in side) for side in gone)
        if not any(gone) or numbers in seen or any(x.kind not in APART for x in chain(*gone)):
            continue
        seen.add(numbers)
        kept = [
            [x for x in side if all(x is not y for y in dropped)]
            for side, dropped in zip((ours, theirs), gone, strict=True)
        ]
        weights = match(*kept)
        if isinstance(weights, WeightMap):
            yield weights, (_taken_apart(gone[0]), _taken_apart(gone[1]))


def _dropped(layers: Sequence[PairLayer], mine: Kinds, other: Kinds) -> Iterator[list[PairLayer]]:
    """Choices of the layers of which the other side has fewer of their kind and shape."""
    choices = []
    for kind in mine:
        alike = [x for x in layers if kind_and_shape(x) == kind]
        choices.append(list(combinations(alike, max(mine[kind] - other[kind], 0))))
    for number, chosen in enumerate(product(*choices)):
        if number == MOST_ALIGNED:
            return
        yield [x for group in chosen for x in group]


def _taken_apart(layers: Sequence[PairLayer]) -> list[PairLayer]:
    """The tensors of layers, one by one."""
    return [replace(x, shapes={role: shape}) for x in layers for role, shape in x.shapes.items()]


def _size(shape: Sequence[int]) -> tuple[int, ...]:
    """The lengths of a tensor's axes, in whatever order."""
    return tuple(sorted(n for n in shape if n > 1))


def _sizes(layer: PairLayer) -> Counter[tuple[int, ...]]:
    return Counter(map(_size, layer.shapes.values()))


def _plain(layer: PairLayer) -> tuple[int, ...]:
    (shape,) = layer.shapes.values()
    return tuple(n for n in shape if n > 1)


def _turns(a: PairLayer, b: PairLayer) -> list[tuple[int, ...]]:
    """Orders of the axes of one weight in which it has the shape of another."""
    ours, theirs = _plain(a), _plain(b)
    return [
        order
        for order in permutations(range(len(ours)))
        if tuple(ours[axis] for axis in order) == theirs
    ]


def _groups(
    a: Sequence[PairLayer], b: Sequence[PairLayer]
) -> Iterator[tuple[list[PairLayer], list[PairLayer]]]:
    """Weights whose shapes are the same but for the order of their axes."""
    by_size: dict[tuple[int, ...], tuple[list[PairLayer], list[PairLayer]]] = defaultdict(
        lambda: ([], [])
    )
    for side, layers in enumerate((a, b)):
        for layer in layers:
            by_size[_size(_plain(layer))][side].append(layer)
    yield from by_size.values()


def _arranged(a: Sequence[PairLayer], b: Sequence[PairLayer]) -> Iterator[Own]:
    """All ways to match weights one to one: first as names and order have it, then with those of
    one shape otherwise, then with those of several."""
    groups = list(_groups(a, b))
    if any(len(ours) != len(theirs) for ours, theirs in groups):
        return
    options = [list(_of_one_size(ours, theirs)) for ours, theirs in groups]
    if not all(options):
        return
    first = [each[0] for each in options]
    alone = ([*first[:n], other, *first[n + 1 :]] for n, each in enumerate(options)
             for other in each[1:])  # fmt: skip
    several = (
        chosen
        for chosen in product(*options)
        if sum(x is not y for x, y in zip(chosen, first, strict=True)) > 1
    )
    for chosen in chain([first], alone, several):
        found = {id(pair.a): pair for group in chosen for pair in group}
        yield tuple(found[id(layer)] for layer in a)


def _of_one_size(a: Sequence[PairLayer], b: Sequence[PairLayer]) -> Iterator[Own]:
    """Ways to match weights of one size: names that are the same first, then the order, and all of
    them turned alike before each by itself."""
    named = _by_name(a, b)
    orders = [named]
    if len(a) <= MOST_OWN:
        orders += [each for each in map(list, permutations(b)) if each != named]
    for order in orders:
        turns = [_turns(x, y) for x, y in zip(a, order, strict=True)]
        chosen = sorted(product(*turns), key=lambda each: len(set(each)))
        for axes in chosen if len(a) <= MOST_OWN else chosen[:1]:
            yield tuple(
                LayerPair(x, y, axes=turn) for x, y, turn in zip(a, order, axes, strict=True)
            )


def _by_name(a: Sequence[PairLayer], b: Sequence[PairLayer]) -> list[PairLayer]:
    left, found = list(b), []
    for mine in a:
        alike = [x for x in left if _turns(mine, x)] or left
        straight = [x for x in alike if _plain(x) == _plain(mine)] or alike
        same = [x for x in straight if own_name(x) == own_name(mine)]
        other = (same or straight)[0]
        left.remove(other)
        found.append(other)
    return found


def own_name(layer: PairLayer) -> str:
    """The last part of a weight's name: `position` of `patches/position` and `net.position`; of a
    layer that was taken apart, the tensor's."""
    (role,) = layer.shapes
    name = layer.name if role == "weight" else role
    return re.split(r"[./]", name)[-1].strip("_").lower()


def doubtful(pairs: Sequence[LayerPair]) -> bool:
    """Whether weights of no layer may be each other, or one the other way round, and are too many
    for the values to tell."""
    return any(len(ours) > MOST_OWN for ours, _ in _groups([p.a for p in pairs], []))


def _with_lone(a: PairFacts, b: PairFacts) -> WeightMap | None:
    """A map in which one side has weights of no layer that the other lacks; None where each side
    has some, which may be the same in other shapes."""
    plain = match(a.layers, b.layers)
    aligned = list(_aligned(a, b))
    if isinstance(plain, WeightMap):
        aligned.insert(0, (plain, ([], [])))
    for weights, rest in aligned:
        ours, theirs, alone = [*a.own, *rest[0]], [*b.own, *rest[1]], list[PairLayer]()
        sides = 0
        for mine, others in list(_groups(ours, theirs)):
            more = mine if len(mine) > len(others) else others
            count = abs(len(mine) - len(others))
            sides |= (1 if more is mine else 2) if count else 0
            alone += more[len(more) - count :]
        if sides not in (1, 2):
            continue
        kept = [[x for x in side if all(x is not y for y in alone)] for side in (ours, theirs)]
        own = next(_arranged(*kept), None)
        if own is not None:
            return replace(weights, own=own, lone=tuple(alone), lacking="ba"[sides - 1])
    return None
