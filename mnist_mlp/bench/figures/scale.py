"""The figure of a scale sitting: all series, log-log, each with its ideal line."""

from __future__ import annotations

from matplotlib.figure import Figure

from mnist_mlp.bench.figures.common import LINES, heading
from mnist_mlp.bench.record import Document
from mnist_mlp.bench.scale import TOLERANCE, series
from mnist_mlp.evaluate.figures import canvas

_SIZE = (620, 420)
_LEFT, _BOTTOM, _LEGEND = 90, 96, 300
_X = {
    "width": "Units of the first hidden layer (the others in proportion)",
    "batch": "Rows of a batch",
    "rows": "Rows of the data set (repeated beyond its own)",
    "epochs": "Epochs",
}


def draw(document: Document) -> Figure | None:
    """Seconds over the axis. Filled markers are on the ideal line, hollow ones are not."""
    lines = series(document)
    if not lines:
        return None
    whole = document.axis == "epochs"
    what = "a whole training, start-up included," if whole else "a steady epoch"
    figure = canvas.sheet(
        f"How the time of {what} grows with the {document.axis}",
        note=f"Dashed: the best time per unit of work of the same series. Filled: on that line, "
        f"at most {TOLERANCE} times its time; hollow: off it.",
        heading=heading(document),
        width=_LEFT + _SIZE[0] + _LEGEND + canvas.MARGIN,
        height=_BOTTOM + _SIZE[1] + 8,
    )
    axes = canvas.add_axes(figure, _LEFT, _BOTTOM, *_SIZE)
    for number, line in enumerate(lines):
        colour = LINES[number % len(LINES)]
        label = line.name if line.slope is None else f"{line.name}, slope {line.slope:.2f}"
        axes.plot(line.x, line.ideal, "--", color=colour, linewidth=1)
        axes.plot(line.x, line.y, "-", color=colour, linewidth=1.8, label=label)
        for x, y in zip(line.x, line.y, strict=True):
            filled = line.low <= x <= line.high
            fill = colour if filled else "white"
            axes.plot([x], [y], "o", markersize=7, markeredgecolor=colour, markerfacecolor=fill)
    axes.set(xscale="log", yscale="log", xlabel=_X[document.axis], ylabel="Seconds")
    ticks = sorted({x for line in lines for x in line.x})
    axes.set_xticks(ticks, labels=[f"{x:,}" for x in ticks], rotation=30, fontsize=8)
    axes.set_xticks([], minor=True)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=canvas.TEXT_PT - 1
    )
    return figure
