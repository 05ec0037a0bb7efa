"""The layers of two models side by side, with their settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from itertools import zip_longest

from mnist_mlp.parity.outcome import LayerRow, ShownLayer
from mnist_mlp.parity.pair.losses import matched as matched_losses
from mnist_mlp.parity.pair.segments import family, side_by_side
from mnist_mlp.parity.pair.settings import differing, short
from mnist_mlp.parity.pair.weight_map import Unlike, WeightMap
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.ports.pair import PairFacts, PairLayer


def layer_rows(a: PairFacts, b: PairFacts, weights: WeightMap | Unlike) -> tuple[LayerRow, ...]:
    """All layers with weights, the work between them that is compared, and the losses.

    Layers are matched as they are judged. If no such match exists, they are matched by kind.
    """
    matched = _by_weights(a, b, weights) if isinstance(weights, WeightMap) else _by_kind(a, b)
    rows = [row(x, y) for x, y in matched]
    losses = (
        matched_losses(a, b, weights)
        if isinstance(weights, WeightMap)
        else zip_longest(a.all_losses, b.all_losses)
    )
    rows += [row(x, y, lines=(a.lines, b.lines)) for x, y in losses]
    return tuple(rows)


Two = tuple[PairLayer | None, PairLayer | None]


def _by_weights(a: PairFacts, b: PairFacts, weights: WeightMap) -> Iterator[Two]:
    for index in range(len(weights.pairs) + 1):
        for each in side_by_side(a.layers, b.layers, weights, index):
            yield each.a, each.b
        if index < len(weights.pairs):
            yield weights.pairs[index].a, weights.pairs[index].b


def _by_kind(a: PairFacts, b: PairFacts) -> Iterator[Two]:
    ours, theirs = (
        [layer for layer in facts.layers if layer.shapes or family(layer.kind)] for facts in (a, b)
    )
    x, y = ([family(each.kind) or each.kind for each in layers] for layers in (ours, theirs))
    for tag, i, i_end, j, j_end in SequenceMatcher(None, x, y, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(ours[i:i_end], theirs[j:j_end], strict=True)
        else:
            yield from ((layer, None) for layer in ours[i:i_end])
            yield from ((None, layer) for layer in theirs[j:j_end])


Roles = Mapping[str, UserLine]


def row(
    a: PairLayer | None, b: PairLayer | None, *, lines: tuple[Roles, Roles] = ({}, {})
) -> LayerRow:
    """Two layers, one of which may be missing; `lines` are for what has no line itself: a loss."""
    names: list[str] = []
    if a is not None and b is not None:
        names = ["kind"] if a.kind != b.kind else []
        names += [name for name, _, _ in differing(a, b)]
        names += [
            role for role in a.shapes if role in b.shapes and a.shapes[role] != b.shapes[role]
        ]
        names += sorted({*a.shapes} ^ {*b.shapes})
    known = [each.get("loss") for each in lines]
    return LayerRow(a=_shown(a, known[0], b), b=_shown(b, known[1], a), differing=tuple(names))


def _shown(
    layer: PairLayer | None, line: UserLine | None, other: PairLayer | None
) -> ShownLayer | None:
    if layer is None:
        return None
    shapes = {role: "x".join(map(str, shape)) for role, shape in layer.shapes.items()}
    # A tensor that only the other has is a setting too: that there is none.
    absent = dict.fromkeys((role for role in (other.shapes if other else ()) if role not in shapes),
                           "none")  # fmt: skip
    settings = {name: short(value) for name, value in layer.settings.items()}
    return ShownLayer(
        name=layer.name,
        kind=layer.kind,
        settings={**settings, **shapes, **absent},
        line=layer.line or line,
    )
