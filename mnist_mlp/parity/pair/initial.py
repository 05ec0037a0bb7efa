"""Initial weights of two models, as distributions over draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np

from mnist_mlp.parity.causes import init
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair.blame import of_pair, of_weights
from mnist_mlp.parity.pair.initial_recurrent import recurrent_breaks
from mnist_mlp.parity.pair.weight_map import (
    LayerPair,
    Unlike,
    WeightMap,
    roles_of_one,
    weight_words,
)
from mnist_mlp.ports.pair import PairFacts, PairLayer, tensor_name
from mnist_mlp.ports.recurrent import KINDS as RECURRENT
from mnist_mlp.reference import Array, Tensors, bias_name, kernel_name

NORMS = ("batch_norm", "layer_norm", "group_norm")

CONSTANT = (*NORMS, "prelu")
"""Layers that begin with constants as a rule."""


def initial_breaks(
    a: Sequence[Tensors], b: Sequence[Tensors], weights: WeightMap
) -> tuple[list[Break], int]:
    """Where the port's draws are not distributed as the original's; how many tensors were held
    against each other."""
    if not a or not b:
        return [], 0
    breaks = list(_biases(weights))
    with_kernel = [
        (place, pair) for place, pair in enumerate(weights.pairs) if "kernel" in pair.a.shapes
    ]
    embeddings = [x for x in with_kernel if x[1].a.kind == "embedding"]
    apart = ("embedding", *RECURRENT)
    breaks += _drawn(a, b, [x for x in with_kernel if x[1].a.kind not in apart])
    breaks += _drawn(a, b, embeddings)
    breaks += recurrent_breaks(a, b, weights)
    breaks += _constants(a[0], b[0], weights)
    breaks = [
        item if item.layer is None else item.blaming(of_weights(weights, item.layer))
        for item in breaks
    ]
    by_hand, rest = _by_hand(a, b, weights)
    breaks += by_hand
    breaks += _own_weights(a, b, rest)
    return breaks, sum(len(pair.a.shapes) for pair in weights.every)


def _drawn(
    a: Sequence[Tensors], b: Sequence[Tensors], placed: Sequence[tuple[int, LayerPair]]
) -> list[Break]:
    """Layers of one sort, which as a rule have one initialiser; each with its place."""
    pairs = [pair for _, pair in placed]
    padding = [_padding_row(pair) for pair in pairs]
    ours = [_kernels(draw, [pair.a for pair in pairs], padding) for draw in a]
    theirs = [_kernels(draw, [pair.b for pair in pairs], padding) for draw in b]
    layers = [(*_fans(pair.a), "") for pair in pairs]
    breaks = []
    for item in init.pair_breaks(ours, theirs, layers, side="b") if layers else ():
        assert item.layer is not None
        place, pair = placed[item.layer]
        cause = item.cause
        if pair.a.kind == "embedding" and cause.name == "unit_normal":
            cause = Cause("torch_default_embedding_init", cause.value)
        moved = {"place": Place(0, 0, place, item.tensor), "cause": cause}
        breaks.append(item.model_copy(update=moved))
    return breaks


def _padding_row(pair: LayerPair) -> int | None:
    """The row of an embedding that torch sets to zero."""
    rows = [layer.settings.get("padding_index") for layer in (pair.a, pair.b)]
    return next((row for row in rows if row is not None), None)


def _kernels(draw: Tensors, layers: Sequence[PairLayer], padding: Sequence[int | None]) -> Tensors:
    """Kernels as matrices and biases by the names of dense layers; no bias is one of zeros."""
    found: dict[str, Array] = {}
    for number, layer in enumerate(layers):
        kernel = draw[tensor_name(layer.number, "kernel")]
        row = padding[number]
        if row is not None:
            kernel = np.delete(kernel, row, axis=0)
        found[kernel_name(number)] = kernel.reshape(-1, kernel.shape[-1])
        bias = draw.get(tensor_name(layer.number, "bias"))
        found[bias_name(number)] = np.zeros(kernel.shape[-1]) if bias is None else bias
    return found


def _fans(layer: PairLayer) -> tuple[int, int]:
    """Numbers of inputs and outputs of a unit, by which initialisers scale."""
    shape = layer.shapes["kernel"]
    window = prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _biases(weights: WeightMap) -> list[Break]:
    breaks = []
    for place, pair in enumerate(weights.pairs):
        for role in sorted(roles_of_one(pair)):
            missing = role in pair.a.shapes
            if role == "bias" and missing:
                fix = f"by hand, give {pair.b.name} a bias"
                cause = Cause("bias_missing", f"in {pair.b.name}", fix=fix)
            else:
                whose = "the original's" if missing else "not in the original's"
                cause = Cause(UNKNOWN, f"{role} of {pair.b.name}: {whose} {pair.a.name}")
            got, expected = ("none", "one") if missing else ("one", "none")
            breaks.append(
                Break(
                    side="b",
                    rung="init",
                    place=Place(0, 0, place, role),
                    got=got,
                    expected=expected,
                    cause=cause,
                )
            )
    return breaks


def _by_hand(
    a: Sequence[Tensors], b: Sequence[Tensors], weights: WeightMap
) -> tuple[list[Break], list[LayerPair]]:
    """Dense layers that only one side has by hand, as those of frameworks: their initialisers have
    names. And the weights that are left."""
    breaks, rest = list[Break](), list(weights.own)
    for side in ("a", "b"):
        layers = {x.number: x for x in (getattr(pair, side) for pair in rest) if x.kind == "dense"}
        for number in layers:
            own = {
                next(iter(getattr(pair, side).shapes)): pair
                for pair in rest
                if getattr(pair, side).number == number
            }
            if "kernel" not in own:
                continue
            rest = [pair for pair in rest if all(pair is not x for x in own.values())]
            ours, theirs = (
                [_of_hand(draw, own, whose, as_in=side) for draw in draws]
                for whose, draws in (("a", a), ("b", b))
            )
            (fans,) = {ours[0][kernel_name(0)].shape}
            for item in init.pair_breaks(ours, theirs, [(*fans, "")], side="b"):
                pair = own.get(item.tensor, own["kernel"])
                place = Place(0, 0, None, weight_words(pair.b))
                moved = item.model_copy(update={"place": place})
                breaks.append(moved.blaming(of_pair(pair.a, pair.b)))
    return breaks, rest


def _of_hand(
    draw: Tensors, own: Mapping[str, LayerPair], whose: str, *, as_in: str
) -> dict[str, Array]:
    """The tensors of one dense layer as the side `as_in` has them; no bias is one of zeros."""
    found = {}
    for role, pair in own.items():
        layer = getattr(pair, whose)
        (mine,) = layer.shapes
        value = np.asarray(draw[tensor_name(layer.number, mine)])
        if whose != as_in:
            value = pair.to_a(role, value) if as_in == "a" else pair.to_b(role, value)
        found[kernel_name(0) if role == "kernel" else bias_name(0)] = value
    found.setdefault(bias_name(0), np.zeros(found[kernel_name(0)].shape[-1]))
    return found


def _own_weights(
    a: Sequence[Tensors], b: Sequence[Tensors], own: Sequence[LayerPair]
) -> Iterator[Break]:
    """Weights of no layer: their middle and their spread, whatever draws them.

    Frameworks cut normal numbers off elsewhere, which changes the spread by an eighth.
    """
    for pair in own:
        ours, theirs = (
            np.concatenate(
                [
                    np.asarray(draw[tensor_name(layer.number, role)], np.float64).ravel()
                    for draw in draws
                    for role in layer.shapes
                ]
            )
            for draws, layer in ((a, pair.a), (b, pair.b))
        )
        spreads = float(ours.std()), float(theirs.std())
        if max(np.ptp(ours), np.ptp(theirs)) == 0:
            same = np.allclose(ours[0], theirs[0], rtol=1e-6, atol=1e-7)
        else:
            slack = 5 / min(len(ours), len(theirs)) ** 0.5
            middle = abs(float(ours.mean() - theirs.mean()))
            low, high = sorted(spreads)
            same = high <= low * (1.25 + slack) and middle <= (0.1 + slack) * high
        if same:
            continue
        got, expected = _spread(theirs), _spread(ours)
        name = weight_words(pair.b)
        text = f"{name} starts with {got} instead of {expected}"
        yield Break(
            side="b",
            rung="init",
            place=Place(0, 0, None, name),
            got=got,
            expected=f"{expected}, as in the original",
            cause=Cause(UNKNOWN, text),
        )


def _spread(values: Array) -> str:
    if float(np.ptp(values)) == 0:
        return f"{values[0]:.6g}"
    return f"numbers of mean {values.mean():.2g} and deviation {values.std():.2g}"


def _constants(a: Tensors, b: Tensors, weights: WeightMap) -> list[Break]:
    """Scales, offsets and statistics of normalisations, and slopes: constants as a rule."""
    breaks = []
    for place, pair in enumerate(weights.pairs):
        if pair.a.kind not in CONSTANT:
            continue
        for role in pair.a.shapes:
            ours = a[tensor_name(pair.a.number, role)]
            theirs = b.get(tensor_name(pair.b.number, role))
            if theirs is None or np.allclose(ours, theirs, rtol=1e-6, atol=1e-7):
                continue
            got, expected = f"{theirs.ravel()[0]:.6g}", f"{ours.ravel()[0]:.6g}"
            cause = Cause(UNKNOWN, f"{role} of {pair.b.name}")
            if pair.a.kind == "prelu":
                text = f"{got} instead of {expected} in {pair.b.name}"
                cause = Cause("prelu_initial_slope", text)
            breaks.append(
                Break(
                    side="b",
                    rung="init",
                    place=Place(0, 0, place, role),
                    got=got,
                    expected=f"{expected}, as in the original",
                    cause=cause,
                )
            )
    return breaks


def unlike_breaks(unlike: Unlike, port: PairFacts) -> list[Break]:
    """Layers that only one of the two models has, or that have other shapes."""
    if len(port.unregistered) == len(unlike.missing) > 0:
        # Which of the original's they are, is not known: those that are matched may be others.
        return [_not_registered(layer) for layer in port.unregistered]
    breaks = []
    bare = [layer for layer in port.layers if layer.kind in NORMS and not layer.shapes]
    again = [layer for layer in port.layers if layer.name.split(":")[0] in port.repeated]
    for layer in unlike.missing:
        same = next((x for x in bare if x.kind == layer.kind), None)
        if same is not None:  # it normalises, and learns no scale
            bare.remove(same)
            roles = ", ".join(layer.shapes)
            value = f"{same.name} without the {roles} of the original's {layer.name}"
            fix = f"by hand, let {same.name} have weights (affine=True, elementwise_affine=True)"
            item = _unlike(UNKNOWN, value, "none", roles, fix)
            breaks.append(item.blaming(of_pair(layer, same)))
            continue
        name = "normalisation_missing" if layer.kind in NORMS else "layers_missing"
        fix = f"by hand, add what the original's {layer.name} ({_shape(layer)}) does"
        value = f"{layer.name} of the original"
        shared = next((x for x in again if _alike(x, layer)), None)
        if shared is not None:
            again.remove(shared)
            value += f"; the port runs {shared.name} once more"
            fix = f"by hand, give {shared.name} a twin with weights of its own, and run that"
        item = _unlike(name, value, "none", layer.name, fix)
        breaks.append(item.blaming(of_pair(layer, shared)))
    for layer in unlike.extra:
        item = _unlike("extra_layer", layer.name, layer.name, "none")
        breaks.append(item.blaming(of_pair(None, layer)))
    for a, b in unlike.reshaped:
        got, expected = _shape(b), _shape(a)
        fix = f"by hand, give {b.name} the original's sizes: {expected} instead of {got}"
        item = _unlike("other_shapes", f"{b.name} {got}, {a.name} {expected}", got, expected, fix)
        breaks.append(item.blaming(of_pair(a, b)))
    return breaks


def _not_registered(layer: PairLayer) -> Break:
    value = f"{layer.name} ({_shape(layer)}), whose weights are none of the model's"
    item = _unlike("layer_not_registered", value, "no parameter", layer.name)
    return item.blaming(of_pair(None, layer))


def _unlike(name: str, value: str, got: str, expected: str, fix: str = "") -> Break:
    return Break(
        side="b",
        rung="init",
        place=Place(0, 0),
        got=got,
        expected=expected,
        cause=Cause(name, value, fix=fix),
    )


def _alike(a: PairLayer, b: PairLayer) -> bool:
    return a.kind == b.kind and dict(a.shapes) == dict(b.shapes)


def _shape(layer: PairLayer) -> str:
    main = layer.shapes.get("kernel") or next(iter(layer.shapes.values()))
    return "x".join(map(str, main))
