"""What the two models are fed: the original's data, in the form that each of them takes.

Where the original brings none, the data set's rows are taken if they fit its inputs and outputs,
then the port's rows, and numbers drawn for the purpose at last. What the port takes is told by the
data it brings; where it brings none, forms are tried, the likeliest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from math import lcm, prod

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.pair.forms import for_port, forms_of, shapes_of
from mnist_mlp.parity.pair.lengths import as_padded_by, refuse_beside
from mnist_mlp.parity.pair.own_rows import rounded, rows_of, same_rows, weighted
from mnist_mlp.plan import Plan
from mnist_mlp.ports.inputs import (
    Inputs,
    side_by_side,
)
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import PortDescription, Rows
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
    candidates = rows_of(original.own, rows, size)
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
            for own in rows_of(port.own, rows, size)
            for form in forms_of(own, targets=shapes_of(own.y))
        ]
    if not candidates:
        source = DRAWN
        rows = rows or round(BATCHES * size)
        candidates = _drawn(described[0], rows, size)
        if not candidates and not described[0].inputs:  # torch does not declare any
            candidates = [
                form
                for drawn in _drawn(described[1], rows, size)
                for form in forms_of(drawn, targets=None)
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
    same = None if guessed or port.own is None else same_rows(first, port.own, table, ids)
    if same is None and port.own is not None and port.own.stripped is not None:
        refuse_beside(port.own.stripped)
    forms = (
        [same]
        if same
        else for_port(as_padded_by(first, port.own), port.own, described[1], image_shape)
    )
    forms = [weighted(form, port.own, table, ids if same else None) for form in forms]
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
    pixels = rounded(scale_pixels(images, dtype=np.float32))
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
        rng.integers(0, most, (rows, *shape)) if most else rounded(rng.normal(size=(rows, *shape)))
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
        return rounded(rng.random((rows, *shape)))
    return rounded(rng.normal(size=(rows, *shape)))
