"""The confusion matrix as a heat map with its counts."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from mnist_mlp.evaluate.evidence import Evidence
from mnist_mlp.evaluate.figures import canvas
from mnist_mlp.evaluate.measures import confusion_matrix, predictions

_LEFT, _BOTTOM, _ABOVE = 100, 84, 6
_BODY, _SMALLEST_CELL = 700, 40
_BAR, _BAR_GAP, _BAR_LABELS = 20, 30, 110


def draw(evidence: Evidence) -> Figure:
    """A cell counts the test rows of one true class (row) that got one predicted class (column).

    The colour is the cell's share of its row, on a square-root scale. On a linear scale the few
    mistakes of a good network would all be white.
    """
    classes = evidence.classes
    y_pred = predictions(evidence.logits)
    counts = confusion_matrix(evidence.y_true, y_pred, classes=classes)
    right = int(np.trace(counts))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    cell = max(_SMALLEST_CELL, min(150, _BODY // classes))
    side = cell * classes
    figure = canvas.sheet(
        "Confusion matrix",
        note=f"{right:,} of {len(y_pred):,} test rows are right (the diagonal). "
        "An empty cell counts 0.",
        heading=evidence.heading,
        width=_LEFT + side + _BAR_GAP + _BAR + _BAR_LABELS,
        height=_BOTTOM + side + _ABOVE,
    )
    axes = canvas.add_axes(figure, _LEFT, _BOTTOM, side, side)
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    # Cells are rectangles and not an image, so they are sharp at any size and have borders.
    edges = np.arange(classes + 1) - 0.5
    mesh = axes.pcolormesh(
        edges, edges, share, cmap="Blues", norm=norm, edgecolors="white", linewidth=1
    )
    axes.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5))
    axes.set(xlabel="Predicted class", ylabel="True class")
    axes.set_xticks(range(classes))
    axes.set_yticks(range(classes))
    axes.tick_params(length=0, labelsize=min(canvas.TEXT_PT, _fitting(cell, characters=3)))
    axes.grid(visible=False)
    size = min(canvas.TEXT_PT + 1, _fitting(cell, characters=len(f"{counts.max():,}")))
    for row, column in np.argwhere(counts):  # the cells that are not 0
        axes.text(
            column,
            row,
            f"{counts[row, column]:,}",
            size=size,
            color="white" if norm(share[row, column]) > 0.55 else canvas.INK,
            ha="center",
            va="center_baseline",
        )
    bar_axes = canvas.add_axes(figure, _LEFT + side + _BAR_GAP, _BOTTOM, _BAR, side)
    bar = figure.colorbar(mesh, cax=bar_axes, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "10 %", "25 %", "50 %", "75 %", "100 %"])
    bar.outline.set_visible(False)
    bar.set_label("Share of the true class")
    return figure


def _fitting(cell: int, *, characters: int) -> float:
    """Font size in points at which so many characters fit into a cell of `cell` px."""
    return round(cell * 0.8 * 72 / canvas.DPI / (0.64 * characters), 1)
