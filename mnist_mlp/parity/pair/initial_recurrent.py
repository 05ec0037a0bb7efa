"""Initial weights of recurrent layers: kernels as distributions, biases gate by gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

import numpy as np

from mnist_mlp.parity.causes.init import same_distribution
from mnist_mlp.parity.causes.initialisers import Initialiser, follows
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair.weight_map import LayerPair, WeightMap
from mnist_mlp.ports.pair import tensor_name
from mnist_mlp.ports.recurrent import KINDS
from mnist_mlp.reference import Array, Tensors, bias_name, kernel_name

DEFAULT = Initialiser(
    "torch_default_recurrent_init",
    "uniform within 1/sqrt(units), torch's default",
    "uniform",
    lambda shape: 1 / sqrt(shape[0]),
)
"""How torch draws all tensors of a recurrent layer; the shape is that of the recurrent kernel."""

KERNELS = ("kernel", "recurrent_kernel")
BIASES = ("bias", "recurrent_bias")


def recurrent_breaks(a: Sequence[Tensors], b: Sequence[Tensors], weights: WeightMap) -> list[Break]:
    """Where the port's draws are not distributed as the original's, each cause once."""
    found: dict[str, Break] = {}
    for place, pair in enumerate(weights.pairs):
        if pair.a.kind not in KINDS:
            continue
        for role, got, expected, cause in _of_pair(a, b, pair, weights):
            where = Place(0, 0, place, role)
            item = Break(
                side="b", rung="init", place=where, got=got, expected=expected, cause=cause
            )
            found.setdefault(cause.name, item)
    return list(found.values())


def _of_pair(
    a: Sequence[Tensors], b: Sequence[Tensors], pair: LayerPair, weights: WeightMap
) -> Iterator[tuple[str, str, str, Cause]]:
    ours, theirs = [weights.of_a(draw) for draw in a], [weights.to_a(draw) for draw in b]
    units = pair.a.shapes["recurrent_kernel"][0]
    for role in KERNELS:
        name = tensor_name(pair.a.number, role)
        x, y = [draw[name] for draw in ours], [draw[name] for draw in theirs]
        if pair.a.kind == "gru" and _exchanged(x[0], y[0], units):
            text = f"the first two gates of {pair.b.name} hold each other's weights"
            yield role, "update and reset exchanged", "", Cause("gru_gate_order", text)
        elif not _alike(x, y, kernel_name(0)):
            yield role, _told(y), f"{_told(x)}, as in the original", _named(y, units, pair)
    for role in BIASES:
        name = tensor_name(pair.a.number, role)
        if name not in ours[0] or name not in theirs[0]:
            continue
        x, y = [draw[name] for draw in ours], [draw[name] for draw in theirs]
        if not (_constant(x) and _constant(y)):
            if _constant(x) != _constant(y) or not _alike(x, y, bias_name(0)):
                own = [draw[tensor_name(pair.b.number, role)] for draw in b]
                yield role, _told(y), f"{_told(x)}, as in the original", _named(own, units, pair)
        elif not np.allclose(x[0], y[0], rtol=1e-5, atol=1e-6):
            yield role, *_gates(x[0], y[0], units, pair)


def _alike(x: Sequence[Array], y: Sequence[Array], name: str) -> bool:
    return same_distribution([{name: w} for w in x], [{name: w} for w in y], name)


def _exchanged(x: Array, y: Array, units: int) -> bool:
    """Whether one is the other with its first two gates exchanged; no two draws are."""
    order = np.r_[units : 2 * units, :units, 2 * units : 3 * units]
    return not np.allclose(x, y, rtol=1e-5) and np.allclose(x, y[..., order], rtol=1e-5)


def _constant(values: Sequence[Array]) -> bool:
    """Whether all draws are the same, and have no more values than there are gates."""
    return len(np.unique(values[0])) <= 4 and all(np.array_equal(w, values[0]) for w in values)


def _gates(x: Array, y: Array, units: int, pair: LayerPair) -> tuple[str, str, Cause]:
    different = ~np.isclose(x, y, rtol=1e-5, atol=1e-6)
    forget = np.zeros(len(x), bool)
    forget[units : 2 * units] = True
    at = int(np.flatnonzero(different)[0])
    got, expected = f"{y[at]:.6g}", f"{x[at]:.6g}"
    if pair.a.kind == "lstm" and not (different & ~forget).any():
        text = f"{got} instead of {expected} in {pair.b.name}"
        return got, f"{expected}, as in the original", Cause("forget_bias", text)
    return got, f"{expected}, as in the original", Cause(UNKNOWN, f"bias of {pair.b.name}")


def _named(values: Sequence[Array], units: int, pair: LayerPair) -> Cause:
    drawn = np.concatenate([np.asarray(w, np.float64).ravel() for w in values])
    if follows(drawn, DEFAULT, (units, units)):
        return Cause("torch_default_recurrent_init", f"{DEFAULT.text}, in {pair.b.name}")
    return Cause(UNKNOWN, f"{_told(values)}, in {pair.b.name}")


def _told(values: Sequence[Array]) -> str:
    drawn = np.concatenate([np.asarray(w, np.float64).ravel() for w in values])
    return f"from {drawn.min():.4g} to {drawn.max():.4g}, deviation {drawn.std():.4g}"
