"""Pictures of the page: digits and weights as PNG in `data:` URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_mlp.report.sides import ShownRun
from mnist_mlp.report.words import count, small

UNITS = 32
"""Number of units of the first layer that are shown."""
_COLUMNS, _GAP = 8, 2
# Blue is negative, orange positive, as in the figures of the run folder.
_COLOURS = (
    (0x05, 0x3C, 0x8C),
    (0x7E, 0xB4, 0xE1),
    (0xF7, 0xF7, 0xF7),
    (0xF0, 0xB0, 0x7D),
    (0xA5, 0x3C, 0x05),
)


@dataclass(frozen=True)
class Weights:
    """The first layer of one run as a picture, with a text alternative."""

    label: str
    source: str
    text: str
    width: int
    height: int


def digit(pixels: NDArray[np.uint8]) -> str:
    """The `data:` URL of one image, uint8 (height, width), drawn dark on light."""
    return _address(Image.fromarray(255 - pixels))


def weights(sides: Sequence[ShownRun]) -> tuple[Weights, ...]:
    """The weights of the first units, one tile each, with the same colour scale for all runs."""
    # 99.5 % of the weights set the scale; the largest few would make all tiles pale.
    bound = max(float(np.quantile(np.abs(_kernel(side)), 0.995)) for side in sides) or 1.0
    return tuple(_weights(side, bound) for side in sides)


def largest_difference(a: ShownRun, b: ShownRun) -> str:
    """One sentence about the largest difference between two first layers."""
    left, right = a.evidence.first_kernel, b.evidence.first_kernel
    if left.shape != right.shape:
        return f"The first layers of {a.label} and {b.label} have different shapes."
    gap = float(np.abs(left.astype(float) - right).max())
    if gap == 0:
        return f"The first layers of {a.label} and {b.label} are equal, bit for bit."
    return (
        f"The first layers of {a.label} and {b.label} differ by at most {small(gap)}; the largest "
        f"weight is {np.abs(left).max():.2g}."
    )


def _kernel(side: ShownRun) -> NDArray[np.float64]:
    return side.evidence.first_kernel[:, :UNITS].astype(np.float64)


def _weights(side: ShownRun, bound: float) -> Weights:
    kernel = _kernel(side)
    shown, total = kernel.shape[1], side.evidence.first_kernel.shape[1]
    height, width = side.evidence.image_shape
    levels = np.clip(np.round(127 + 127 * kernel / bound), 0, 254).astype(np.uint8)
    columns = min(shown, _COLUMNS)
    rows = -(-shown // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP), 255, np.uint8)
    for unit in range(shown):
        row, column = divmod(unit, columns)
        y, x = row * (height + _GAP), column * (width + _GAP)
        sheet[y : y + height, x : x + width] = levels[:, unit].reshape(height, width)
    image = Image.fromarray(sheet).convert("P")
    image.putpalette(_palette())
    return Weights(
        label=side.label,
        source=_address(image, transparency=255),
        text=f"First-layer weights of {side.label}, {shown} of {count(total, 'unit')}, "
        f"a tile each: from {kernel.min():.2g} to {kernel.max():.2g}.",
        width=sheet.shape[1],
        height=sheet.shape[0],
    )


def _palette() -> list[int]:
    """255 colours from blue to orange, and white for the gaps between tiles."""
    stops = np.linspace(0, 254, len(_COLOURS))
    channels = [
        np.interp(np.arange(255), stops, channel) for channel in zip(*_COLOURS, strict=True)
    ]
    colours = np.round(np.stack(channels, axis=1)).astype(int)
    return [*colours.ravel().tolist(), 255, 255, 255]


def _address(image: Image.Image, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
