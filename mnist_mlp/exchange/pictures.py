"""Turn a picture of a digit, of any size, into the network's input, such as 28 x 28 pixels.

This follows the recipe of MNIST (LeCun et al., 1998): the digit is scaled to fit 20 x 20 pixels,
and its centre of mass is moved to the centre of the image. Ink is white, so a picture with a bright
border is inverted.
"""

from __future__ import annotations

import io
import warnings
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.errors import DataError
from mnist_mlp.readers.regular import NAMED, parsed, read_bytes

FILE_LIMIT = 64 * 2**20
"""Most bytes of a picture's file."""

MOST_PIXELS = 50_000_000
"""Most pixels of a picture, as many as the cameras of telephones take. A small file can decompress
to any size and exhaust the memory; 50 million pixels take 200 MB."""

MOST_A_SIDE = 65_535
"""Most pixels of a side, as in JPEG. Pillow keeps a pointer for each row, several times."""

_SIDE = 2000
"""Pictures are reduced to about this many pixels a side before anything is computed with them. The
network sees 28."""

_INK = 0.1
"""Fraction of full ink above which a pixel belongs to the digit. It ignores the noise of a
photograph, and edges that JPEG has blurred."""


def read_picture(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a PNG or JPEG file as a grey image, uint8 of the given shape; 0 is background.

    Raises
    ------
    DataError
        The file is not a picture, it is too large, or nothing is drawn on it.
    """
    content = read_bytes(path, NAMED, limit=FILE_LIMIT)
    grey = parsed(path, NAMED, "a readable picture", lambda: _decoded(content))
    return normalised(grey, shape, name=str(path))


def _decoded(content: bytes) -> NDArray[np.float64]:
    """The grey values of a PNG or JPEG file, float64 (height, width) in [0, 1]."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        # Pillow warns of pictures that are larger than ours may be.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        # Only these two decoders are tried: each decoder is code that a hostile file may attack.
        try:
            picture = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
        except UnidentifiedImageError:
            raise ValueError("expected a PNG or JPEG file") from None
    with picture:
        if picture.width * picture.height > MOST_PIXELS:  # known before the pixels are decoded
            raise ValueError(
                f"{picture.width} x {picture.height} pixels, but the limit is {MOST_PIXELS:,}"
            )
        if max(picture.size) > MOST_A_SIDE:
            raise ValueError(
                f"{picture.width} x {picture.height} pixels, but the limit of a side is "
                f"{MOST_A_SIDE:,}"
            )
        factor = ceil(max(picture.size) / _SIDE)
        picture.draft(None, (picture.width // factor, picture.height // factor))  # JPEG only
        small = picture.convert("RGBA").reduce(ceil(max(picture.size) / _SIDE))
    # Transparent parts become white paper.
    flat = Image.new("RGBA", small.size, "white")
    flat.alpha_composite(small)
    return np.asarray(flat.convert("L"), np.float64) / 255


def normalised(
    grey: NDArray[np.float64], shape: tuple[int, int], *, name: str = "picture"
) -> NDArray[np.uint8]:
    """Scale and centre the digit in a grey picture, float64 (height, width) in [0, 1]."""
    from PIL import Image

    # The border shows the background: if it is bright, the ink is dark.
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ink = 1 - grey if np.median(border) > 0.5 else grey.copy()
    # Paper is rarely pure white: the level of the background is subtracted.
    ink -= np.median(np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]]))
    ink = np.clip(ink, 0, None)
    if ink.max() < _INK:
        raise DataError(f"{name}: nothing is drawn on it, or the contrast is too low")
    ink /= ink.max()
    rows, columns = (
        np.flatnonzero((ink > _INK).any(axis=1)),
        np.flatnonzero((ink > _INK).any(axis=0)),
    )
    digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = shape
    room = (height * 20 / 28, width * 20 / 28)
    scale = min(room[0] / digit.shape[0], room[1] / digit.shape[1])
    size = tuple(max(1, round(length * scale)) for length in digit.shape)
    small = Image.fromarray((digit * 255).astype(np.uint8)).resize(
        (size[1], size[0]), Image.Resampling.LANCZOS
    )
    pixels = np.asarray(small, np.float64)
    total = max(float(pixels.sum()), 1e-9)
    middle = (
        float((pixels.sum(axis=1) * np.arange(size[0])).sum() / total),
        float((pixels.sum(axis=0) * np.arange(size[1])).sum() / total),
    )
    # Clipped, because the ink of an asymmetric digit must not be moved out of the image.
    top = int(np.clip(round((height - 1) / 2 - middle[0]), 0, height - size[0]))
    left = int(np.clip(round((width - 1) / 2 - middle[1]), 0, width - size[1]))
    image = np.zeros(shape, np.uint8)
    image[top : top + size[0], left : left + size[1]] = pixels.astype(np.uint8)
    return image
