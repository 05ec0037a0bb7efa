"""Work of a layer, done otherwise for an experiment, by the names that both frameworks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from mnist_mlp.ports.pair import Mend
from mnist_mlp_keras.engine import interpolation
from mnist_mlp_keras.port.pair_draws import Draws
from mnist_mlp_keras.port.pair_layers import is_channels_first, kind_of, settings_of

Pads = Sequence[tuple[int, int]]

POOLS = ("max_pool", "average_pool")
DROPOUTS = ("dropout", "spatial_dropout")


def instead_of(
    kind: str, x: Any, settings: Mapping[str, Any], draws: Draws, *, first: bool = False
) -> Any:
    """A layer without weights; `first` says that the channels come first."""
    if kind in POOLS:
        return _pooled(kind, x, settings, first=first)
    if kind in ("adaptive_average_pool", "adaptive_max_pool"):
        return _pooled_whole(kind, x, first=first)
    if kind == "upsample":
        return _upsampled(x, settings, first=first)
    if kind in DROPOUTS:
        return _dropped(kind, x, settings["rate"], draws, first=first)
    return activation(kind, x, settings)


def activation(kind: str, x: Any, settings: Mapping[str, Any]) -> Any:
    """An activation by shared name and settings."""
    match kind:
        case "linear":
            return x
        case "leaky_relu":
            return ops.leaky_relu(x, negative_slope=settings.get("slope", 0.2))
        case "elu" | "celu":
            return getattr(ops, kind)(x, alpha=settings.get("alpha", 1.0))
        case "gelu":
            return ops.gelu(x, approximate=bool(settings.get("approximate")))
        case "hardtanh":
            return ops.clip(x, -1.0, 1.0)
    own = getattr(keras.activations, kind, None) or getattr(ops, kind)
    return own(x)


def _dropped(kind: str, x: Any, rate: float, draws: Draws, *, first: bool) -> Any:
    if not rate:
        return x
    shape = list(x.shape)
    for axis in range(1, len(shape)) if kind == "spatial_dropout" else ():
        if axis != (1 if first else len(shape) - 1):
            shape[axis] = 1
    before, draws.rate = draws.rate, rate
    try:
        return keras.random.dropout(x, rate, noise_shape=shape)
    finally:
        draws.rate = before


def _pooled_whole(kind: str, x: Any, *, first: bool) -> Any:
    axes = tuple(range(2, len(x.shape))) if first else tuple(range(1, len(x.shape) - 1))
    return ops.mean(x, axes) if kind == "adaptive_average_pool" else ops.max(x, axes)


def _upsampled(x: Any, settings: Mapping[str, Any], *, first: bool) -> Any:
    """Nearest or linear, one axis of space after the other."""
    for axis, factor in enumerate(settings["factor"], start=2 if first else 1):
        before = int(x.shape[axis])
        after = round(before * factor)
        if settings["mode"] == "nearest":
            x = ops.take(x, [int(k / factor) for k in range(after)], axis=axis)
        else:
            shares = interpolation(before, after, corners=settings["corners"])
            made = ops.tensordot(x, ops.convert_to_tensor(shares.T, x.dtype), axes=[[axis], [0]])
            x = ops.moveaxis(made, -1, axis)
    return x


def _pooled(kind: str, x: Any, settings: Mapping[str, Any], *, first: bool) -> Any:
    size, stride, pads = settings["window"], settings["stride"], settings["pads"]
    options = {"data_format": "channels_first" if first else "channels_last"}
    if kind == "max_pool":
        around = padded(x, pads, first=first, value=float("-inf"))
        return ops.max_pool(around, size, stride, "valid", **options)
    total = ops.average_pool(padded(x, pads, first=first), size, stride, "valid", **options)
    if settings.get("count_padding"):
        return total
    ones = padded(ops.ones_like(x), pads, first=first)
    return total / ops.average_pool(ones, size, stride, "valid", **options)


def padded(x: Any, pads: Pads, *, first: bool, value: float = 0.0) -> Any:
    """`x` with so much of a value before and after it, in each axis of space."""
    if not any(map(any, pads)):
        return x
    within = [tuple(pair) for pair in pads]
    width = [(0, 0), (0, 0), *within] if first else [(0, 0), *within, (0, 0)]
    return ops.pad(x, width, constant_values=value)


# --- Layers with weights --------------------------------------------------------------------------

CONVOLUTION = {"stride": "strides", "dilation": "dilation_rate"}
"""Where a convolution keeps what an experiment changes."""


def around(layer: Any, x: Any, mends: Sequence[Mend]) -> Any:
    """What a convolution is given, where an experiment has it pad otherwise."""
    fields = {mend.field: mend.value for mend in mends}
    if kind_of(layer) != "conv" or "pads" not in fields:
        return x
    return padded(x, fields["pads"], first=is_channels_first(layer))


@contextmanager
def set_otherwise(layer: Any, x: Any, mends: Sequence[Mend]) -> Iterator[None]:
    """A layer with other settings of a convolution, while this lasts."""
    fields = {mend.field: mend.value for mend in mends}
    kind, own = kind_of(layer), dict[str, Any]()
    if kind in ("conv", "conv_transpose"):
        own = {CONVOLUTION[name]: v for name, v in fields.items() if name in CONVOLUTION}
        # It is padded in front, or cropped behind, as it is in the original.
        if "pads" in fields or "crops" in fields:
            own["padding"] = "valid"
    before = {name: getattr(layer, name) for name in own}
    try:
        for name, value in own.items():
            setattr(layer, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(layer, name, value)


def cropped(layer: Any, x: Any, z: Any, mends: Sequence[Mend]) -> Any:
    """The whole result of a transposed convolution, cropped, or going on as if by zeros; `x` is
    what it was given."""
    fields = {mend.field: mend.value for mend in mends}
    if "crops" not in fields:
        return z
    first = is_channels_first(layer)
    settings = {**settings_of(layer, x.shape), **fields}
    bias = 0.0
    if layer.use_bias:
        bias = ops.reshape(layer.bias, (-1, *[1] * layer.rank)) if first else layer.bias
    z = z - bias
    sizes = x.shape[2:] if first else x.shape[1:-1]
    cuts, pads = [], []
    for n, k, s, d, (before, after) in zip(
        sizes, layer.kernel_size, settings["stride"], settings["dilation"], fields["crops"],
        strict=True,
    ):  # fmt: skip
        whole = (n - 1) * s + d * (k - 1) + 1
        cuts.append(slice(max(before, 0), whole - max(after, 0)))
        pads.append((max(-before, 0), max(-after, 0)))
    z = z[(slice(None), slice(None), *cuts) if first else (slice(None), *cuts)]
    return padded(z, pads, first=first) + bias


def followed_by(result: Any, mends: Sequence[Mend], draws: Draws, *, first: bool = False) -> Any:
    """A result with work behind it that an experiment adds."""
    for mend in mends:
        if mend.field == "after":
            kind, settings = mend.value
            result = instead_of(kind, result, settings, draws, first=first)
    return result


def done_otherwise(
    layer: Any, own: Callable[..., Any], mends: Sequence[Mend], draws: Draws
) -> Callable[..., Any]:
    """What a layer without weights does, or what an experiment has it do."""
    chosen = next((mend.value for mend in mends if mend.field == "kind"), None)
    if chosen is None:
        return own
    kind, settings = chosen
    first = is_channels_first(layer)
    return lambda x, *_, **__: instead_of(kind, x, settings, draws, first=first)


def activated_otherwise(
    own: Callable[[Any], Any], mends: Sequence[Mend], draws: Draws
) -> Callable[[Any], Any]:
    """A layer's activation, or what an experiment has in its place."""
    for mend in mends:
        if mend.field == "skip":
            return lambda z: z
        if mend.field == "kind":
            kind, settings = mend.value
            return lambda z: instead_of(kind, z, settings, draws)
    return own
