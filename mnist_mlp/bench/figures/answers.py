"""The figure of a sitting of whole commands: every process is a dot, the bar is their median."""

from __future__ import annotations

from matplotlib.figure import Figure

from mnist_mlp.bench.figures.common import heading
from mnist_mlp.bench.record import Document
from mnist_mlp.bench.statistics import median, phase_values
from mnist_mlp.evaluate.figures import canvas

_LINE = 30  # px a case
_NAMES, _PANEL, _BOTTOM = 250, 560, 60


def draw(document: Document) -> Figure | None:
    """One line for each command or script, in seconds from the shell to its end."""
    measured = {c.key: phase_values(document.of(c.key), "process_s") for c in document.cases}
    lines = [(key, list(values.values())) for key, values in measured.items() if values]
    if not lines:
        return None
    height = _LINE * len(lines)
    figure = canvas.sheet(
        "What an answer takes",
        note="From the shell to the end of the process; every dot is one process, the bar is the "
        "median.",
        heading=heading(document),
        width=_NAMES + _PANEL + canvas.MARGIN,
        height=_BOTTOM + height + 8,
    )
    axes = canvas.add_axes(figure, _NAMES, _BOTTOM, _PANEL, height)
    for y, (_, seconds) in enumerate(lines):
        axes.barh(y, median(seconds) or 0, color=canvas.MUTED, height=0.6)
        axes.plot(seconds, [y] * len(seconds), "o", color=canvas.BLUE, alpha=0.6, markersize=5)
    axes.set(ylim=(len(lines) - 0.5, -0.5), yticks=range(len(lines)))
    axes.set_yticklabels([key for key, _ in lines], color=canvas.INK, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("Seconds")
    return figure
