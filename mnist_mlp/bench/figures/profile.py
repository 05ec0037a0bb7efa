"""The figure of where the time of an epoch goes: one stacked bar for each backend."""

from __future__ import annotations

from matplotlib.figure import Figure

from mnist_mlp.bench.figures.common import COLOURS, heading
from mnist_mlp.bench.profile import PARTS, profiles
from mnist_mlp.bench.record import Document
from mnist_mlp.evaluate.figures import canvas

_LINE, _LEFT, _WIDTH, _BOTTOM = 44, 170, 700, 96


def draw(document: Document) -> Figure | None:
    """Milliseconds of an epoch by part. A part below zero (within the noise) is left out."""
    found = profiles(document)
    if not found:
        return None
    figure = canvas.sheet(
        "Where the time of an epoch goes",
        note="By differences between versions of the work, each smaller by one part.",
        heading=heading(document),
        width=_LEFT + _WIDTH + canvas.MARGIN,
        height=_BOTTOM + _LINE * len(found) + 8,
    )
    axes = canvas.add_axes(figure, _LEFT, _BOTTOM, _WIDTH, _LINE * len(found))
    for y, each in enumerate(found):
        start = 0.0
        for part, colour in zip(PARTS, COLOURS, strict=False):
            length = max(1000 * each.parts[part], 0.0)
            label = part if y == 0 else None
            axes.barh(y, length, left=start, color=colour, height=0.6, label=label)
            start += length
    axes.set(ylim=(len(found) - 0.5, -0.5), yticks=range(len(found)), xlabel="Milliseconds")
    axes.set_yticklabels([each.name for each in found], color=canvas.INK)
    figure.legend(
        handles=axes.get_legend_handles_labels()[0],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.01),
        ncols=len(PARTS),
        frameon=False,
    )
    return figure
