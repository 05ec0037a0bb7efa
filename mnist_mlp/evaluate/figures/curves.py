"""The figure of loss and accuracy over the epochs, for training and validation."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_mlp.evaluate.evidence import Evidence
from mnist_mlp.evaluate.figures import canvas

_PANEL = (500, 400)
_GAP, _LEFT, _BOTTOM, _ABOVE = 116, 96, 116, 6
MARKED_EPOCHS = 25  # more markers than this would hide the lines
# Values are rounded to a grid of this many steps per axis. It is so fine (0.01 px) that no step is
# visible, and so coarse that differences in a float's last digits rarely change the file.
_STEPS = 60_000
_SMALLEST_SPAN = 1e-4


def draw(evidence: Evidence) -> Figure:
    """Two panels over the epochs: the cross-entropy loss from 0 upwards, the accuracy up to 1."""
    history, epochs = evidence.history, len(evidence.history)
    width = _LEFT + 2 * _PANEL[0] + _GAP + canvas.MARGIN
    figure = canvas.sheet(
        f"Training curves over {epochs} epoch{'' if epochs == 1 else 's'}",
        note="Training: mean over the epoch's batches, each before its update. "
        "Validation: after the epoch.",
        heading=evidence.heading,
        width=width,
        height=_BOTTOM + _PANEL[1] + _ABOVE,
    )
    left = canvas.add_axes(figure, _LEFT, _BOTTOM, *_PANEL)
    right = canvas.add_axes(figure, _LEFT + _PANEL[0] + _GAP, _BOTTOM, *_PANEL)
    losses = np.array([history.loss, history.val_loss], dtype=np.float64)
    accuracies = np.array([history.accuracy, history.val_accuracy], dtype=np.float64)
    _panel(left, losses, label="Cross-entropy loss", limits=(0.0, _span(losses)))
    # The accuracy axis ends at 1 and is as long as the largest error requires.
    errors = np.clip(1.0 - accuracies, 0.0, 1.0)
    _panel(right, 1.0 - errors, label="Accuracy", limits=(1.0 - min(_span(errors), 1.0), 1.0))
    figure.legend(
        handles=left.get_lines(),
        loc="lower center",
        bbox_to_anchor=(0.5, 0.01),
        ncols=2,
        frameon=False,
        fontsize=canvas.TEXT_PT,
        handlelength=3,
        columnspacing=4,
    )
    return figure


def _span(values: np.ndarray) -> float:
    """A round length for an axis that starts at 0 and has to contain the values."""
    return canvas.rounded_up(max(float(values.max()) * 1.04, _SMALLEST_SPAN), digits=2)


def _panel(axes: Axes, values: np.ndarray, *, label: str, limits: tuple[float, float]) -> None:
    low, high = limits
    grid = (high - low) / _STEPS
    x = np.arange(1, values.shape[1] + 1)
    marked = len(x) <= MARKED_EPOCHS
    # Dashes lie over a solid line, and a small square over a larger disc, so that both curves are
    # visible even where they are equal.
    looks = (
        ("Training", canvas.BLUE, "-", "o", 7.5),
        ("Validation", canvas.VERMILLION, "--", "s", 5),
    )
    for y, (name, colour, line, marker, size) in zip(values, looks, strict=True):
        axes.plot(
            x,
            low + np.round((y - low) / grid) * grid,
            color=colour,
            linestyle=line,
            linewidth=2,
            marker=marker if marked else "",
            markersize=size if len(x) > 1 else 2 * size,
            markeredgecolor="white",
            markeredgewidth=0.8,
            label=name,
            clip_on=False,  # so that a marker on the frame is drawn as a whole
        )
    pad = 0.5 if len(x) == 1 else 0.03 * (len(x) - 1)
    axes.set(xlim=(1 - pad, len(x) + pad), ylim=limits, xlabel="Epoch", ylabel=label)
    axes.set_xticks(epoch_ticks(len(x)))


def epoch_ticks(epochs: int) -> list[int]:
    """Epoch 1 and up to ten round numbers up to the last epoch."""
    steps = (step * 10**power for power in itertools.count() for step in (1, 2, 5))
    step = next(step for step in steps if epochs <= 10 * step)
    return sorted({1, *range(step, epochs + 1, step)})
