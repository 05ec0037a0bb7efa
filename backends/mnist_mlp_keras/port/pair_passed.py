"""Layers of Keras that are no work of a known kind: changes of shape, padding, merging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mnist_mlp.ports.pair import Passed
from mnist_mlp_keras.port.pair_layers import is_known

if TYPE_CHECKING:
    from mnist_mlp_keras.port.pair_observer import Observer

_NAMES = {
    "Flatten": "flatten",
    "Reshape": "reshape",
    "Permute": "permute",
    "RepeatVector": "repeat",
    **{f"ZeroPadding{d}D": "pad" for d in (1, 2, 3)},
    **{f"Cropping{d}D": "crop" for d in (1, 2, 3)},
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Dot": "dot",
    "Concatenate": "concatenate",
}
"""Names that torch's functions have too, by class."""


def passed_by(observer: Observer) -> Iterator[Passed]:
    """What ran between the layers of a step."""
    for layer in observer.layers:
        if layer.shapes or is_known(layer.kind):
            continue
        yield Passed(
            layer.number,
            layer.name,
            _NAMES.get(layer.kind, layer.kind),
            observer.shapes.get(layer.number, ()),
            layer.settings,
            layer.line,
        )
