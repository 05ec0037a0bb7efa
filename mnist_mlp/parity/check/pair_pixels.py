"""The inputs of both sides' rows, held against each other: layout and scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mnist_mlp.parity.causes.data import MOVES, affine_cause
from mnist_mlp.parity.check.pair_brought import PORT, Pair
from mnist_mlp.parity.check.pair_scalers import scaler_cause
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.ports.find_rows import rescaled, scalings
from mnist_mlp.ports.protocol import OwnPass
from mnist_mlp.reference import Array

PIXELS = 1e-5
"""How far apart two equal pixels may be, as a share of the pixels' span: a few roundings of float32
through a mean and a deviation."""


def pixel_breaks(pair: Pair, own: OwnPass, *, step: int, where: str) -> Iterator[Break]:
    """What the networks see of the same rows: the loaders' scale and the models' together."""
    batch = own.batches[0]
    known = batch[pair.places[batch] >= 0]
    if not len(known):
        return
    as_given = pair.original.network_inputs(pair.a.rows.take(pair.places[known]))
    theirs = _laid_out(as_given, pair.a.shape, pair.b.shape)
    ours = pair.port.network_inputs(pair.b.rows.take(known))
    span = float(np.ptp(theirs)) or 1.0
    apart = np.abs(ours - theirs)
    if apart.max() <= PIXELS * span:
        return
    worst = np.unravel_index(int(apart.argmax()), apart.shape)
    # Equal numbers in the same order, though the axes are others.
    moved = theirs is not as_given
    reshaped = moved and np.abs(ours - as_given).max() <= PIXELS * span
    yield Break(
        side=PORT,
        rung="data",
        place=Place(epoch=1, step=step, layer=0, tensor="inputs"),
        got=f"{ours[worst]:.9g}",
        expected=f"{theirs[worst]:.9g}",
        cause=_reshaped(pair, where) if reshaped else _pixel_cause(ours, theirs, pair, where),
    )


def _laid_out(x: Array, shape: tuple[int, ...], wanted: tuple[int, ...]) -> Array:
    """Images and sequences with their channels last as those with their channels first, or the
    other way; `shape` and `wanted` are those of one row. Of films, each picture may be so."""
    axes = tuple(range(len(shape)))
    orders = [
        (*axes[:n], *moved)
        for n in range(max(len(axes) - 1, 1))
        for moved in ((*axes[-1:], *axes[n:-1]), (*axes[n + 1 :], *axes[n : n + 1]))
    ]
    for order in orders:
        if shape != wanted and tuple(shape[axis] for axis in order) == wanted:
            moved = x.reshape(len(x), *shape).transpose(0, *(axis + 1 for axis in order))
            return moved.reshape(len(x), -1)
    return x


def _reshaped(pair: Pair, where: str) -> Cause:
    theirs, ours = pair.a.shape, pair.b.shape
    axes = len(theirs)
    if theirs[-1] == ours[0]:  # channels come first, as in torch
        fix = f"x = x.permute{(0, axes, *range(1, axes))}"
    else:
        fix = f"x = np.transpose(x, {(0, *range(2, axes + 1), 1)})"
    text = f"{theirs} reshaped to {ours}, {where}"
    return Cause("axes_reshaped", text, fix=f"{fix}, of rows {theirs}")


def _pixel_cause(ours: Array, theirs: Array, pair: Pair, where: str) -> Cause:
    for move in (None, *MOVES.items()):
        expected = theirs
        if move is not None:
            height, width = pair.dataset.images.shape[1:]
            if height * width != theirs.shape[1]:
                break
            images = theirs.reshape(len(theirs), height, width)
            expected = move[1][1](images).reshape(len(theirs), -1)
        low, high = int(expected.argmin()), int(expected.argmax())
        span = expected.flat[high] - expected.flat[low]
        if not span:
            break
        slope = (ours.flat[high] - ours.flat[low]) / span
        offset = ours.flat[low] - slope * expected.flat[low]
        if np.abs(ours - (slope * expected + offset)).max() > 10 * PIXELS * (np.ptp(ours) or 1.0):
            continue
        if move is not None and np.isclose(slope, 1, rtol=1e-4) and abs(offset) < 1e-4 * span:
            name = "image_rotated" if move[0] == "image_rotated_back" else move[0]
            return Cause(name, f"{move[1][0]}, {where}")
        usual = abs(expected.min()) < 1e-6 and abs(expected.max() - 1) < 0.1
        if usual and move is None:
            named = affine_cause(float(slope), float(offset))
            if named.name != UNKNOWN:
                return replace(named, value=f"{named.value}, {where}")
        text = (
            f"{ours.min():.4g} .. {ours.max():.4g}, "
            f"the original's {expected.min():.4g} .. {expected.max():.4g}"
        )
        plain = Cause("pixels_scaled_otherwise", f"{text}, {where}")
        # All deviations divided by n - 1, not by n: every feature is scaled by one factor.
        return (scaler_cause(ours, theirs, pair, where) if move is None else None) or plain
    if _scaled_by_feature(ours, theirs):
        plain = Cause("pixels_scaled_otherwise", f"each feature by another factor, {where}")
        return scaler_cause(ours, theirs, pair, where) or plain
    return Cause(UNKNOWN, f"the same rows have other pixels, {where}")


def _scaled_by_feature(ours: Array, theirs: Array) -> bool:
    """Whether each feature is scaled and shifted for itself, as by its mean and deviation."""
    low, high, at = theirs.argmin(axis=0), theirs.argmax(axis=0), np.arange(theirs.shape[1])
    span = theirs[high, at] - theirs[low, at]
    slope = (ours[high, at] - ours[low, at]) / np.where(span > 0, span, 1)
    made = ours[low, at] + slope * (theirs - theirs[low, at])
    return len(ours) > 2 and bool(np.abs(ours - made).max() <= 10 * PIXELS * np.ptp(ours))


def rescaled_later(pair: Pair) -> Iterator[Break]:
    scales = scalings(pair.b.rows, pair.a.rows, pair.places)
    low, high = pair.a.rows.span
    found = rescaled(pair.b.epochs, scales, high - low)
    # An original that does so as well is no measure of single batches.
    if found is None:
        return
    known = np.flatnonzero(pair.places >= 0)
    theirs = _laid_out(pair.a.rows.take(pair.places[known]), pair.a.shape, pair.b.shape)
    if _scaled_by_feature(pair.b.rows.take(known), theirs):
        return  # each row by another factor, but each feature of all rows by the same one
    epoch, batch = found
    step = (epoch - 1) * pair.steps_per_epoch + batch
    yield Break(
        side=PORT,
        rung="data",
        place=Place(epoch=epoch, step=step, layer=0, tensor="inputs"),
        cause=Cause(UNKNOWN, "the loader scales pixels otherwise from this batch on"),
    )
