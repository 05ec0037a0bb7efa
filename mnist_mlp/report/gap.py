"""The generalisation gap between training and validation: a figure, and a named case.

The thresholds are conventions. The page shows them next to the case that follows from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mnist_mlp.evaluate import History
from mnist_mlp.evaluate.figures.curves import epoch_ticks
from mnist_mlp.report import svg
from mnist_mlp.report.curves import LOSS, WIDTH
from mnist_mlp.report.sides import ShownRun
from mnist_mlp.report.words import percent

Kind = Literal["none", "short", "unstable", "overfitting", "underfitting", "parting", "together"]

SHORTEST = 3
"""With fewer epochs nothing is diagnosed."""
WORSE = 1.05
"""Overfitting: the validation loss is above its lowest value by this factor ..."""
LAST = 3
"""... in each of this many last epochs, so that one bad epoch is not called a trend."""
UNTRAINED = 0.5
"""Underfitting: the training loss is above this share of ln(classes), the loss of guessing."""
PARTING_LOSS, PARTING_ACCURACY = 1.25, 0.01
"""Parting: validation loss above training loss by this factor, and accuracy lower by this share."""

THRESHOLDS = (
    f"Overfitting: in each of the last {LAST} epochs the validation loss lies more than "
    f"{percent(WORSE - 1, decimals=0)} above its lowest value while the training loss has fallen. "
    f"Underfitting: the training loss is above {percent(UNTRAINED, decimals=0)} of ln(classes), "
    f"the loss of guessing. Moving apart: the validation loss is more than "
    f"{percent(PARTING_LOSS - 1, decimals=0)} above the training loss and the accuracy more than "
    f"{100 * PARTING_ACCURACY:.0f} point lower. Otherwise the curves lie together."
)


@dataclass(frozen=True)
class Case:
    """The case of a history. `epoch` is the first one of overfitting."""

    kind: Kind
    sentence: str
    epoch: int | None = None


def diagnose(history: History, *, classes: int) -> Case:
    """Name the case of a history by its last epochs."""
    epochs = len(history)
    if epochs == 0:
        return Case("none", "The run has no history, so nothing can be said about overfitting.")
    if epochs < SHORTEST:
        return Case(
            "short",
            f"After {epochs} epoch{'s' if epochs > 1 else ''} it is too early to speak of "
            "overfitting or underfitting.",
        )
    loss, val_loss = (
        np.asarray(column, dtype=float) for column in (history.loss, history.val_loss)
    )
    best = int(val_loss.argmin())
    if val_loss[-LAST:].min() > WORSE * val_loss[best]:
        # Overfitting means that training goes on improving. If it got worse too, it is unstable.
        if loss[-1] >= loss[best]:
            return Case(
                "unstable",
                f"Training got worse: the losses were lowest after epoch {best + 1} and both have "
                "risen since; a smaller learning rate may help.",
            )
        return Case(
            "overfitting",
            f"Overfitting from epoch {best + 2}: the validation loss was lowest after epoch "
            f"{best + 1} and has risen since, while the training loss kept falling.",
            epoch=best + 2,
        )
    guessing = math.log(classes)
    if loss[-1] > UNTRAINED * guessing:
        more = (
            "; the loss is still falling, so more epochs will help" if loss[-1] < loss[-2] else ""
        )
        return Case(
            "underfitting",
            f"Underfitting: the curves lie together, but both losses are high (training "
            f"{loss[-1]:.2f}, guessing has {guessing:.2f}){more}.",
        )
    accuracy_gap = float(history.accuracy[-1] - history.val_accuracy[-1])
    if val_loss[-1] > PARTING_LOSS * loss[-1] and accuracy_gap > PARTING_ACCURACY:
        return Case(
            "parting",
            f"The curves move apart, by {100 * accuracy_gap:.1f} points of accuracy at the end: "
            "the network is better on its training rows than on new ones, but validation does "
            "not get worse.",
        )
    return Case(
        "together",
        f"The curves lie together, so the network is not overfitting after {epochs} epochs.",
    )


def common(sides: Sequence[ShownRun], cases: Sequence[Case]) -> tuple[str, ...]:
    """One sentence if all runs have the same case, else one for each run."""
    if len({case.kind for case in cases}) == 1 and len({case.epoch for case in cases}) == 1:
        return (cases[0].sentence,)
    return tuple(f"{side.label}: {case.sentence}" for side, case in zip(sides, cases, strict=True))


def draw(sides: Sequence[ShownRun], *, name: str) -> svg.Drawing:
    """Draw validation loss minus training loss by epoch, with one line for each run."""
    gaps = [LOSS.of(side, validation=True) - LOSS.of(side, validation=False) for side in sides]
    with svg.page_style():
        figure = svg.sheet(WIDTH, 260)
        axes = svg.add_axes(figure, left=58, top=28, width=WIDTH - 68, height=190)
        for side, gap in zip(sides, gaps, strict=True):
            x = np.arange(1, len(gap) + 1)
            colour = svg.SERIES[side.number % len(svg.SERIES)]
            wide = side.number == 0
            axes.plot(
                x,
                gap,
                color=colour,
                alpha=0.4 if wide else 1,
                linewidth=7 if wide else 1.8,
                solid_capstyle="round",
                marker="" if len(x) > 1 else "o",
                clip_on=False,
                zorder=3 + side.number,
            )
        low, high = axes.dataLim.intervaly
        reach = 1.4 * max(abs(low), abs(high), 1e-6)
        axes.set_ylim(-reach, reach)
        axes.axhline(0, color=svg.ZERO, lw=1.2, zorder=2)
        epochs = max(len(gap) for gap in gaps)
        axes.set_xticks(epoch_ticks(epochs))
        axes.grid(visible=False, axis="x")
        axes.locator_params(axis="y", nbins=6)
        axes.set_xlabel("Epoch")
        for y, va, text in (
            (1.0, "top", "validation worse than training"),
            (0.0, "bottom", "validation better than training"),
        ):
            axes.text(
                1, y, text, transform=axes.transAxes, ha="right", va=va, size=12, color=svg.MUTED
            )
        axes.set_title(
            "Validation loss minus training loss",
            loc="left",
            fontsize=svg.TEXT_PX,
            color=svg.MUTED,
            pad=8,
        )
        text = " ".join(
            f"{side.label}: {gap[0]:+.4f} at epoch 1, {gap[-1]:+.4f} at epoch {len(gap)}, largest "
            f"{gap.max():+.4f} at epoch {int(gap.argmax()) + 1}."
            for side, gap in zip(sides, gaps, strict=True)
        )
        title = "Generalisation gap: validation loss minus training loss by epoch"
        return svg.inline(figure, name=name, title=title, text=text)
