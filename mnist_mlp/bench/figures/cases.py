"""The figure of all cases of a sitting: all steady epochs, and the whole process by phase."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mnist_mlp.bench.figures.common import COLOURS, heading
from mnist_mlp.bench.record import Document
from mnist_mlp.bench.results import Row, row
from mnist_mlp.evaluate.figures import canvas

_LINE = 26  # px a case
_NAMES, _PANEL, _GAP, _BOTTOM = 250, 440, 40, 92
_PHASES = ("spawn_s", "import_s", "build_s", "first_epoch_s")
_LABELS = ("start", "import", "build", "first epoch", "steady epochs, evaluation")


def draw(document: Document) -> Figure | None:
    """Left: one dot for each epoch, a bar at their median. Right: the process, stacked by phase."""
    rows = [r for r in (row(document, case) for case in document.cases) if r.status == "ok"]
    if not rows:
        return None
    height = _LINE * len(rows)
    figure = canvas.sheet(
        "What an epoch and a whole process take",
        note="Left: every steady epoch is a dot, the bar is the median over processes; "
        "logarithmic. Right: medians of the phases; commands and scripts are timed as a whole.",
        heading=heading(document),
        width=_NAMES + 2 * _PANEL + _GAP + canvas.MARGIN,
        height=_BOTTOM + height + 8,
    )
    left = canvas.add_axes(figure, _NAMES, _BOTTOM, _PANEL, height)
    right = canvas.add_axes(figure, _NAMES + _PANEL + _GAP, _BOTTOM, _PANEL, height)
    _epochs(left, document, rows)
    _wholes(right, rows)
    for axes in (left, right):
        axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
        axes.tick_params(axis="y", length=0)
    left.set_yticklabels([each.key for each in rows], color=canvas.INK, fontsize=9)
    right.set_yticklabels([])
    figure.legend(
        handles=right.get_legend_handles_labels()[0],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.005),
        ncols=len(_LABELS) + 1,
        frameon=False,
        fontsize=canvas.TEXT_PT - 1,
    )
    return figure


def _epochs(axes: Axes, document: Document, rows: list[Row]) -> None:
    for y, each in enumerate(rows):
        values = [x for sample in document.of(each.key) for x in sample.epochs_s]
        if each.epoch_s is None or not values:
            continue
        axes.plot(values, [y] * len(values), "o", color=canvas.BLUE, alpha=0.35, markersize=5)
        axes.plot([each.epoch_s], [y], "|", color=canvas.VERMILLION, markersize=16, mew=2.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=canvas.TEXT_PT - 2)
    axes.set_xlabel("Seconds of a steady epoch")


def _wholes(axes: Axes, rows: list[Row]) -> None:
    for y, each in enumerate(rows):
        whole = each.phases.get("process_s")
        if whole is None:
            continue
        phased = all(phase in each.phases for phase in _PHASES)
        if not phased:
            axes.barh(y, whole, color=canvas.MUTED, height=0.6)
            continue
        start = 0.0
        lengths = [each.phases[phase] for phase in _PHASES]
        for length, colour in zip([*lengths, max(whole - sum(lengths), 0)], COLOURS, strict=False):
            axes.barh(y, length, left=start, color=colour, height=0.6)
            start += length
    for label, colour in zip(_LABELS, COLOURS, strict=False):
        axes.barh(0, 0, color=colour, label=label)
    axes.barh(0, 0, color=canvas.MUTED, label="a whole command or script")
    axes.set_xlim(left=0)
    axes.set_xlabel("Seconds of a process")
