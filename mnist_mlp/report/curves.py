"""The figures of loss and accuracy of all runs, with the differences from the first run below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from mnist_mlp.evaluate.figures.curves import MARKED_EPOCHS, epoch_ticks
from mnist_mlp.report import svg
from mnist_mlp.report.sides import ShownRun
from mnist_mlp.report.words import percent, small

Values = NDArray[np.float64]

WIDTH = 430
_LEFT, _RIGHT, _BOTTOM = 52, 10, 42
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Quantity:
    """The quantity of a figure: a column of the history, and its column for validation."""

    name: str
    label: str
    column: str
    share: bool

    def of(self, side: ShownRun, *, validation: bool) -> Values:
        """The values of a run, one for each epoch: float64 (epochs,)."""
        column = f"val_{self.column}" if validation else self.column
        return np.asarray(getattr(side.evidence.history, column), dtype=np.float64)

    def shown(self, value: float) -> str:
        """A value as text: a percentage for accuracy."""
        if not math.isfinite(value):
            return "no number"
        if self.share:
            return percent(value)
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 else f"{value:.4g}"


LOSS = Quantity("loss", "Cross-entropy loss", "loss", share=False)
ACCURACY = Quantity("accuracy", "Accuracy", "accuracy", share=True)


def draw(
    sides: Sequence[ShownRun],
    quantity: Quantity,
    *,
    name: str,
    training: bool = True,
    heights: tuple[int, int] = (210, 110),
) -> svg.Drawing:
    """Draw the curves and, for two or more runs, below them the differences from the first run.

    Parameters
    ----------
    training : bool
        Draw the training curves too, dashed.
    heights : tuple of int
        Heights of the two panels in px.
    """
    several = len(sides) > 1
    above, below = heights
    total = 10 + above + _BOTTOM + (below + 30 if several else 0)
    width = WIDTH - _LEFT - _RIGHT
    kinds = (True, False) if training else (True,)
    with svg.page_style():
        figure = svg.sheet(WIDTH, total)
        axes = svg.add_axes(figure, left=_LEFT, top=10, width=width, height=above)
        for side in sides:
            for validation in kinds:
                values = quantity.of(side, validation=validation)
                _line(axes, values, side.number, validation=validation)
        last = axes
        _value_axis(axes, quantity)
        if several:
            axes.tick_params(axis="x", labelbottom=False, length=0)
            last = svg.add_axes(figure, left=_LEFT, top=10 + above + 30, width=width, height=below)
            _differences(last, sides, quantity, kinds=kinds)
        epochs = max(len(side.evidence.history) for side in sides)
        for each in (axes, last):
            _epoch_axis(each, epochs)
        last.set_xlabel("Epoch")
        what = quantity.label if training else f"Validation {quantity.label.lower()}"
        title = f"{what} by epoch" + (", and the difference between the runs" if several else "")
        text = _text(sides, quantity, kinds=kinds)
        return svg.inline(figure, name=name, title=title, text=text)


@dataclass(frozen=True, eq=False)
class Curve:
    """One run's values by epoch, float64 (epochs,), NaN where there is none; None where it has no
    such values at all. `number` selects its colour."""

    label: str
    number: int
    training: Values | None
    validation: Values | None

    @property
    def kinds(self) -> list[tuple[str, Values]]:
        """The values that there are, with what they are."""
        both = (("validation", self.validation), ("training", self.training))
        return [(name, values) for name, values in both if values is not None]


MOST_DECADES = 1.5
"""Values that span more are drawn on a logarithmic scale: the smaller ones would be a flat line."""


def draw_curves(curves: Sequence[Curve], quantity: Quantity, *, name: str) -> svg.Drawing:
    """Draw runs of any length over each other, each with whatever it has."""
    with svg.page_style():
        height = 210
        figure = svg.sheet(WIDTH, 10 + height + _BOTTOM)
        width = WIDTH - _LEFT - _RIGHT
        axes = svg.add_axes(figure, left=_LEFT, top=10, width=width, height=height)
        alone = training_alone(curves)
        for curve in curves:
            for kind, values in curve.kinds:
                _line(axes, values, curve.number, validation=alone or kind == "validation")
        seen = np.concatenate([values for curve in curves for _, values in curve.kinds])
        seen = seen[np.isfinite(seen)]
        far = not quantity.share and seen.min() > 0
        far = far and bool(np.log10(seen.max() / seen.min()) > MOST_DECADES)
        if far:
            axes.set_yscale("log")
            low, high = (math.floor(np.log10(seen.min())), math.ceil(np.log10(seen.max())))
            axes.set_ylim(10.0**low, 10.0**high)
            ticks = range(low, high + 1, math.ceil((high - low) / 5))
            axes.set_yticks([10.0**tick for tick in ticks], [_power(tick) for tick in ticks])
            axes.minorticks_off()
        else:
            _value_axis(axes, quantity)
        _epoch_axis(axes, max(len(values) for curve in curves for _, values in curve.kinds))
        axes.set_xlabel("Epoch")
        title = f"{quantity.label} by epoch" + (", on a logarithmic scale" if far else "")
        sentences = [
            f"{curve.label}: {kind} {quantity.label.lower()} {quantity.shown(values[0])} at epoch "
            f"1, {quantity.shown(values[-1])} at epoch {len(values)}."
            for curve in curves
            for kind, values in curve.kinds
        ]
        return svg.inline(figure, name=name, title=title, text=" ".join(sentences))


def training_alone(curves: Sequence[Curve]) -> bool:
    """Whether no run has values of validation, so that those of training need not be dashed."""
    return all(curve.validation is None for curve in curves)


def _epoch_axis(axes: Axes, epochs: int) -> None:
    pad = 0.5 if epochs == 1 else 0.03 * (epochs - 1)
    axes.set(xlim=(1 - pad, epochs + pad))
    axes.set_xticks(epoch_ticks(epochs))
    axes.grid(visible=False, axis="x")


def _line(axes: Axes, values: Values, number: int, *, validation: bool) -> None:
    """Draw the first run as a wide band, others as thin lines: so equal curves are all visible."""
    x = np.arange(1, len(values) + 1)
    first = number == 0
    axes.plot(
        x,
        values,
        color=svg.SERIES[number % len(svg.SERIES)],
        alpha=0.4 if first and validation else 0.55 if first else 1,
        linewidth=(7 if first else 1.8) if validation else (4 if first else 1.2),
        linestyle="-" if validation else (0, (3, 2)) if not first else (0, (1.8, 1.2)),
        solid_capstyle="round",
        marker="o" if len(x) <= MARKED_EPOCHS and (validation and not first) else "",
        markersize=3.5,
        zorder=3 + number,
        clip_on=False,
    )
    if len(x) == 1:
        axes.plot(x, values, "o", color=svg.SERIES[number % len(svg.SERIES)], alpha=0.6)


def _value_axis(axes: Axes, quantity: Quantity) -> None:
    low, high = axes.dataLim.intervaly
    if quantity.share:
        # From the tenth below the lowest accuracy, with a little room under the curve.
        axes.set_ylim(max(0.0, math.floor(low * 10 - 0.2) / 10), 1.0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    else:
        axes.set_ylim(0, max(high * 1.05, 1e-4))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")
    axes.locator_params(axis="y", nbins=5)


def differences(a: ShownRun, b: ShownRun, quantity: Quantity, *, validation: bool) -> Values:
    """|b - a| for each epoch that both runs have."""
    left, right = (quantity.of(side, validation=validation) for side in (a, b))
    n = min(len(left), len(right))
    return np.abs(right[:n] - left[:n])


def _differences(
    axes: Axes, sides: Sequence[ShownRun], quantity: Quantity, *, kinds: Sequence[bool]
) -> None:
    first, *others = sides
    gaps = [
        (side.number, kind, differences(first, side, quantity, validation=kind))
        for side in others
        for kind in kinds
    ]
    # Two marks help to read a difference: below one rounding it means nothing, and an accuracy
    # changes by one test row at least.
    rounding = max(side.epsilon for side in sides) * quantity.of(first, validation=True)
    one_row = 1 / len(first.evidence.y_true)
    marks = [*rounding, one_row] if quantity.share else list(rounding)
    seen = np.concatenate([*(gap for _, _, gap in gaps), marks])
    seen = seen[seen > 0]
    # A decade below the smallest value, as the lowest line stands for 0.
    low = math.floor(math.log10(seen.min())) - 1 if len(seen) else -9
    high = math.ceil(math.log10(seen.max()) + 0.3) if len(seen) else -6
    axes.set_yscale("log")
    axes.set_ylim(10.0**low, 10.0**high)
    x = np.arange(1, len(rounding) + 1)
    axes.plot(x, np.maximum(rounding, 10.0**low), color=svg.RULE, lw=1.2, ls=(0, (5, 3)), zorder=2)
    _note(axes, float(rounding[-1]), f"one {first.coarsest(sides)} rounding")
    if quantity.share:
        axes.axhline(one_row, color=svg.RULE, lw=1.2, ls=(0, (1.5, 2)), zorder=2)
        _note(axes, one_row, "one test row")
    for number, validation, gap in gaps:
        colour = svg.SERIES[number % len(svg.SERIES)]
        axes.plot(
            np.arange(1, len(gap) + 1),
            # A logarithmic axis has no 0, so its lowest line stands for 0.
            np.maximum(gap, 10.0**low),
            color=colour,
            linewidth=1.8 if validation else 1.2,
            linestyle="-" if validation else (0, (3, 2)),
            marker="o" if len(gap) <= MARKED_EPOCHS and validation else "",
            markersize=3.5,
            zorder=4,
            clip_on=False,
        )
    step = math.ceil((high - low) / 4)
    ticks = [low, *range(high, low + 1 if step == 1 else low + step // 2, -step)]
    axes.set_yticks([10.0**tick for tick in ticks])
    axes.set_yticklabels(["0" if tick == low else _power(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title("Difference", loc="left", fontsize=svg.TEXT_PX, color=svg.MUTED, pad=8)


def _note(axes: Axes, y: float, text: str) -> None:
    axes.annotate(
        text,
        (1.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=12,
        color=svg.MUTED,
        zorder=2.5,  # above the marks and below the curves, so that no curve is hidden
    )


def _power(exponent: int) -> str:
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def _text(sides: Sequence[ShownRun], quantity: Quantity, *, kinds: Sequence[bool]) -> str:
    sentences = []
    for side in sides:
        ends = [quantity.of(side, validation=True)[[0, -1]]]
        ends += [quantity.of(side, validation=False)[[0, -1]]] if len(kinds) > 1 else []
        sentences += [
            f"{side.label}: {what} {quantity.label.lower()} {quantity.shown(start)} at epoch 1, "
            f"{quantity.shown(end)} at epoch {len(side.evidence.history)}."
            for what, (start, end) in zip(("validation", "training"), ends, strict=False)
        ]
    sentences += [difference_text(sides[0], side, quantity) for side in sides[1:]]
    return " ".join(sentences)


def difference_text(a: ShownRun, b: ShownRun, quantity: Quantity) -> str:
    """One sentence about the largest difference of the validation curves of two runs."""
    gap = differences(a, b, quantity, validation=True)
    if not len(gap) or gap.max() == 0:
        return (
            f"{a.label} and {b.label} have the same validation {quantity.label.lower()} throughout."
        )
    epoch = int(gap.argmax())
    rounding = max(a.epsilon, b.epsilon) * quantity.of(a, validation=True)[epoch]
    return (
        f"The validation {quantity.label.lower()} of {a.label} and {b.label} differs by at most "
        f"{small(float(gap.max()))}, at epoch {epoch + 1}; one {a.coarsest((a, b))} rounding there "
        f"is {small(float(rounding))}."
    )
