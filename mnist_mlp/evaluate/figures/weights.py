"""The figure of the first layer's weights: one picture for each unit."""

from __future__ import annotations

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from mnist_mlp.evaluate.evidence import Evidence
from mnist_mlp.evaluate.figures import canvas

_SHOWN, _COLUMNS = 64, 8
_ROOM, _GAP = 114, 6
_BAR, _BAR_GAP, _BAR_LABELS = 20, 30, 100
# Between neighbours of the 256 colours no channel changes by more than 2 levels. So a weight that
# moves to the next colour by a rounding does not change the picture visibly. Matplotlib's own
# diverging maps have larger jumps.
_COLOURS = ("#053c8c", "#7eb4e1", "#f7f7f7", "#f0b07d", "#a53c05")


def draw(evidence: Evidence) -> Figure:
    """The weights of the first 64 units (or of all, if fewer): one picture each, one scale."""
    kernel = evidence.first_kernel.astype(np.float64)
    units = kernel.shape[1]
    shown = min(units, _SHOWN)
    height, width = evidence.image_shape
    scale = canvas.whole_scale(evidence.image_shape, room=_ROOM)
    columns = min(shown, _COLUMNS)
    rows = -(-shown // columns)
    cell_w, cell_h = width * scale + _GAP, height * scale + _GAP
    grid_w, grid_h = columns * cell_w - _GAP, rows * cell_h - _GAP
    body = canvas.MARGIN + grid_h
    figure = canvas.sheet(
        "Weights of the first layer",
        note=f"One picture per unit, {shown} of {units}, row by row. "
        "Blue is negative, orange positive.",
        heading=evidence.heading,
        width=2 * canvas.MARGIN + grid_w + _BAR_GAP + _BAR + _BAR_LABELS,
        height=body,
    )
    axes = canvas.picture_axes(figure, height=body)
    bound, clipped = _scale(kernel[:, :shown])
    cmap = LinearSegmentedColormap.from_list("blue_orange", _COLOURS, N=256)
    norm = Normalize(-bound, bound)
    colours = cmap(norm(kernel[:, :shown]), bytes=True)[..., :3]
    for unit in range(shown):
        line, column = divmod(unit, columns)
        canvas.picture(
            axes,
            colours[:, unit].reshape(height, width, 3),
            x=canvas.MARGIN + column * cell_w,
            y=body - line * cell_h - height * scale,
            scale=scale,
        )
    bar_axes = canvas.add_axes(
        figure, canvas.MARGIN + grid_w + _BAR_GAP, canvas.MARGIN, _BAR, grid_h
    )
    bar = figure.colorbar(
        ScalarMappable(norm, cmap),
        cax=bar_axes,
        extend="both" if clipped else "neither",
        extendfrac=0.02,
    )
    bar.outline.set_visible(False)
    bar.set_label("Weight")
    return figure


def _scale(kernel: np.ndarray) -> tuple[float, bool]:
    """End of the symmetric colour scale, and whether some weights lie beyond it.

    The scale contains 99.5 % of the weights. A scale up to the largest weight would make all
    pictures pale because of a few weights. Both ends are rounded before they are compared, so that
    the last digit of a weight does not decide.
    """
    magnitudes = np.abs(kernel)
    largest = float(magnitudes.max())
    if largest == 0:
        return 1.0, False
    bound = canvas.rounded_up(float(np.quantile(magnitudes, 0.995)) or largest, digits=2)
    return bound, canvas.rounded_up(largest, digits=2) > bound
