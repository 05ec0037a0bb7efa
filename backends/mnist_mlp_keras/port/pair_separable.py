"""A separable convolution as the two layers that it is: torch has no such layer, and ports write
one convolution for each map, and one of single points behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from mnist_mlp.ports.lines import MARK
from mnist_mlp_keras.port.load import is_native

KINDS = ("SeparableConv1D", "SeparableConv2D")


def is_separable(layer: Any) -> bool:
    """Whether it can be told as two; a causal one pads by code of its own."""
    name = type(layer).__name__
    return name in KINDS and is_native(layer) and layer.padding != "causal"


def parts(layer: Any) -> tuple[Any, Any]:
    """A depthwise convolution and one of single points, with the layer's own variables.

    Parameters
    ----------
    layer
        A built separable convolution.
    """
    rank = layer.rank
    shared = {"data_format": layer.data_format, "dtype": layer.dtype_policy, "name": layer.name}
    depthwise = getattr(keras.layers, f"DepthwiseConv{rank}D")(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        depth_multiplier=layer.depth_multiplier,
        use_bias=False,
        **shared,
    )
    points = getattr(keras.layers, f"Conv{rank}D")(
        layer.filters, 1, activation=layer.activation, use_bias=layer.use_bias, **shared
    )
    # Outside of `build`, a layer takes no variables that it would own.
    given = (
        (depthwise, {"kernel": layer.depthwise_kernel, "bias": None}),
        (points, {"_kernel": layer.pointwise_kernel, "bias": layer.bias}),
    )
    regularizers = layer.depthwise_regularizer, layer.pointwise_regularizer
    for (part, variables), regularizer in zip(given, regularizers, strict=True):
        part.built = True
        part.__dict__.update(variables, kernel_regularizer=regularizer)
        part.__dict__.update({k: v for k, v in vars(layer).items() if k.startswith(MARK)})
    points.bias_regularizer = layer.bias_regularizer
    return depthwise, points


def split(layers: Sequence[Any]) -> tuple[list[Any], dict[Any, tuple[Any, Any]]]:
    """Layers with each separable convolution as its parts, and these by the whole."""
    whole = {x: parts(x) for x in layers if is_separable(x) and x.built}
    return [part for x in layers for part in whole.get(x, (x,))], whole


@contextmanager
def by_parts(whole: dict[Any, tuple[Any, Any]]) -> Iterator[None]:
    """Let separable convolutions call their parts, while this lasts."""

    def calling(first: Any, second: Any) -> Callable[..., Any]:
        return lambda x: second.call(first.call(x))

    for layer, (first, second) in whole.items():
        layer.call = calling(first, second)
    try:
        yield
    finally:
        for layer in whole:
            del layer.call
