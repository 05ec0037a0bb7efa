"""Several targets of two sides: brought into one order by their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mnist_mlp.ports.find_rows import find
from mnist_mlp.ports.inputs import orders
from mnist_mlp.ports.protocol import OwnData, OwnPass
from mnist_mlp.reference import Array


def targets_aligned(own: OwnData | None, other: OwnData | None) -> OwnData | None:
    """The other side's data, with several targets in the order of one's own.

    Of the orders in which they have as many columns, it is the one in which most rows that both
    have agree. Which order its own code has them in is kept beside.
    """
    if own is None or other is None or not (own.epochs and other.epochs):
        return other
    widths = own.epochs[0].widths, other.epochs[0].widths
    if not (own.target_parts and other.target_parts):
        return other
    found = orders([(n,) for n in widths[1]], [(n,) for n in widths[0]])
    if not found:
        return other
    chosen = found[0]
    if len(found) > 1:
        ours, theirs = _of_common_rows(own, other)
        shares = [_agreeing(theirs[:, _columns(widths[1], order)], ours) for order in found]
        chosen = found[int(np.argmax(shares))]
    if chosen == sorted(chosen):
        return other
    return replace(
        other,
        epochs=tuple(_moved(one, chosen) for one in other.epochs),
        validation=None if other.validation is None else _moved(other.validation, chosen),
        target_parts=tuple(other.target_parts[k] for k in chosen),
        target_order=tuple(int(k) for k in np.argsort(chosen)),
    )


def _of_common_rows(own: OwnData, other: OwnData) -> tuple[Array, Array]:
    """Both sides' targets (n, k) of the rows of an epoch that both have."""
    ours, theirs = own.epochs[0], other.epochs[0]
    known = np.full((len(own.rows), ours.targets.shape[1]), np.nan)
    known[ours.ids[::-1]] = ours.targets[::-1]
    places = find(other.rows, own.rows)[theirs.ids]
    there = places >= 0
    return known[places[there]], theirs.targets[there]


def _agreeing(a: Array, b: Array) -> float:
    return float(np.isclose(a, b, rtol=1e-5, atol=1e-6).mean()) if a.size else 0.0


def _columns(widths: Sequence[int], order: Sequence[int]) -> list[int]:
    ends = np.cumsum(widths)
    return [c for k in order for c in range(ends[k] - widths[k], ends[k])]


def _moved(one: OwnPass, order: Sequence[int]) -> OwnPass:
    if not one.widths:  # a pass without batches
        return one
    columns = _columns(one.widths, order)
    return replace(one, targets=one.targets[:, columns], widths=tuple(one.widths[k] for k in order))
