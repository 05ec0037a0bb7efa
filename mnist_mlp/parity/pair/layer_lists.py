"""The layers of two models side by side, with their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest

from mnist_mlp.parity.outcome import LayerRow, ShownLayer
from mnist_mlp.parity.pair.losses import matched as matched_losses
from mnist_mlp.parity.pair.segments import family, side_by_side
from mnist_mlp.parity.pair.settings import same, short
from mnist_mlp.parity.pair.weight_map import Unlike, WeightMap
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.ports.pair import PairFacts, PairLayer, Passed


def layer_rows(a: PairFacts, b: PairFacts, weights: WeightMap | Unlike) -> tuple[LayerRow, ...]:
    """All layers with weights, the work between them, and the losses.

    Layers are matched as they are judged. If no such match exists, they are matched by kind. What
    only passes something on (`Passed`) is matched by kind within the same gap.
    """
    matched = _by_weights(a, b, weights) if isinstance(weights, WeightMap) else _by_kind(a, b)
    rows = [
        row(x, y, shapes=(a.shapes, b.shapes))
        for x, y in _with_passed(list(matched), a.passed, b.passed)
    ]
    losses = (
        matched_losses(a, b, weights)
        if isinstance(weights, WeightMap)
        else zip_longest(a.all_losses, b.all_losses)
    )
    rows += [row(x, y, lines=(a.lines, b.lines)) for x, y in losses]
    return tuple(rows)


Work = PairLayer | Passed
Two = tuple[Work | None, Work | None]


def _with_passed(rows: list[Two], a: Sequence[Passed], b: Sequence[Passed]) -> Iterator[Two]:
    """The rows, with what was passed in the gaps between them."""
    gaps = [_gaps([row[side] for row in rows], each) for side, each in enumerate((a, b))]
    for place in range(len(rows) + 1):
        ours, theirs = (each.get(place, []) for each in gaps)
        yield from _paired(ours, theirs, [x.kind for x in ours], [x.kind for x in theirs])
        yield from rows[place : place + 1]


def _gaps(layers: Sequence[Work | None], passed: Sequence[Passed]) -> dict[int, list[Passed]]:
    """What stands in front of each row, or behind all of them, of one side's."""
    found: dict[int, list[Passed]] = {}
    for each in passed:
        earlier = (
            place
            for place, layer in enumerate(layers, start=1)
            if isinstance(layer, PairLayer) and layer.number < each.after
        )
        found.setdefault(max(earlier, default=0), []).append(each)
    return found


def _paired(
    ours: Sequence[Work], theirs: Sequence[Work], x: Sequence[str], y: Sequence[str]
) -> Iterator[Two]:
    """Two lists of work laid beside each other by what they are, `x` and `y`."""
    for tag, i, i_end, j, j_end in SequenceMatcher(None, x, y, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(ours[i:i_end], theirs[j:j_end], strict=True)
        else:
            yield from ((layer, None) for layer in ours[i:i_end])
            yield from ((None, layer) for layer in theirs[j:j_end])


def _by_weights(a: PairFacts, b: PairFacts, weights: WeightMap) -> Iterator[Two]:
    apart = _taken_apart(a, b, weights)
    for index in range(len(weights.pairs) + 1):
        for each in side_by_side(a.layers, b.layers, weights, index):
            yield each.a, each.b
        yield from apart(index)
        if index < len(weights.pairs):
            yield weights.pairs[index].a, weights.pairs[index].b


def _taken_apart(a: PairFacts, b: PairFacts, weights: WeightMap) -> Callable[[int], Iterator[Two]]:
    """Layers with weights that the other side has by hand, in front of each pair, or behind all."""
    known = [{getattr(pair, side).number for pair in weights.pairs} for side in "ab"]
    waiting = [
        [x for x in facts.layers if x.shapes and x.number not in known[n]]
        for n, facts in enumerate((a, b))
    ]

    def until(index: int) -> Iterator[Two]:
        for n, side in enumerate("ab"):
            here = weights.pairs[index] if index < len(weights.pairs) else None
            while waiting[n] and (
                here is None or waiting[n][0].number < getattr(here, side).number
            ):
                layer = waiting[n].pop(0)
                yield (layer, None) if side == "a" else (None, layer)

    return until


def _by_kind(a: PairFacts, b: PairFacts) -> Iterator[Two]:
    ours, theirs = (
        [layer for layer in facts.layers if layer.shapes or family(layer.kind)] for facts in (a, b)
    )
    x, y = ([family(each.kind) or each.kind for each in layers] for layers in (ours, theirs))
    yield from _paired(ours, theirs, x, y)


Roles = Mapping[str, UserLine]
Shapes = Mapping[int, tuple[int, ...]]


def row(
    a: Work | None,
    b: Work | None,
    *,
    lines: tuple[Roles, Roles] = ({}, {}),
    shapes: tuple[Shapes, Shapes] = ({}, {}),
) -> LayerRow:
    """Two pieces of work, one of which may be missing; `lines` are for what has no line itself: a
    loss."""
    names: list[str] = []
    if a is not None and b is not None:
        names = ["kind"] if a.kind != b.kind else []
        names += [
            name
            for name, value in a.settings.items()
            if name in b.settings and not same(value, b.settings[name])
        ]
        ours, theirs = _tensors(a), _tensors(b)
        names += [role for role in ours if role in theirs and ours[role] != theirs[role]]
        names += sorted({*ours} ^ {*theirs})
    known = [each.get("loss") for each in lines]
    return LayerRow(
        a=_shown(a, known[0], b, shapes[0]),
        b=_shown(b, known[1], a, shapes[1]),
        differing=tuple(names),
    )


def _tensors(work: Work | None) -> Mapping[str, tuple[int, ...]]:
    return work.shapes if isinstance(work, PairLayer) else {}


def _shown(
    work: Work | None, line: UserLine | None, other: Work | None, shapes: Shapes
) -> ShownLayer | None:
    if work is None:
        return None
    tensors = {role: by_x(shape) for role, shape in _tensors(work).items()}
    # A tensor that only the other has is a setting too: that there is none.
    absent = dict.fromkeys((role for role in _tensors(other) if role not in tensors), "none")
    settings = {name: short(value) for name, value in work.settings.items()}
    shape = work.shape if isinstance(work, Passed) else shapes.get(work.number, ())
    return ShownLayer(
        name=work.name,
        kind=work.kind,
        settings={**settings, **tensors, **absent},
        output_shape=by_x(shape),
        line=work.line or line,
    )


def by_x(shape: Sequence[int]) -> str:
    """`28x28x6`."""
    return "x".join(map(str, shape))
