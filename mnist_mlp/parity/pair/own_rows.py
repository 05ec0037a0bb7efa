"""Rows and targets of a side's own data, as its own code gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from mnist_mlp.parity.pair.lengths import given_by
from mnist_mlp.parity.pair.targets import targets_aligned
from mnist_mlp.ports.find_rows import find
from mnist_mlp.ports.inputs import (
    Inputs,
    Part,
    apart,
    arrays_of,
    columns,
    each,
    orders,
)
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.protocol import OwnData, Rows
from mnist_mlp.ports.rows import side_by_side_targets
from mnist_mlp.reference import Array


def rows_of(own: OwnData | None, rows: int | None, size: int) -> list[PairRows]:
    """The first rows of own data, as they were given; targets are said apart, by class."""
    if own is None or not own.epochs or own.first_targets is None:
        return []
    one = own.epochs[0]
    ids = one.ids[:rows]
    x = _given_rows(own, ids)
    y = _as_targets(own, x) if own.again else targets_given(own, one.targets[:rows])
    weights = None if one.weights is None else rounded(one.weights[:rows])
    made = PairRows(x, y, size, own.flat, own.keys, weights)
    return [_padded(made, own, ids)]


def _padded(rows: PairRows, own: OwnData, ids: Array) -> PairRows:
    """Rows with what is known of how they are padded and put into a batch."""
    padding = None if own.padding is None else own.padding.of(ids)
    return replace(rows, padding=padding, flat_order=own.flat_order, unlabelled=own.unlabelled)


def _as_targets(own: OwnData, x: Inputs) -> Inputs:
    """Inputs in the form of the targets, where these are the inputs again."""
    form = own.first_targets
    if not isinstance(x, np.ndarray) or not isinstance(form, np.ndarray):
        return x
    return x.reshape(len(x), *form.shape[1:])


def _given_rows(own: OwnData, ids: Array) -> Inputs:
    """Some of a side's rows as its own code gives them."""
    made = given_by(own, ids)
    if made is None:
        return given(own, own.rows.take(ids))
    found: Inputs = each(lambda a: a if a.dtype == bool else rounded(a), made)
    return found


def given(own: OwnData, table: Array) -> Inputs:
    """Rows as a side's own code gives them."""
    if not own.parts:
        return rounded(table.reshape(len(table), *own.shape))
    found: Inputs = each(rounded, apart(table, own.parts, own.order))
    return found


def aligned(own: OwnData | None, other: OwnData | None) -> OwnData | None:
    """The other side's data, with several inputs in the order of one's own, by their content, and
    several targets.

    Which order its own code has them in is kept beside.
    """
    return targets_aligned(own, _inputs_aligned(own, other))


def _inputs_aligned(own: OwnData | None, other: OwnData | None) -> OwnData | None:
    if own is None or other is None or not (own.parts and other.parts):
        return other
    # One side may have (n, 1) where the other has (n,), or its channels elsewhere.
    sizes = [[(part.size,) for part in side.parts] for side in (other, own)]
    found = orders(*sizes)
    shapes = sizes[0]
    if len(found) < 2:
        chosen = found[0] if found else list(range(len(shapes)))
    else:
        shares = [_share(_moved(other.rows, other.parts, order), own.rows) for order in found]
        chosen = found[int(np.argmax(shares))]
    if chosen == sorted(chosen):
        return other
    return replace(
        other,
        rows=_moved(other.rows, other.parts, chosen),
        parts=tuple(other.parts[k] for k in chosen),
        order=tuple(int(k) for k in np.argsort(chosen)),
    )


def _moved(rows: Rows, parts: Sequence[Part], order: Sequence[int]) -> Rows:
    return Rows(rows.values[:, columns(parts, order)], rows.levels)


def _share(rows: Rows, within: Rows) -> float:
    return float((find(rows, within) >= 0).mean())


def targets_given(own: OwnData, table: Array) -> Inputs:
    """Targets, classes (n,) or side by side (n, k), as a side's own code gives them."""
    if not own.target_parts:
        assert isinstance(own.first_targets, np.ndarray)
        return targets_like(own.first_targets, table)
    ends = np.cumsum(own.epochs[0].widths)[:-1]
    blocks = np.split(table.reshape(len(table), -1), ends, axis=1)
    made = [_as_part(part, block) for part, block in zip(own.target_parts, blocks, strict=True)]
    if own.target_parts[0].name:
        return {part.name: y for part, y in zip(own.target_parts, made, strict=True)}
    return tuple(made[k] for k in own.target_order or range(len(made)))


def _as_part(part: Part, block: Array) -> Array:
    """One of several targets (n, k) in the form of a part; classes where that is one-hot."""
    classes = block.shape[1] == 1 != part.size
    return targets_like(
        np.empty((0, *part.shape), part.dtype),
        block[:, 0].astype(np.int64) if classes else block,
    )


def targets_like(form: Array, targets: Array) -> Array:
    """Classes (n,), or numbers (n, k), in the form of some given targets."""
    if targets.ndim == 1 and form.ndim == 2 and form.shape[1] > 1:
        return np.eye(form.shape[1])[targets]
    made = targets.reshape(len(targets), *form.shape[1:])
    if form.dtype.kind in "iub":
        return made.astype(np.int64)
    return made.astype(np.float32).astype(np.float64)


def rounded(x: Array) -> Array:
    """float64 of what float32 holds: a cast in a user's code then changes nothing."""
    return x if x.dtype.kind in "iu" else x.astype(np.float32).astype(np.float64)


def same_rows(rows: PairRows, own: OwnData, table: Rows, ids: Array) -> PairRows | None:
    """The port's own rows that are the original's, by their content, as the port is given them.

    `ids` are the rows of the original's `table`; all of it tells how the two are scaled.
    """
    if not own.epochs or table.inputs != own.rows.inputs:
        return None
    places = find(table, own.rows)[ids]
    if (places < 0).any():
        return None
    x, unlabelled, again = _given_rows(own, places), rows.unlabelled, is_again(rows)
    rows = _padded(rows, own, places)
    form = own.first_targets
    assert form is not None
    if own.unlabelled or (own.again and again):
        return replace(rows, x=x, y=_as_targets(own, x), flat=own.flat, keys=own.keys)
    if unlabelled:  # the original has nothing that the port's targets could be
        y = targets_given(own, _targets_of(own)[places])
        return replace(rows, x=x, y=y, flat=own.flat, keys=own.keys)
    if not isinstance(form, np.ndarray) or not isinstance(rows.y, np.ndarray):
        targets = _same_targets(rows.y, own)
        return None if targets is None else replace(rows, x=x, y=targets, flat=own.flat)
    y = rows.y
    if y.ndim == 2 and y.shape[1] > 1 and form.ndim == 1:
        y = y.argmax(axis=1)
    elif y.ndim == 1 and form.ndim == 2 and form.shape[1] > 1:
        y = np.eye(form.shape[1])[y.astype(np.int64)]
    if y.size != len(y) * prod(form.shape[1:]):
        return None
    y = y.reshape(len(y), *form.shape[1:])
    return replace(
        rows,
        x=x,
        y=y.astype(np.int64) if form.dtype.kind in "iub" else y.astype(np.float64),
        flat=own.flat,
        keys=own.keys,
    )


def weighted(rows: PairRows, own: OwnData | None, table: Rows, ids: Array | None) -> PairRows:
    """The port's rows with weights if it brings some: its own of the rows `ids` of a table, else
    those that the original has."""
    weights = own.epochs[0].weights if own is not None and own.epochs else None
    if own is None or weights is None:
        return replace(rows, weights=None)
    if ids is None:
        return rows if rows.weights is not None else replace(rows, weights=np.ones(rows.count))
    known = np.ones(len(own.rows))
    known[own.epochs[0].ids] = weights
    return replace(rows, weights=rounded(known[find(table, own.rows)[ids]]))


def is_again(rows: PairRows) -> bool:
    """Whether targets are the inputs again, in whatever shape."""
    if not isinstance(rows.x, np.ndarray) or not isinstance(rows.y, np.ndarray):
        return False
    return rows.x.size == rows.y.size and np.array_equal(rows.x.ravel(), rows.y.ravel())


def _targets_of(own: OwnData) -> Array:
    """The targets of each of the rows that an epoch has, (m,) or (m, k)."""
    one = own.epochs[0]
    known = np.zeros((len(own.rows), *one.targets.shape[1:]), one.targets.dtype)
    known[one.ids] = one.targets
    return known


def _same_targets(y: Inputs, own: OwnData) -> Inputs | None:
    """The original's targets, one or several, as the port is given them; None if they don't fit."""
    table, _ = side_by_side_targets(arrays_of(y))
    if table.shape[1] != own.epochs[0].targets.reshape(len(own.epochs[0].targets), -1).shape[1]:
        return None
    return targets_given(own, table)
