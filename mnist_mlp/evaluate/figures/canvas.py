"""Shared by all figures: the style, the sheet with its header, and reproducible bytes.

pyplot is not used, because its global state (the current figure, the backend, the user's
matplotlibrc) could change a result. A `Figure` of our own, in a style that starts from Matplotlib's
shipped defaults, depends only on its input. Text is drawn as paths, in the DejaVu font that
Matplotlib ships, so that a figure looks the same wherever it is opened.

Positions are pixels of the PNG, counted from the lower left corner. Pictures can then be enlarged
by whole factors, and stay sharp.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

DPI = 128  # a power of two: pixels / DPI is an exact float, and no pixel is lost to rounding
MARGIN = 36
_MIN_WIDTH = 880  # px: the longest title and most notes fit on one line

INK = "#222222"
MUTED = "#5a5a5a"
FRAME = "#cccccc"
# Okabe and Ito's palette, safe for colour-blind readers.
BLUE = "#0072b2"
VERMILLION = "#d55e00"

TEXT_PT = 10
_TITLE_PT = 14
_BELOW_HEADER = 10
# Mean width of a DejaVu Sans character in English text, in font sizes, rounded up.
_CHARACTER = {"normal": 0.54, "bold": 0.66}


@contextmanager
def house_style() -> Iterator[None]:
    """The style for drawing and saving: Matplotlib's defaults, then ggplot, then ours.

    Both files are read from Matplotlib's own data folder, so the user's matplotlibrc and style
    library have no effect.
    """
    ggplot = Path(mpl.get_data_path()) / "stylelib" / "ggplot.mplstyle"
    ours = {
        "font.family": ["DejaVu Sans"],
        "font.size": TEXT_PT,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.labelsize": TEXT_PT,
        "axes.titlesize": TEXT_PT + 1,
        "axes.formatter.useoffset": False,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "figure.dpi": DPI,
        "savefig.dpi": DPI,
        "image.composite_image": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "mnist_mlp",
    }
    style = mpl.rc_params_from_file(ggplot, use_default_template=True)
    with mpl.rc_context({**style, **ours}):
        yield


def sheet(title: str, *, note: str, heading: str | None, width: int, height: int) -> Figure:
    """An empty figure: a body of `width` (at least) x `height` px and, above it, a header.

    The header holds the heading (if any), the title and a note that says how to read the figure.
    """
    width = max(width, _MIN_WIDTH)
    lines = []
    for text, size, colour, weight in (
        (heading or "", TEXT_PT, VERMILLION, "bold"),
        (title, _TITLE_PT, INK, "bold"),
        (note, TEXT_PT, MUTED, "normal"),
    ):
        fitting = int((width - 2 * MARGIN) / (_px(size) * _CHARACTER[weight]))
        lines += [(line, size, colour, weight) for line in textwrap.wrap(text, fitting)]
    tops = np.cumsum([0, *(round(_px(size) * 1.65) for _, size, _, _ in lines)])
    total = height + MARGIN + int(tops[-1]) + _BELOW_HEADER
    figure = Figure(figsize=(width / DPI, total / DPI))
    # `to_bytes` writes this label as <title> of the SVG, which screen readers read out.
    figure.set_label(title if heading is None else f"{title} ({heading})")
    for (line, size, colour, weight), top in zip(lines, tops, strict=False):
        figure.text(
            MARGIN / width,
            1 - (MARGIN * 0.8 + int(top)) / total,
            line,
            size=size,
            color=colour,
            weight=weight,
            va="top",
            parse_math=False,
        )
    return figure


def add_axes(figure: Figure, left: int, bottom: int, width: int, height: int) -> Axes:
    """Axes at a place given in px."""
    w, h = (round(inches * DPI) for inches in figure.get_size_inches())
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def picture_axes(figure: Figure, *, height: int) -> Axes:
    """Axes without frame over the body (the lowest `height` px), whose units are px."""
    width = round(figure.get_size_inches()[0] * DPI)
    axes = add_axes(figure, 0, 0, width, height)
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(0, height), autoscale_on=False)
    return axes


def picture(axes: Axes, pixels: NDArray[np.uint8], *, x: int, y: int, scale: int) -> None:
    """Draw uint8 RGB (h, w, 3) on `picture_axes`, lower left at (x, y), enlarged `scale` times."""
    h, w = pixels.shape[0] * scale, pixels.shape[1] * scale
    axes.imshow(pixels, extent=(x, x + w, y, y + h), interpolation="nearest", aspect="auto")


def whole_scale(shape: tuple[int, int], *, room: int) -> int:
    """The largest whole enlargement at which a picture (h, w) fits into `room` px; at least 1."""
    return max(1, room // max(shape))


def rounded_up(value: float, *, digits: int) -> float:
    """`value` > 0 rounded up to `digits` significant digits.

    It is first rounded to 5 digits. Otherwise a value that exceeds a round number only in a float's
    last digit would jump to the next round number.
    """
    step = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    return float(f"{math.ceil(float(f'{value / step:.5g}')) * step:.12g}")


def to_bytes(figure: Figure, *, kind: str) -> bytes:
    """The figure as `svg` or `png`, without date, program or version. Call in `house_style`."""
    metadata: dict[str, Any] = {"Title": figure.get_label()}
    metadata |= {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def _px(points: float) -> float:
    return points * DPI / 72
