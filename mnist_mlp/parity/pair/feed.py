"""What the two models are fed: the original's data, in the form that each of them takes.

Where the original brings none, the data set's rows are taken if they fit its inputs and outputs,
then the port's rows, and numbers drawn for the purpose at last. What the port takes is told by the
data it brings; where it brings none, forms are tried, the likeliest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import islice, product
from math import lcm, prod

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.pair.arrange import layouts
from mnist_mlp.parity.pair.lengths import as_padded_by, given_by, refuse_beside
from mnist_mlp.parity.pair.targets import targets_aligned
from mnist_mlp.plan import Plan
from mnist_mlp.ports.inputs import (
    Inputs,
    Part,
    apart,
    arrays_of,
    columns,
    each,
    orders,
    side_by_side,
)
from mnist_mlp.ports.pair import PairBrought, PairRows
from mnist_mlp.ports.protocol import OwnData, PortDescription, Rows
from mnist_mlp.ports.rows import find, side_by_side_targets
from mnist_mlp.ports.unlabelled import BARE, TUPLE
from mnist_mlp.reference import Array, scale_pixels

BATCHES = 2.5
"""Batches of a judged epoch: the last one is smaller, as it is in most training runs."""

WHOLE = 3
"""Batches of a judged epoch where gradients are accumulated: what the last ones of an epoch count
is told apart."""

LARGEST_BATCH = 256
"""Rows of a judged batch at most, so that a step stays within seconds."""

DATASET, DRAWN = "the data set", "drawn numbers"
"""Where rows are from that neither side brings."""

KERAS_BATCH = 32
"""Keras's own default, for drawn rows."""

MOST_FORMS = 24
"""Forms of several targets that are tried together."""


class Share(Enum):
    """Which rows: those of judged steps, all training rows, or the data set's test rows."""

    JUDGED = auto()
    TRAINING = auto()
    HELD_OUT = auto()


@dataclass(frozen=True, eq=False)
class Fed:
    """Rows for both sides; for the port, in the forms to try.

    `source` says where the rows are from. `guessed` is whether the form of the port's targets is a
    guess, since it brings none. `own_rows` is whether the port is given its own rows, scaled as it
    scales them.
    """

    a: tuple[PairRows, ...]
    b: tuple[PairRows, ...]
    source: str
    guessed: bool
    own_rows: bool


def feed(
    original: PairBrought,
    port: PairBrought,
    described: tuple[PortDescription, PortDescription],
    plan: Plan,
    dataset: Dataset,
    image_shape: tuple[int, ...],
    *,
    part: Share = Share.JUDGED,
) -> Fed | None:
    """The rows, or None where nobody knows what the original takes; `described` are both.

    Judged rows are in batches of one update each, which either side can cut into equal ones.
    """
    size = _batch_size(original, plan)
    rows, parts = None, 1
    if part is Share.JUDGED:
        parts = lcm(original.accumulated, port.accumulated)
        size = max(min(size * original.accumulated, LARGEST_BATCH) // parts, 1) * parts
        rows = round(BATCHES * size) if parts == 1 else WHOLE * size
    source = "the original's data"
    candidates = _own(original.own, rows, size)
    if not candidates and not any(len(each.outputs) > 1 for each in described):
        source = DATASET
        ids = plan.test_ids if part is Share.HELD_OUT else plan.train_ids[plan.order(1)][:rows]
        both = [
            _of_dataset(each, dataset, ids=ids, size=size, image_shape=image_shape)
            for each in described
        ]
        # torch declares no inputs: then the shapes that the other side declares count.
        known = [shape for shape in described[1].inputs if None not in shape]
        fits = described[0].inputs or not known or both[1]
        candidates = both[0] if fits else []
    if not candidates and port.own is not None:
        source = "the port's data"
        candidates = [
            form
            for own in _own(port.own, rows, size)
            for form in _forms(own, targets=_shapes_of(own.y))
        ]
    if not candidates:
        source = DRAWN
        rows = rows or round(BATCHES * size)
        candidates = _drawn(described[0], rows, size)
        if not candidates and not described[0].inputs:  # torch does not declare any
            candidates = [
                form
                for drawn in _drawn(described[1], rows, size)
                for form in _forms(drawn, targets=None)
            ]
    if not candidates:
        return None
    if source != "the original's data":  # of which it has no weights of rows
        candidates = [replace(x, weights=None) for x in candidates]
    if parts > 1:
        candidates = [x.first(_whole(x.count, size, parts)) for x in candidates]
    first = candidates[0]
    guessed = port.own is None or port.own.first_targets is None
    table = Rows(side_by_side(first.x).reshape(first.count, -1))
    ids = np.arange(first.count)
    if source == "the original's data" and original.own is not None:
        table, ids = original.own.rows, original.own.epochs[0].ids[: first.count]
    same = None if guessed or port.own is None else _same_rows(first, port.own, table, ids)
    if same is None and port.own is not None and port.own.stripped is not None:
        refuse_beside(port.own.stripped)
    forms = (
        [same]
        if same
        else _for_port(as_padded_by(first, port.own), port.own, described[1], image_shape)
    )
    forms = [_weighted(form, port.own, table, ids if same else None) for form in forms]
    return Fed(tuple(candidates), tuple(forms), source, guessed, own_rows=same is not None)


def _whole(count: int, size: int, parts: int) -> int:
    """As many rows as make whole updates of so many parts."""
    return count - count % size if count >= size else count - count % parts


def _batch_size(brought: PairBrought, plan: Plan) -> int:
    own = brought.own
    size = brought.batch_size or plan.spec.training.batch_size
    if own is not None and own.epochs:  # what it does stands above what it says
        size = max(own.epochs[0].sizes)
    return min(size, LARGEST_BATCH)


def _own(own: OwnData | None, rows: int | None, size: int) -> list[PairRows]:
    """The first rows of own data, as they were given; targets are said apart, by class."""
    if own is None or not own.epochs or own.first_targets is None:
        return []
    one = own.epochs[0]
    ids = one.ids[:rows]
    x = _given_rows(own, ids)
    y = _as_targets(own, x) if own.again else targets_given(own, one.targets[:rows])
    weights = None if one.weights is None else _rounded(one.weights[:rows])
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
        return _given(own, own.rows.take(ids))
    found: Inputs = each(lambda a: a if a.dtype == bool else _rounded(a), made)
    return found


def _given(own: OwnData, table: Array) -> Inputs:
    """Rows as a side's own code gives them."""
    if not own.parts:
        return _rounded(table.reshape(len(table), *own.shape))
    found: Inputs = each(_rounded, apart(table, own.parts, own.order))
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


def _rounded(x: Array) -> Array:
    """float64 of what float32 holds: a cast in a user's code then changes nothing."""
    return x if x.dtype.kind in "iu" else x.astype(np.float32).astype(np.float64)


# --- What the original takes ----------------------------------------------------------------------


def _of_dataset(
    described: PortDescription,
    dataset: Dataset,
    *,
    ids: Array,
    size: int,
    image_shape: tuple[int, ...],
) -> list[PairRows]:
    """Some of its rows, where the model takes as many numbers and gives as many classes."""
    height, width = dataset.images.shape[1:]
    shapes = [s for s in described.inputs if None not in s]
    if not described.inputs:
        flat = (height * width,)
        shapes = [image_shape] if image_shape else [flat, (1, height, width)]
    if len(shapes) != 1 and described.inputs:
        return []
    if any(prod(n or 1 for n in shape) != height * width for shape in shapes):
        return []
    images, labels = dataset.flat()[ids], dataset.labels[ids].astype(np.int64)
    pixels = _rounded(scale_pixels(images, dtype=np.float32))
    found = []
    for shape in shapes:
        x = pixels.reshape(len(ids), *(n or 1 for n in shape))
        targets = _targets(described, x, labels, dataset.classes)
        if targets is not None:
            found.append(PairRows(x, targets, size))
    return found


def _targets(described: PortDescription, x: Array, labels: Array, classes: int) -> Array | None:
    """Labels as the loss wants them; the inputs themselves for a model that gives their shape."""
    loss = described.losses[0].lower() if described.losses else ""
    outputs = described.outputs[0] if described.outputs else None
    if (
        outputs is not None
        and outputs == x.shape[1:]
        and "crossentropy" not in loss.replace("binary_crossentropy", "")
    ):  # an autoencoder
        return x
    if outputs is not None and outputs != (classes,):
        return None
    if described.framework == "torch" or "sparse" in loss:
        return labels
    if "categorical" in loss or outputs is not None:
        return np.eye(classes)[labels]
    return labels


def _drawn(described: PortDescription, rows: int, size: int) -> list[PairRows]:
    """Numbers of the shapes that the model declares; whole ones where it embeds them."""
    if not described.inputs or not described.outputs:
        return []
    if any(None in shape for shape in (*described.inputs, *described.outputs)):
        return []
    losses = described.output_losses
    if len(described.outputs) == 1:
        losses = (described.losses[0] if described.losses else "",)
    elif len(losses) != len(described.outputs) or not all(losses):
        return []  # nobody knows what such an output is compared with
    rng = np.random.default_rng(0)
    words = described.vocabularies or (0,) * len(described.inputs)
    drawn = [
        rng.integers(0, most, (rows, *shape)) if most else _rounded(rng.normal(size=(rows, *shape)))
        for most, shape in zip(words, ([n or 1 for n in s] for s in described.inputs), strict=True)
    ]
    x: Inputs = drawn[0] if len(drawn) == 1 else tuple(drawn)
    if described.input_names:
        x = dict(zip(described.input_names, drawn, strict=True))
    made = [
        _drawn_targets(tuple(n or 1 for n in shape), loss.lower(), drawn, rng)
        for shape, loss in zip(described.outputs, losses, strict=True)
    ]
    y: Inputs = made[0] if len(made) == 1 else tuple(made)
    if described.output_names:
        y = dict(zip(described.output_names, made, strict=True))
    return [PairRows(x, y, size)]


def _drawn_targets(
    shape: tuple[int, ...], loss: str, inputs: Sequence[Array], rng: np.random.Generator
) -> Array:
    """Targets of an output, as its loss wants them; the inputs themselves where they fit."""
    rows = len(inputs[0])
    if "sparse" in loss:
        return rng.integers(0, shape[-1], (rows, *shape[:-1]))
    if "categorical" in loss or ("binary" in loss and shape[-1] > 1):
        one_hot: Array = np.eye(shape[-1])[rng.integers(0, shape[-1], (rows, *shape[:-1]))]
        return one_hot
    if "binary" in loss:
        return rng.integers(0, 2, (rows, *shape)).astype(np.float64)
    if len(inputs) == 1 and shape == inputs[0].shape[1:]:
        return inputs[0]
    if loss in ("poisson", "kl_divergence"):
        return _rounded(rng.random((rows, *shape)))
    return _rounded(rng.normal(size=(rows, *shape)))


# --- What the port takes --------------------------------------------------------------------------


def _for_port(
    rows: PairRows,
    own: OwnData | None,
    described: PortDescription,
    image_shape: tuple[int, ...],
) -> Iterator[PairRows]:
    targets = _targets_of_keras(described)
    if own is not None and own.epochs and own.first_targets is not None:
        targets = _shapes_of(own.first_targets)
    names = described.output_names
    if len(names) == len(arrays_of(rows.y)) and not isinstance(rows.y, Mapping):
        rows = replace(rows, y=dict(zip(names, arrays_of(rows.y), strict=True)))
    declared = described.inputs[0] if len(described.inputs) == 1 else ()
    first = (
        own.shape
        if own and own.stripped is None
        else image_shape or tuple(n or 1 for n in declared)
    )
    yield from _forms(rows, targets=targets, first=first, own=own)


Shapes = tuple[tuple[int, ...] | None, ...]
"""Of a row's targets, one or several; None where nobody knows."""


def _shapes_of(y: Inputs) -> Shapes:
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


def _same_rows(rows: PairRows, own: OwnData, table: Rows, ids: Array) -> PairRows | None:
    """The port's own rows that are the original's, by their content, as the port is given them.

    `ids` are the rows of the original's `table`; all of it tells how the two are scaled.
    """
    if not own.epochs or table.inputs != own.rows.inputs:
        return None
    places = find(table, own.rows)[ids]
    if (places < 0).any():
        return None
    x, unlabelled, again = _given_rows(own, places), rows.unlabelled, _is_again(rows)
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


def _weighted(rows: PairRows, own: OwnData | None, table: Rows, ids: Array | None) -> PairRows:
    """The port's rows with weights if it brings some: its own of the rows `ids` of a table, else
    those that the original has."""
    weights = own.epochs[0].weights if own is not None and own.epochs else None
    if own is None or weights is None:
        return replace(rows, weights=None)
    if ids is None:
        return rows if rows.weights is not None else replace(rows, weights=np.ones(rows.count))
    known = np.ones(len(own.rows))
    known[own.epochs[0].ids] = weights
    return replace(rows, weights=_rounded(known[find(table, own.rows)[ids]]))


def _is_again(rows: PairRows) -> bool:
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


def _forms(
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
        yield _given(own, table.reshape(len(table), -1)), own.flat
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
