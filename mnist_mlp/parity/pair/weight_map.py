"""Which layer of one model is which of the other, and how their weights are translated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mnist_mlp.ports.draws import Draw
from mnist_mlp.ports.pair import PairLayer, layer_and_role, tensor_name
from mnist_mlp.reference import Array, Tensors

NEUTRAL = {
    "bias": 0.0,
    "recurrent_bias": 0.0,
    "beta": 0.0,
    "mean": 0.0,
    "gamma": 1.0,
    "variance": 1.0,
}
"""What a tensor holds that has no counterpart: then it does nothing."""


OF_FEATURES = ("gamma", "beta", "mean", "variance")
"""Tensors of a normalisation, which have a number for each feature that it takes and gives."""


@dataclass(frozen=True, eq=False)
class LayerPair:
    """One layer in both models. `rows` and `columns` are positions in the original's inputs and
    outputs of the port's, where their orders differ, as after flattening.

    A weight of no layer is a pair of one tensor on each side, and `axes` are those of the
    original's in the port's order, without axes of length 1."""

    a: PairLayer
    b: PairLayer
    rows: Array | None = None
    columns: Array | None = None
    axes: tuple[int, ...] | None = None
    parts: bool = False
    """Whether `rows` are in another order because the parts are that they are put together of."""

    def role_in_a(self, role: str) -> str:
        """What the original calls a tensor of the port."""
        return role if self.axes is None else next(iter(self.a.shapes))

    def role_in_b(self, role: str) -> str:
        """What the port calls a tensor of the original."""
        return role if self.axes is None else next(iter(self.b.shapes))

    def to_b(self, role: str, value: Array) -> Array:
        """A tensor of the original as the port has it."""
        if self.axes is not None:
            return value.squeeze().transpose(self.axes).reshape(self.b.shapes[role])
        if role == "kernel" and self.rows is not None:
            value = np.take(value, self.rows, axis=-2)
        if role in OF_FEATURES and self.rows is not None:
            value = value[..., self.rows]
        if role in ("kernel", "bias") and self.columns is not None:
            value = value[..., self.columns]
        return self._in_windows(role, value, self.b)

    def to_a(self, role: str, value: Array) -> Array:
        """A tensor of the port as the original has it, by the original's role."""
        if self.axes is not None:
            return value.squeeze().transpose(np.argsort(self.axes)).reshape(self.a.shapes[role])
        value = self._in_windows(role, value, self.a)
        if role == "kernel" and self.rows is not None:
            value = np.take(value, np.argsort(self.rows), axis=-2)
        if role in OF_FEATURES and self.rows is not None:
            value = value[..., np.argsort(self.rows)]
        if role in ("kernel", "bias") and self.columns is not None:
            value = value[..., np.argsort(self.columns)]
        return value

    def _in_windows(self, role: str, value: Array, layer: PairLayer) -> Array:
        """A kernel with axes of length 1, or without them, as a layer has it."""
        if role != "kernel" or value.ndim == len(layer.shapes[role]):
            return value
        return value.reshape(layer.shapes[role])


@dataclass(frozen=True, eq=False)
class WeightMap:
    """All pairs of layers with weights, in the original's order of execution.

    `own` are pairs of weights that belong to no layer, such as a table of positions. `lone` are
    such weights that the side `lacking` has not. What the first layer gets is then not the data if
    there is work by hand `in_front` of it.
    """

    pairs: tuple[LayerPair, ...]
    own: tuple[LayerPair, ...] = ()
    lone: tuple[PairLayer, ...] = ()
    lacking: str = ""
    in_front: bool = False

    @property
    def every(self) -> tuple[LayerPair, ...]:
        """The layers' and those of no layer behind them."""
        return (*self.pairs, *self.own)

    @property
    def whole(self) -> bool:
        """Whether each tensor has a counterpart: no bias is missing, but for a second one."""
        return not self.lone and all(not roles_of_one(pair) for pair in self.pairs)

    def to_b(self, tensors: Tensors, *, gradients: bool = False) -> Tensors:
        """Tensors of the original, for the port; what only the port has is neutral.

        Of two biases that are added, both have the gradient of the one.
        """
        found = {}
        tensors = self._of_one_bias(tensors, [(p.a, p.b) for p in self.every], gradients=gradients)
        for pair in self.every:
            for role, shape in pair.b.shapes.items():
                name = tensor_name(pair.a.number, pair.role_in_a(role))
                if gradients and role == "recurrent_bias" and role not in pair.a.shapes:
                    name = tensor_name(pair.a.number, "bias")
                if name in tensors:
                    value = pair.to_b(role, tensors[name])
                elif pair.axes is None and role not in pair.a.shapes and role in NEUTRAL:
                    value = np.full(shape, NEUTRAL[role])
                else:
                    continue
                found[tensor_name(pair.b.number, role)] = value
        return found

    def to_a(self, tensors: Tensors, *, gradients: bool = False) -> Tensors:
        """Tensors of the port by the original's names and layout; two biases that are one there
        are added."""
        found = {}
        tensors = self._of_one_bias(tensors, [(p.b, p.a) for p in self.every], gradients=gradients)
        layers = {pair.b.number: pair for pair in self.pairs}
        single = {
            tensor_name(pair.b.number, role): pair for pair in self.own for role in pair.b.shapes
        }
        for name, value in tensors.items():
            number, role = layer_and_role(name)
            pair = layers.get(number) or single.get(name)
            if pair is not None:
                role = pair.role_in_a(role)
                found[tensor_name(pair.a.number, role)] = pair.to_a(role, value)
        return found

    def without_lone(self, tensors: Tensors) -> Tensors:
        """Tensors of the original but for those that the port lacks."""
        if self.lacking != "b":
            return tensors
        alone = {tensor_name(x.number, role) for x in self.lone for role in x.shapes}
        return {name: value for name, value in tensors.items() if name not in alone}

    def of_a(self, tensors: Tensors) -> Tensors:
        """Tensors of the original; two biases that are one in the port are added."""
        return self._of_one_bias(tensors, [(p.a, p.b) for p in self.every], gradients=False)

    @staticmethod
    def _of_one_bias(
        tensors: Tensors, layers: Sequence[tuple[PairLayer, PairLayer]], *, gradients: bool
    ) -> Tensors:
        """With the second bias of a recurrent layer within the first, where the other has one."""
        found = dict(tensors)
        for mine, other in layers:
            second = found.get(tensor_name(mine.number, "recurrent_bias"))
            if second is None or "recurrent_bias" in other.shapes:
                continue
            del found[tensor_name(mine.number, "recurrent_bias")]
            first = tensor_name(mine.number, "bias")
            if not gradients and first in found:
                found[first] = found[first] + second
        return found

    def draws_to_b(self, draws: Sequence[Draw]) -> tuple[Draw, ...]:
        """The original's draws, by the port's numbers of the layers that they stand behind."""
        numbers = {pair.a.number: pair.b.number for pair in self.every}
        known = [None if draw.source is None else numbers.get(draw.source) for draw in draws]
        return tuple(replace(d, source=n) for d, n in zip(draws, known, strict=True))

    def place(self, name: str) -> int:
        """The number of a layer among those with weights, by the name of one of its tensors."""
        number, role = layer_and_role(name)
        here = [(role in p.a.shapes, -i) for i, p in enumerate(self.every) if p.a.number == number]
        return -max(here)[1]

    def order(self, name: str) -> tuple[int, str]:
        """By which tensors are gone through: layer by layer, then by role."""
        return self.place(name), layer_and_role(name)[1]

    def with_orders(
        self,
        index: int,
        *,
        rows: Array | None = None,
        columns: Array | None = None,
        parts: bool = False,
    ) -> WeightMap:
        """Another order of the inputs or outputs of one pair."""
        pairs = list(self.pairs)
        old = pairs[index]
        rows = old.rows if rows is None else rows
        columns = old.columns if columns is None else columns
        pairs[index] = replace(old, rows=rows, columns=columns, parts=parts or old.parts)
        return replace(self, pairs=tuple(pairs))


def roles_of_one(pair: LayerPair) -> set[str]:
    """Tensors that one of two layers lacks; a recurrent layer may have two biases for one."""
    found = {*pair.a.shapes} ^ {*pair.b.shapes}
    return found - {"recurrent_bias"} if "bias" in {*pair.a.shapes} & {*pair.b.shapes} else found


def weight_words(weight: PairLayer) -> str:
    """A weight of no layer in words; of a layer that was taken apart, which of its tensors."""
    (role,) = weight.shapes
    return weight.name if role == "weight" else f"{role} of {weight.name}"


@dataclass(frozen=True)
class Unlike:
    """Two models whose layers with weights do not match one to one.

    `missing` are layers of the original, `extra` layers of the port, without a counterpart.
    `reshaped` are pairs of one kind with other shapes.
    """

    missing: tuple[PairLayer, ...] = ()
    extra: tuple[PairLayer, ...] = ()
    reshaped: tuple[tuple[PairLayer, PairLayer], ...] = field(default=())


def with_weights(layers: Sequence[PairLayer]) -> list[PairLayer]:
    """Those that have any."""
    return [layer for layer in layers if layer.shapes]


def match(a: Sequence[PairLayer], b: Sequence[PairLayer]) -> WeightMap | Unlike:
    """Layers with weights in their order; where the orders differ, by kind and shape.

    If the models are not alike otherwise, a convolution of single points is a dense layer, and one
    of a single map as high as its window is one along a line.
    """
    ours, theirs = with_weights(a), with_weights(b)
    for of in (kind_and_shape, _plain_kind):
        if [of(x) for x in ours] == [of(x) for x in theirs]:
            return WeightMap(tuple(map(LayerPair, ours, theirs)))
        if Counter(map(of, ours)) == Counter(map(of, theirs)):
            left = list(theirs)
            pairs = []
            for layer in ours:
                other = next(x for x in left if of(x) == of(layer))
                left.remove(other)
                pairs.append(LayerPair(layer, other))
            return WeightMap(tuple(pairs))
    for of in (kind_and_shape, _plain_kind):
        if [of(x)[0] for x in ours] == [of(x)[0] for x in theirs]:
            pairs_of = zip(ours, theirs, strict=True)
            return Unlike(reshaped=tuple((x, y) for x, y in pairs_of if of(x) != of(y)))
    return Unlike(*_alone(ours, theirs))


def kind_and_shape(layer: PairLayer) -> tuple[str, tuple[int, ...]]:
    """What a layer does and the shape of its main tensor; biases may be left out."""
    roles = ("kernel", "gamma", "mean", "alpha")
    main = next((layer.shapes[r] for r in roles if r in layer.shapes), ())
    return layer.kind, main


def _plain_kind(layer: PairLayer) -> tuple[str, tuple[int, ...]]:
    """The same, with a convolution by the least that computes what it does: without axes of its
    window that only other code gives it."""
    kind, main = kind_and_shape(layer)
    settings = {"groups": 1, "pads": (), "stride": (1,), **layer.settings}
    if kind != "conv" or settings["groups"] != 1:
        return kind, main
    window = main[:-2]
    flat = not any(map(any, settings["pads"])) and set(settings["stride"]) == {1}
    if flat and set(window) == {1}:
        return "dense", main[-2:]
    # As texts are gone through by windows over all features of some words: one map of features.
    return (kind, (*window, main[-1])) if len(window) > 1 and main[-2] == 1 else (kind, main)


def _alone(
    a: Sequence[PairLayer], b: Sequence[PairLayer]
) -> tuple[tuple[PairLayer, ...], tuple[PairLayer, ...]]:
    """Layers of each side that the other has not, by a longest common subsequence of kinds."""
    kinds_a, kinds_b = ([_plain_kind(x)[0] for x in side] for side in (a, b))
    n, m = len(a), len(b)
    longest = [[0] * (m + 1) for _ in range(n + 1)]
    for i in reversed(range(n)):
        for j in reversed(range(m)):
            longest[i][j] = (
                longest[i + 1][j + 1] + 1
                if kinds_a[i] == kinds_b[j]
                else max(longest[i + 1][j], longest[i][j + 1])
            )
    missing, extra, i, j = [], [], 0, 0
    while i < n or j < m:
        if i < n and j < m and kinds_a[i] == kinds_b[j]:
            i, j = i + 1, j + 1
        elif j == m or (i < n and longest[i + 1][j] >= longest[i][j + 1]):
            missing.append(a[i])
            i += 1
        else:
            extra.append(b[j])
            j += 1
    return tuple(missing), tuple(extra)
