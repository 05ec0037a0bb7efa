"""The forms in which a port may take the original's rows, the likeliest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice, product
from math import prod

import numpy as np

from mnist_mlp.parity.pair.arrange import layouts
from mnist_mlp.parity.pair.own_rows import given
from mnist_mlp.ports.inputs import (
    Inputs,
    arrays_of,
    side_by_side,
)
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.protocol import OwnData, PortDescription
from mnist_mlp.ports.unlabelled import BARE, TUPLE
from mnist_mlp.reference import Array

MOST_FORMS = 24
"""Forms of several targets that are tried together."""


def for_port(
    rows: PairRows,
    own: OwnData | None,
    described: PortDescription,
    image_shape: tuple[int, ...],
) -> Iterator[PairRows]:
    targets = _targets_of_keras(described)
    if own is not None and own.epochs and own.first_targets is not None:
        targets = shapes_of(own.first_targets)
    names = described.output_names
    if len(names) == len(arrays_of(rows.y)) and not isinstance(rows.y, Mapping):
        rows = replace(rows, y=dict(zip(names, arrays_of(rows.y), strict=True)))
    declared = described.inputs[0] if len(described.inputs) == 1 else ()
    first = (
        own.shape
        if own and own.stripped is None
        else image_shape or tuple(n or 1 for n in declared)
    )
    yield from forms_of(rows, targets=targets, first=first, own=own)


Shapes = tuple[tuple[int, ...] | None, ...]
"""Of a row's targets, one or several; None where nobody knows."""


def shapes_of(y: Inputs) -> Shapes:
    return tuple(a.shape[1:] for a in arrays_of(y))


def _targets_of_keras(described: PortDescription) -> Shapes:
    """One-hot targets, where losses of Keras want them."""
    losses = described.output_losses or described.losses[:1]
    if described.framework != "keras" or len(losses) != len(described.outputs):
        return ()
    wanted: list[tuple[int, ...] | None] = []
    for loss, shape in zip(losses, described.outputs, strict=True):
        one_hot = "categorical" in loss.lower() and "sparse" not in loss.lower()
        wanted.append(tuple(n or 1 for n in shape) if one_hot else None)
    return tuple(wanted)


def forms_of(
    rows: PairRows,
    *,
    targets: Shapes | None,
    first: tuple[int, ...] = (),
    own: OwnData | None = None,
) -> Iterator[PairRows]:
    """Rows in other forms, the likeliest first: channels first, as given, flat; then as other
    numbers; then targets."""
    unlabelled = "" if own is None else own.unlabelled
    rows = replace(rows, keys=own.keys if own is not None else None, unlabelled=unlabelled)
    x, y = rows.x, rows.y
    again = isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and np.array_equal(x, y)
    if isinstance(x, np.ndarray) and (unlabelled or again):
        kinds = [unlabelled] if own is not None else ["", BARE, TUPLE]
        for kind, table in product(kinds, _numbers(x)):  # an autoencoder
            made = (replace(rows, x=x, y=x, unlabelled=kind) for x in _inputs(table, first))
            yield from made
        return
    inputs = list(_input_forms(rows.x, first, own))
    if isinstance(y, np.ndarray):
        for form in _target_forms(y, targets[0] if targets else None):
            yield from (replace(rows, x=x, y=form, flat=flat) for x, flat in inputs)
        return
    # Those of inputs and of targets that are likely together, first.
    known = list(islice(_forms_of_several(y, targets or ()), MOST_FORMS))
    both = product(enumerate(inputs), enumerate(known))
    for (_, (x, beside)), (_, (y, flat)) in sorted(both, key=lambda each: each[0][0] + each[1][0]):
        if not (flat and isinstance(x, Mapping)):
            yield replace(rows, x=x, y=y, flat=beside or flat)
    for alone in arrays_of(rows.y):  # it may be trained towards one of them only
        yield from (replace(rows, x=x, y=alone, flat=flat) for x, flat in inputs)


def _input_forms(
    x: Inputs, first: tuple[int, ...], own: OwnData | None
) -> Iterator[tuple[Inputs, bool]]:
    """One input or several, and whether several stand beside the targets."""
    table = side_by_side(x)
    if own is not None and own.parts and table[0].size == sum(part.size for part in own.parts):
        yield given(own, table.reshape(len(table), -1)), own.flat
    if not isinstance(x, np.ndarray):
        arrays = [_numbers(a) for a in arrays_of(x)]
        if isinstance(x, dict):
            yield x, False
        for kind in ("as they are", "i", "f"):
            made = tuple(
                next((a for a in forms if a.dtype.kind == kind), forms[0]) for forms in arrays
            )
            if any(a.ndim > 3 for a in made):  # images: torch has the channels first
                moved = tuple(np.moveaxis(a, -1, 1) if a.ndim > 3 else a for a in made)
                yield moved, False
                yield moved, True
            yield made, False
            yield made, True
    for numbers in _numbers(table):
        yield from ((made, False) for made in _inputs(numbers, first))


def _inputs(x: Array, first: tuple[int, ...]) -> list[Array]:
    shape = x.shape[1:]
    found: dict[tuple[int, ...], Array] = {}
    orders = list(layouts(shape)) if len(shape) > 1 else [(0,)] if shape else [()]
    if len(shape) > 2:  # images: torch has the channels first
        orders = [orders[1], orders[0], *orders[2:]]
    for order in orders[:3]:
        made = x.transpose(0, *(axis + 1 for axis in order))
        found.setdefault(made.shape[1:], made)
    size = prod(shape)
    found.setdefault((size,), x.reshape(len(x), size))
    side = round(size**0.5)
    if len(shape) == 1 and side * side == size:
        found.setdefault((1, side, side), x.reshape(len(x), 1, side, side))
    if first and prod(first) == size:
        chosen = found.pop(tuple(first), x.reshape(len(x), *first))
        return [chosen, *found.values()]
    return list(found.values())


def _numbers(x: Array) -> list[Array]:
    """Whole numbers may be carried by real ones: torch's embeddings take integers, most layers
    do not."""
    whole = x.dtype.kind in "iu" or bool((x == np.round(x)).all())
    if not whole:
        return [x]
    forms = [x, x.astype(np.int64), x.astype(np.float64)]
    return list({form.dtype: form for form in reversed(forms)}.values())[::-1]


def _forms_of_several(y: Inputs, wanted: Shapes) -> Iterator[tuple[Inputs, bool]]:
    """Several targets, each in some of its forms, by name if they have names, in a tuple, and
    whether they stand beside the inputs."""
    arrays = arrays_of(y)
    shapes = wanted if len(wanted) == len(arrays) else (None,) * len(arrays)
    forms = [_target_forms(a, shape) for a, shape in zip(arrays, shapes, strict=True)]
    for made in product(*forms):
        if isinstance(y, Mapping):
            yield dict(zip(sorted(y), made, strict=True)), False
        yield tuple(made), False
        yield tuple(made), True


def _target_forms(y: Array, given: tuple[int, ...] | None) -> list[Array]:
    """Integers rather than one-hot, (n,) rather than (n, 1)."""
    if y.ndim > 3:  # a picture for a picture: torch has the channels first
        whole = y.dtype.kind in "iu" and y.shape[-1] == 1
        found = [np.moveaxis(y, -1, 1), y, np.moveaxis(y, 1, -1), *([y[..., 0]] if whole else [])]
        if given is not None:
            found.sort(key=lambda each: each.shape[1:] != given)
        return found
    found = [y]
    one_hot = y.ndim == 2 and y.shape[1] > 1 and np.array_equal(np.sort(y)[:, -2:].sum(0),
                                                                 [0, len(y)])  # fmt: skip
    if one_hot:
        found = [y.argmax(axis=1), y]
    elif y.ndim == 2 and y.shape[1] == 1:
        found = [y[:, 0], y]
    elif y.ndim == 1 and y.dtype.kind == "f":
        found = [y, y[:, None]]
    if y.dtype.kind in "iu":
        found = [y, y.astype(np.float64), *([y[:, None].astype(np.float64)] if y.ndim == 1 else [])]
    if given is not None:
        found.sort(key=lambda each: each.shape[1:] != given)
    return found
