"""What two models do between the same two layers with weights, held side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from mnist_mlp.parity.pair.attention import KIND as ATTENTION
from mnist_mlp.parity.pair.weight_map import WeightMap
from mnist_mlp.ports.pair import PairLayer

POOLS = ("max_pool", "average_pool", "adaptive_average_pool", "adaptive_max_pool")
NOISE = ("gaussian_noise", "gaussian_dropout")
DROPOUTS = ("dropout", "spatial_dropout", "alpha_dropout")
ACTIVATIONS = (
    *("relu", "relu6", "elu", "selu", "gelu", "silu", "leaky_relu", "sigmoid", "tanh", "softmax"),
    *("log_softmax", "softplus", "softsign", "celu", "mish", "hard_sigmoid", "hard_silu"),
    *("log_sigmoid", "hardtanh"),
)


def family(kind: str) -> str:
    """What sort of work it is; empty for what is not held side by side."""
    families = ("pool", POOLS), ("dropout", DROPOUTS), ("activation", ACTIVATIONS)
    others = ("noise", NOISE), ("upsampling", ("upsample",)), (ATTENTION, (ATTENTION,))
    for name, kinds in (*families, *others):
        if kind in kinds:
            return name
    return ""


@dataclass(frozen=True)
class Beside:
    """One piece of work in both models, or in one of them.

    `behind` is the number of the port's layer after which it stands, or should; None at the start.
    """

    a: PairLayer | None
    b: PairLayer | None
    behind: int | None


def segment(layers: Sequence[PairLayer], before: int | None, until: int | None) -> list[PairLayer]:
    """Work without weights between two layers, by their numbers (None: start or end)."""
    low = -1 if before is None else before
    return [
        layer
        for layer in layers
        if low < layer.number
        and (until is None or layer.number < until)
        and not layer.shapes
        and family(layer.kind)
    ]


def side_by_side(
    a: Sequence[PairLayer], b: Sequence[PairLayer], weights: WeightMap, index: int
) -> Iterator[Beside]:
    """The work in front of the layer `index` of those with weights, or behind the last of them."""
    pairs = weights.pairs
    here = pairs[index] if index < len(pairs) else None
    last_a = max((p.a.number for p in pairs if here is None or p.a.number < here.a.number),
                 default=None)  # fmt: skip
    last_b = max((p.b.number for p in pairs if here is None or p.b.number < here.b.number),
                 default=None)  # fmt: skip
    until_b = here.b.number if here else None
    before = next((p.b.number for p in pairs if p.a.number == last_a), None)
    if before != last_b:  # branches run in another order: work belongs to the layer in front of it
        last_b = before
        until_b = min((p.b.number for p in pairs if before is None or p.b.number > before),
                      default=None)  # fmt: skip
    ours = segment(a, last_a, here.a.number if here else None)
    theirs = segment(b, last_b, until_b)
    matcher = SequenceMatcher(
        None, [family(x.kind) for x in ours], [family(x.kind) for x in theirs], autojunk=False
    )
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        if tag == "equal":
            for x, y in zip(ours[i:i_end], theirs[j:j_end], strict=True):
                yield Beside(x, y, y.number)
            continue
        behind = theirs[j - 1].number if j else last_b
        yield from (Beside(x, None, behind) for x in ours[i:i_end])
        yield from (Beside(None, y, y.number) for y in theirs[j:j_end])


def at_its_source(
    beside: Beside, weights: WeightMap, a: Sequence[PairLayer], b: Sequence[PairLayer]
) -> Beside:
    """Work of the original's, placed behind the layer whose result it is given; in Keras, that may
    be a layer's with its activation. `a` and `b` are all layers of both sides."""
    source = None if beside.a is None else beside.a.behind
    pair = next((p for p in weights.pairs if p.a.number == source), None)
    if pair is None:
        return beside
    behind = pair.b.number
    if _activated(a, pair.a.number) and _activated(b, behind):
        behind += 1
    return replace(beside, behind=behind)


def _activated(layers: Sequence[PairLayer], number: int) -> bool:
    """Whether the layer with a number has an activation right behind it."""
    return number + 1 < len(layers) and family(layers[number + 1].kind) == "activation"
