"""The figure of a comparison of many runs: the accuracies of both sides, and their difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_mlp.evaluate.figures import canvas
from mnist_mlp.sweep.equivalence import Comparison

_LINE = 36  # px a side; a comparison has two of them
_LONGEST = 28  # characters of a name
_NAMES, _PANEL, _GAP, _BOTTOM = 250, 380, 60, 56

Accuracies = Mapping[tuple[str, str], Sequence[float]]
"""Accuracies by side and group."""


def figure_files(comparisons: Sequence[Comparison], accuracies: Accuracies) -> dict[str, bytes]:
    """The figure as `accuracies.svg` and `accuracies.png`."""
    with canvas.house_style():
        figure = draw(comparisons, accuracies)
        return {f"accuracies.{kind}": canvas.to_bytes(figure, kind=kind) for kind in ("svg", "png")}


def draw(comparisons: Sequence[Comparison], accuracies: Accuracies) -> Figure:
    """Left: a dot for each run, a bar at the mean. Right: each difference with its interval."""
    lines = list(dict.fromkeys((s, c.group) for c in comparisons for s in (c.a, c.b)))
    height = _LINE * max(len(lines), 3)
    figure = canvas.sheet(
        "Accuracies of many runs",
        note="Left: every run is a dot, the bar is the mean. Right: the mean difference of two "
        "sides with its 90 % interval. Within the margin (shaded) they are equivalent, beyond it "
        "they differ.",
        heading=None,
        width=2 * (_NAMES + _PANEL) + _GAP + canvas.MARGIN,
        height=_BOTTOM + height + 8,
    )
    left = canvas.add_axes(figure, _NAMES, _BOTTOM, _PANEL, height)
    right = canvas.add_axes(figure, 2 * _NAMES + _PANEL + _GAP, _BOTTOM, _PANEL, height)
    names = [_short(" ".join(filter(None, line))) for line in lines]
    _runs(left, names, [accuracies[line] for line in lines])
    _differences(right, comparisons)
    return figure


def _runs(axes: Axes, names: Sequence[str], lines: Sequence[Sequence[float]]) -> None:
    for y, values in enumerate(lines):
        axes.plot(values, [y] * len(values), "o", color=canvas.BLUE, alpha=0.3, markersize=5)
        if len(values):
            mean = sum(values) / len(values)
            axes.plot([mean], [y], "|", color=canvas.VERMILLION, markersize=18, mew=2.5)
    _label(axes, names, "Accuracy on the test rows")


def _differences(axes: Axes, comparisons: Sequence[Comparison]) -> None:
    margin = comparisons[0].margin
    axes.axvspan(-margin, margin, color=canvas.BLUE, alpha=0.15, zorder=0)
    ends = [margin, *(abs(end) for each in comparisons for end in (each.low, each.high))]
    axes.set_xlim(-1.1 * max(ends), 1.1 * max(ends))
    axes.axvline(0, color=canvas.MUTED, linewidth=1)
    for y, each in enumerate(comparisons):
        axes.plot([each.low, each.high], [y, y], color=canvas.BLUE, linewidth=2.5)
        axes.plot([each.difference], [y], "o", color=canvas.VERMILLION, markersize=6)
    names = [
        "\n".join(
            (
                _short(each.b),
                f"minus {_short(each.a)}",
                " ".join(filter(None, (_short(each.group), each.decision))),
            )
        )
        for each in comparisons
    ]
    _label(axes, names, "Difference of the mean accuracies")


def _short(name: str) -> str:
    """The last part of a path, and of a long name its end, so that it fits beside the axes."""
    last = name.rpartition("/")[2]
    return last if len(last) <= _LONGEST else f"...{last[3 - _LONGEST :]}"


def _label(axes: Axes, names: Sequence[str], quantity: str) -> None:
    axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=canvas.TEXT_PT - 2)
    axes.set_yticklabels(names, color=canvas.INK, fontsize=9, parse_math=False)
    axes.set_xlabel(quantity)
