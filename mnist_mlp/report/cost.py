"""The curves of whole training runs, for the page of a check and for a notebook."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mnist_mlp.parity.cost import COLUMNS, Cost, TrainedRun
from mnist_mlp.report import svg
from mnist_mlp.report.curves import Curve, Quantity, Values, draw_curves, training_alone
from mnist_mlp.report.words import percent


@dataclass(frozen=True)
class Final:
    """What a run ends at, in words and as text."""

    label: str
    number: int
    what: str
    text: str


@dataclass(frozen=True)
class Line:
    """A line of the legend."""

    label: str
    number: int
    dashed: bool


@dataclass(frozen=True)
class Chart:
    """A figure and its legend."""

    drawing: svg.Drawing
    legend: tuple[Line, ...]


@dataclass(frozen=True)
class Column:
    """A column of the table: whose, what, and its values as text."""

    label: str
    what: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class ShownCost:
    """All that the page shows of it; `hero` is the chart beside the verdict."""

    finals: tuple[Final, ...]
    sentences: tuple[str, ...]
    hero: Chart | None
    charts: tuple[Chart, ...]
    columns: tuple[Column, ...]

    @property
    def epochs(self) -> int:
        """Rows of the table."""
        return max((len(column.values) for column in self.columns), default=0)


def shown_cost(cost: Cost) -> ShownCost:
    """The page's view of it."""
    charts = tuple(_chart(cost, kind, name=f"cost-{kind}") for kind in _kinds(cost))
    judged = (cost.judged_by or "").removeprefix("val_")
    first = judged if judged in _kinds(cost) else next(iter(_kinds(cost)), None)
    return ShownCost(
        finals=tuple(_finals(cost)),
        sentences=tuple(cost.sentences),
        hero=None if first is None else _chart(cost, first, name="cost-hero"),
        charts=charts,
        columns=tuple(_columns(cost)),
    )


def _kinds(cost: Cost) -> list[str]:
    """Columns of which there is something to draw."""
    return [kind for kind in COLUMNS if any(_curve(n, r, kind).kinds for n, r in _runs(cost))]


def _runs(cost: Cost) -> list[tuple[int, TrainedRun]]:
    return list(enumerate(cost.runs))


def _curve(number: int, run: TrainedRun, kind: str) -> Curve:
    return Curve(run.label, number, _values(run, kind), _values(run, f"val_{kind}"))


def _values(run: TrainedRun, column: str) -> Values | None:
    found = np.array([np.nan if v is None else v for v in run.history.get(column, ())], float)
    return found if np.isfinite(found).any() else None


def _quantity(kind: str) -> Quantity:
    words = COLUMNS[kind]
    label = words[0].upper() + words[1:]
    return Quantity(kind, label, kind, share=kind == "accuracy")


def _chart(cost: Cost, kind: str, *, name: str) -> Chart:
    curves = [curve for n, run in _runs(cost) if (curve := _curve(n, run, kind)).kinds]
    alone = training_alone(curves)
    legend = (
        Line(f"{curve.label}, {what}", curve.number, dashed=what == "training" and not alone)
        for curve in curves
        for what, _ in curve.kinds
    )
    return Chart(draw_curves(curves, _quantity(kind), name=name), tuple(legend))


def _finals(cost: Cost) -> list[Final]:
    if cost.as_it_is is not None and cost.with_specified_start is not None:
        # The test rows are those of the validation, of which a port need not report its accuracy.
        ends: list[float | None] = [cost.as_it_is, cost.with_specified_start]
        first = cost.runs[0].last("val_accuracy")
        values, what = [first, *ends], "accuracy"
    elif (name := cost.judged_by) is not None:
        values = [run.last(name) for run in cost.runs]
        what = name.replace("val_", "validation ")
    else:
        return []
    return [
        Final(
            run.label,
            number,
            what,
            percent(value) if "accuracy" in what else f"{value:.4g}",
        )
        for (number, run), value in zip(_runs(cost), values, strict=True)
        if value is not None
    ]


def _columns(cost: Cost) -> list[Column]:
    return [
        Column(
            run.label,
            ("validation " if name.startswith("val_") else "") + COLUMNS[name.removeprefix("val_")],
            tuple("none" if value is None else f"{value:.6g}" for value in values),
        )
        for run in cost.runs
        for name, values in run.history.items()
    ]


# --- In a notebook --------------------------------------------------------------------------------

PAPER, INK = "#ffffff", "#16191d"
_COLOURS = {
    "ink": INK,
    "muted": "#565d67",
    "grid": "#dfe2e6",
    "rule": "#7a828d",
    "zero": "#7a828d",
    "series-0": "#1d5fbf",
    "series-1": "#c2410c",
    "series-2": "#0f766e",
}
"""A notebook may be light or dark, and has no style sheet of ours: the figures bring paper."""


def notebook_html(cost: Cost) -> str:
    """The curves with all that they need, and no script."""
    view = shown_cost(cost)
    if not view.charts:
        return _paragraphs(view.sentences)
    # Ids are unique in a page, and a notebook may show several of these.
    mark = f"c{zlib.crc32(cost.model_dump_json().encode()):08x}-"
    variables = "; ".join(f"--{name}: {colour}" for name, colour in _COLOURS.items())
    figures = "".join(
        f'<figure style="margin: 0; flex: 1 1 320px; max-width: 480px">'
        f"<ul>{''.join(map(_legend_item, chart.legend))}</ul>{_renamed(chart.drawing, mark)}"
        f"<figcaption>{escape(chart.drawing.title)}.</figcaption></figure>"
        for chart in view.charts
    )
    return (
        f'<div style="{variables}; background: {PAPER}; color: {INK}; padding: 12px">'
        f"{_paragraphs(view.sentences)}"
        f'<div style="display: flex; flex-wrap: wrap; gap: 24px">{figures}</div></div>'
    )


def _legend_item(line: Line) -> str:
    colour = _COLOURS[f"series-{line.number % 3}"]
    how = "dashed" if line.dashed else "solid"
    return f'<li style="color: {colour}">{escape(line.label)} ({how})</li>'


def _paragraphs(sentences: Sequence[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _renamed(drawing: svg.Drawing, mark: str) -> str:
    """Its SVG with other ids."""
    return re.sub(rf"(?<=[\"# ])({re.escape(drawing.name)}-)", rf"{mark}\1", drawing.svg)
