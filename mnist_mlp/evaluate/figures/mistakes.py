"""The figure of the wrong predictions with the highest probability."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mnist_mlp.evaluate.evidence import Evidence
from mnist_mlp.evaluate.figures import canvas
from mnist_mlp.evaluate.measures import PROBABILITY_DECIMALS, mistakes

_SHOWN, _COLUMNS = 24, 8
_ROOM, _GAP, _CAPTION = 114, 18, 62  # px: a picture, the gap between pictures, the text below


def draw(evidence: Evidence) -> Figure:
    """Up to 24 wrongly classified rows with true class, predicted class and its probability."""
    found = mistakes(evidence.logits, evidence.y_true, evidence.ids)
    wrong, n = len(found.rows), len(evidence.y_true)
    shown = min(wrong, _SHOWN)
    height, width = evidence.image_shape
    scale = canvas.whole_scale(evidence.image_shape, room=_ROOM)
    # A caption needs this width even if the picture above it is narrower.
    cell_w, cell_h = max(_ROOM, width * scale) + _GAP, height * scale + _CAPTION
    rows = max(1, -(-shown // _COLUMNS))
    body = rows * cell_h + canvas.MARGIN // 2
    figure = canvas.sheet(
        "Most confidently wrong" if wrong else "No mistakes",
        note=f"{shown} of {wrong:,} mistakes among {n:,} test rows: "
        "true class \N{RIGHTWARDS ARROW} predicted class, and its probability."
        if wrong
        else f"All {n:,} test rows are classified correctly.",
        heading=evidence.heading,
        width=_COLUMNS * cell_w - _GAP + 2 * canvas.MARGIN,
        height=body if wrong else canvas.MARGIN,
    )
    if not wrong:
        return figure
    axes = canvas.picture_axes(figure, height=body)
    place = {int(row_id): index for index, row_id in enumerate(evidence.example_ids)}
    for index, row in enumerate(found.rows[:shown]):
        line, column = divmod(index, _COLUMNS)
        left = canvas.MARGIN + column * cell_w
        bottom = body - line * cell_h - height * scale
        inset = (cell_w - _GAP - width * scale) // 2
        ink = evidence.example_images[place[int(evidence.ids[row])]]
        paper = np.repeat(255 - ink[:, :, None], 3, axis=2)
        x, size = left + inset, (width * scale, height * scale)
        canvas.picture(axes, paper, x=x, y=bottom, scale=scale)
        axes.add_patch(Rectangle((x, bottom), *size, fill=False, edgecolor=canvas.FRAME, lw=0.6))
        middle = left + (cell_w - _GAP) / 2
        true, predicted = evidence.y_true[row], found.predicted[index]
        percent = f"{found.probability[index]:.{PROBABILITY_DECIMALS - 2}%}".replace("%", " %")
        axes.text(
            middle,
            bottom - 8,
            f"{true} \N{RIGHTWARDS ARROW} {predicted}",
            size=11,
            weight="bold",
            ha="center",
            va="top",
        )
        axes.text(middle, bottom - 32, percent, size=9, color=canvas.MUTED, ha="center", va="top")
    return figure
