"""Own data of an original and of its port, held against each other.

With an original, its data, order, split and validation are the measure, row by row and by content.
Where it brings none, the plan is its data: the port's pixels, labels, batches and order are judged
by it, but not which rows of the data set it takes. What only one side brings is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.causes.data import MOVES, affine_cause
from mnist_mlp.parity.check.own_data import (
    IDS_OF_FIRST,
    DataVerdict,
    by_their_word,
    label_cause,
    other_size,
    sorted_by_class,
    steps_asked,
)
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place, Side
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.plan import Ids, Plan
from mnist_mlp.ports.protocol import OwnData, OwnPass, PortFacts, Rows
from mnist_mlp.ports.rows import (
    Finder,
    find,
    first_of_equal,
    rescaled,
    scalings,
)
from mnist_mlp.reference import Array

PORT: Side = "b"

PIXELS = 1e-5
"""How far apart two equal pixels may be, as a share of the pixels' span: a few roundings of float32
through a mean and a deviation."""

CHANGING = 1.2
"""So many times the rows of one epoch in all of them: rows are not the same ones in each."""

MATCHED = 0.9
"""Share of rows found with fewer of which two sides whose rows change are not held together."""

RISING = 0.99
"""Share of neighbours in rising order that makes an order the stored one: equal rows may be taken
for each other. Of a permutation it is a half."""


@dataclass(frozen=True, eq=False)
class Brought:
    """What a side says and brings; `recipe` is what its judged steps follow, if there were any."""

    facts: PortFacts
    recipe: Recipe | None

    @property
    def own(self) -> OwnData | None:
        """Its data."""
        return self.facts.own

    @property
    def trains(self) -> bool:
        """Whether it brings training data."""
        return self.own is not None and bool(self.own.epochs)

    @property
    def validates(self) -> bool:
        """Whether it brings validation data."""
        return self.own is not None and self.own.validation is not None

    def network_inputs(self, pixels: Array) -> Array:
        """What the first layer gets of pixels (n, inputs), as far as the model scales them."""
        slope, offset = _model_scaling(self.recipe, pixels.shape[1]) or (1.0, 0.0)
        return slope * np.asarray(pixels, np.float64) + offset


def _model_scaling(recipe: Recipe | None, inputs: int) -> tuple[float, float] | None:
    """How a model scales its inputs, as its judged steps tell; None if it does something else."""
    if recipe is None or "data" in recipe.muted:
        return None
    # Three blank images, and one that shows whether pixels stay where they are.
    greys = np.array([0, 51, 255], np.uint8)
    images = np.repeat(greys[:, None], inputs, axis=1)
    ramp = (np.arange(inputs) * 37 % 256).astype(np.uint8)
    images = np.concatenate([images, ramp[None]])
    x = recipe.pixels(images).value
    slope, offset = float(x[2, 0] - x[0, 0]), float(x[0, 0])
    straight = np.allclose(x, slope * images / 255.0 + offset, rtol=0, atol=1e-5 * abs(slope))
    return (slope, offset) if straight else None


def against_original(original: Brought, port: Brought, plan: Plan, dataset: Dataset) -> DataVerdict:
    """Judge a port's data by its original's; `plan` and `dataset` are the original's if it has
    none."""
    seen = DataVerdict()
    pair: Pair | None = None
    if port.trains:
        lenient = not original.trains
        measure = _plan_as_data(plan, dataset, original) if lenient else _limited(original)
        pair = Pair(measure, _limited(port), original, port, dataset, lenient=lenient)
        seen.steps_judged = not lenient and _limit(port.facts, MANY) < MANY
        size = plan.spec.training.batch_size if lenient else max(measure.epochs[0].sizes)
        _training(seen, pair, size)
    elif original.trains:
        reason = "only the original brings training data"
        seen.missing = {"data": reason, "order": reason}
        seen.but_for = reason
    else:
        theirs = [item.cause for item in by_their_word(original.facts, plan, PORT)]
        words = by_their_word(port.facts, plan, PORT)
        seen.breaks += [item for item in words if item.cause not in theirs]
        if not seen.breaks:
            seen.missing["order"] = "both sides were fed by the plan: neither brought data"
    _validation(seen, original, port, plan, dataset, of_training=pair)
    return seen


def _plan_as_data(plan: Plan, dataset: Dataset, original: Brought) -> OwnData:
    """What an original is taken to bring that brings nothing: the plan's rows, pixels / 255.

    A model that divides by 255 itself is meant for greys.
    """
    images, facts = dataset.flat(), original.facts
    slope, _ = _model_scaling(original.recipe, images.shape[1]) or (1.0, 0.0)
    greys = np.arange(256) / (1 if np.isclose(slope, 1 / 255, rtol=1e-4) else 255)

    def one_pass(ids: Ids) -> OwnPass:
        size = plan.spec.training.batch_size
        batches = tuple(np.split(ids, range(size, len(ids), size)))
        return OwnPass(batches, dataset.labels[ids].astype(np.int64))

    epochs = [plan.train_ids[plan.order(epoch)] for epoch in (1, 2, 3)]
    if facts.shuffle is False:
        epochs = [np.sort(plan.train_ids)] * 3
    return OwnData(
        rows=Rows(images, greys.astype(np.float32)),
        shape=(images.shape[1],),
        epochs=tuple(map(one_pass, epochs)),
        validation=one_pass(plan.test_ids),
        shuffle=facts.shuffle,
    )


# --- Epochs that are cut short on purpose ---------------------------------------------------------


MANY = 10**9
"""More batches than an epoch has."""


def _limit(facts: PortFacts, batches: int) -> int:
    """How many batches of an epoch a Lightning trainer takes."""
    text = facts.options.get("limit_train_batches", "None")
    try:
        return max(int(text) if text.isdigit() else int(float(text) * batches), 1)
    except ValueError:
        return batches


def _limited(side: Brought) -> OwnData:
    """Its data as far as its trainer lets it see them."""
    own = side.own
    assert own is not None

    def cut(one: OwnPass) -> OwnPass:
        most = _limit(side.facts, len(one.batches))
        if most >= len(one.batches):
            return one
        n = sum(one.sizes[:most])
        weights = None if one.weights is None else one.weights[:n]
        return OwnPass(one.batches[:most], one.targets[:n], weights, one.widths)

    return replace(own, epochs=tuple(cut(one) for one in own.epochs))


def _is_cut(facts: PortFacts, own: OwnData) -> bool:
    """Whether epochs end early on purpose, each after other rows."""
    asked = steps_asked(facts) is not None or _limit(facts, MANY) < MANY
    ids = [np.unique(one.ids) for one in own.epochs]
    return asked and len(np.unique(np.concatenate(ids))) > len(ids[0])


# --- Rows of both sides by one number -------------------------------------------------------------


class Pair:
    """Two sides' data, the rows of both numbered by content.

    `ours` and `theirs` give the content of each row of a table: the place of the first equal row in
    the original's table, or a number beyond it where the original has no such row.
    """

    def __init__(
        self,
        theirs: OwnData,
        ours: OwnData,
        original: Brought,
        port: Brought,
        dataset: Dataset,
        *,
        lenient: bool,
    ) -> None:
        self.a, self.b = theirs, ours
        self.original, self.port = original, port
        self.dataset = dataset
        self.lenient = lenient
        """Whether the original's rows are the plan's, of which a port may take others."""
        self.places = find(ours.rows, theirs.rows)
        firsts = first_of_equal(theirs.rows)
        self.theirs = firsts
        beyond = len(theirs.rows) + np.arange(len(ours.rows))
        self.ours = np.where(self.places >= 0, firsts[self.places], beyond)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the original's first epoch."""
        return max(len(self.a.epochs[0].batches), 1)

    def contents(self, one: OwnPass, *, side: Side) -> Ids:
        """Row by row, for a pass of a side."""
        return (self.theirs if side == "a" else self.ours)[one.ids]

    @cached_property
    def orders(self) -> tuple[list[Ids], list[Ids]]:
        """Contents of each epoch, of both."""
        return (
            [self.contents(one, side="a") for one in self.a.epochs],
            [self.contents(one, side="b") for one in self.b.epochs],
        )


# --- Training data --------------------------------------------------------------------------------


def _training(seen: DataVerdict, pair: Pair, size: int) -> None:
    got = max(pair.b.epochs[0].sizes)
    whole = len(pair.b.epochs[0].batches) > 1
    if got > size or (got != size and whole):
        seen.breaks.append(other_size(got, size, PORT, fix=f"batch_size={size}"))
    if not _same_kind_of_rows(seen, pair):
        return
    seen.breaks += _rows(seen, pair, size)
    seen.breaks += _labels(pair, pair.a.epochs, pair.b.epochs, step=None)
    seen.breaks += _pixels(pair, pair.b.epochs[0], step=1, where="in the loader")
    inputs = pair.b.rows.inputs
    seen.scaling_judged = all(
        _model_scaling(side.recipe, inputs) is not None for side in (pair.original, pair.port)
    )
    seen.breaks += _rescaled(pair)
    seen.breaks += _weights(pair)
    _order(seen, pair)
    seen.compared["data"] = sum(int((pair.places[one.ids] >= 0).sum()) for one in pair.b.epochs)


def _same_kind_of_rows(seen: DataVerdict, pair: Pair) -> bool:
    """Whether rows can be told of each other; if not, that is a break or a thing not judged."""
    if pair.a.rows.inputs != pair.b.rows.inputs:
        text = f"rows of {pair.b.rows.inputs} numbers, the original's have {pair.a.rows.inputs}"
        seen.breaks.append(_ids_break(Cause(UNKNOWN, text)))
        return False
    found = pair.places[np.concatenate([one.ids for one in pair.b.epochs])] >= 0
    if found.all():
        return True
    changing = [_changes(pair.a), _changes(pair.b)]
    if pair.lenient:
        changing[0] = changing[1]  # nobody knows
    if changing[0] != changing[1] and found.mean() < MATCHED:
        text = "the port's rows change from epoch to epoch, the original's do not"
        if changing[0]:
            text = "the original's rows change from epoch to epoch, the port's do not"
        seen.breaks.append(_ids_break(Cause(UNKNOWN, text)))
        return False
    if all(changing) and found.mean() < MATCHED:
        reason = "rows change from epoch to epoch, and cannot be matched"
    elif pair.lenient and not found.any():
        reason = "the original brings no data, and no row of the port's is one of the data set"
    elif not found.any():
        text = "no row of the port's is one of the original's"
        seen.breaks.append(_ids_break(Cause(UNKNOWN, text)))
        return False
    else:
        return True
    seen.missing["data"] = seen.unjudged = reason
    _order(seen, pair)
    return False


def _changes(own: OwnData) -> bool:
    """Whether an epoch has rows that the one before had not: augmentation makes them anew."""
    ids = [np.unique(one.ids) for one in own.epochs]
    return len(np.unique(np.concatenate(ids))) > CHANGING * len(ids[0])


def _ids_break(cause: Cause, *, rung: str = "data", place: Place = IDS_OF_FIRST) -> Break:
    return Break(side=PORT, rung=rung, place=place, cause=cause)


def _rows(seen: DataVerdict, pair: Pair, size: int) -> Iterator[Break]:
    """Which rows, how often, and whether the last batch is there."""
    if pair.lenient:
        yield from _rows_of_the_data_set(seen, pair, size)
    elif _is_cut(pair.original.facts, pair.a) or _is_cut(pair.port.facts, pair.b):
        steps, asked = len(pair.b.epochs[0].batches), len(pair.a.epochs[0].batches)
        if steps != asked:
            name = "steps_missing" if steps < asked else UNKNOWN
            cause = Cause(name, f"epoch 1 has {steps} of {asked} batches")
            place = Place(epoch=1, step=min(steps, asked) + 1, tensor="ids")
            yield _ids_break(cause, rung="order", place=place)
        seen.missing["data"] = seen.unjudged = "which rows there are: epochs are cut short"
    else:
        yield from _the_originals_rows(pair, size)


def _rows_of_the_data_set(seen: DataVerdict, pair: Pair, size: int) -> Iterator[Break]:
    """An original that brings no rows only tells that each is there once, to the last batch."""
    plan, ours = _union(pair.orders[0]), pair.orders[1]
    b, n = _union(ours), len(ours[0])
    dropped = _dropped(pair.b, b, n, size)
    if dropped:
        yield _last_batch(pair, "last_batch_dropped", dropped)
    often = np.bincount(pair.theirs)
    contents, counts = np.unique(ours[0], return_counts=True)
    stored = np.append(often, 1)[np.minimum(contents, len(often))]
    repeated = int((counts - np.maximum(stored, 1)).clip(min=0).sum())
    if repeated:
        yield _repeats(repeated, n, 0)
    if not np.array_equal(plan, b):
        seen.but_for = "which rows it takes for training, as the original brings none"
        seen.missing["data"] = seen.but_for


def _the_originals_rows(pair: Pair, size: int) -> Iterator[Break]:
    theirs, ours = pair.orders
    n, total = len(ours[0]), len(theirs[0])
    a, b = _union(theirs), _union(ours)
    own = max(pair.b.epochs[0].sizes)  # which may not be the original's
    incomplete = _dropped(pair.b, b, n, own) or _dropped(pair.a, a, total, size)
    repeats = _repeated(ours[0]), _repeated(theirs[0])
    draws = min(repeats) > 0.1 * n and abs(repeats[0] - repeats[1]) < 5 * np.sqrt(n)
    # Each epoch leaves out other rows of an incomplete batch.
    slack = max(size, own) - 1 if incomplete else 0
    if draws:  # with replacement: an epoch leaves out a third of the rows, two a seventh
        slack = max(slack, len(a) // 4)
    elif abs(repeats[0] - repeats[1]) > slack:
        yield _repeats(repeats[0], n, repeats[1])
        return
    extra, missing = len(np.setdiff1d(b, a)), len(np.setdiff1d(a, b))
    # Of rows that come in one order it is not seen whether the others are there at all.
    by_chance = pair.b.total is None and len(b) == n and _repeats_itself(ours)
    dropped = _dropped(pair.b, b, n, own) or by_chance
    if dropped and n == total - total % own < total and missing <= total % own and not extra:
        yield _last_batch(pair, "last_batch_dropped", total - n)
    elif total < n and total == n - n % size and extra <= n % size and not missing:
        yield _last_batch(pair, "last_batch_kept", n - total)
    elif extra > slack:
        text = f"{extra} of {len(b)} rows are none of the original's"
        yield _ids_break(Cause("other_split", text))
    elif missing > slack:
        text = f"{missing} of the original's {len(a)} rows are missing"
        yield _ids_break(Cause("other_split", text))
    elif n != total:
        text = f"{n} rows in an epoch, the original has {total}"
        yield _ids_break(Cause(UNKNOWN, text))


def _repeats_itself(orders: list[Ids]) -> bool:
    return all(np.array_equal(order, orders[0]) for order in orders)


def _union(orders: list[Ids]) -> Ids:
    return np.unique(np.concatenate(orders))


def _repeated(contents: Ids) -> int:
    """Rows beyond the first of each content."""
    return len(contents) - len(np.unique(contents))


def _dropped(own: OwnData, union: Ids, n: int, size: int) -> int:
    """Rows of an incomplete batch that each epoch leaves out, by the loader's word or as seen."""
    if n % size:
        return 0
    left = (own.total if own.total is not None else len(union)) - n
    return left if 0 < left < size else 0


def _last_batch(pair: Pair, name: str, rows: int) -> Break:
    step = max(pair.steps_per_epoch, len(pair.b.epochs[0].batches))
    place = Place(epoch=1, step=step, tensor="ids")
    return _ids_break(Cause(name, f"{rows} rows of each epoch"), rung="order", place=place)


def _repeats(got: int, n: int, expected: int) -> Break:
    text = f"{got} of {n} rows of an epoch are there before, {expected} in the original"
    return _ids_break(Cause(UNKNOWN, text), rung="order")


# --- Labels and weights ---------------------------------------------------------------------------

MANY_TARGETS = 4
"""Fewer targets are on a line, or in another order, by chance."""


def _labels(
    pair: Pair,
    theirs: tuple[OwnPass, ...],
    ours: tuple[OwnPass, ...],
    *,
    step: int | None,
) -> Iterator[Break]:
    """Each row has to have a label that the original has for an equal one; the first that has not.

    `step` is where to tell it; None where rows belong to steps of training.
    """
    where = "in validation" if step else "in the loader"
    columns = [_columns(own) for own in (theirs[0], ours[0])]
    if columns[0] != columns[1]:
        text = f"labels of {columns[1]} numbers, the original's have {columns[0]}"
        yield _label_break(Cause(UNKNOWN, f"{text}, {where}"), 1, step or 1, "", "")
        return
    known = _Labels(pair, theirs)
    for epoch, own in enumerate(ours, start=1):
        contents, targets = pair.contents(own, side="b"), _as_columns(own)
        expected, wrong = known.wrong(contents, targets)
        if not wrong.any():
            continue
        at = int(np.flatnonzero(wrong)[0])
        both = ~np.isnan(expected).any(axis=1)
        cause = Cause(UNKNOWN, f"{wrong.sum()} of {len(wrong)} rows have other labels, {where}")
        if own.targets.ndim == 1:
            right = expected[both, 0].astype(np.int64)
            most = int(max(right.max(), own.targets.max())) + 1
            named = label_cause(own.targets[both], right, most, where)
            cause = cause if named.name == UNKNOWN else named
        if cause.name == UNKNOWN:
            cause = _other_targets(targets[both], expected[both], where) or cause
        if step is None:
            ends = np.cumsum(own.sizes)
            number = int(np.searchsorted(ends, at, side="right")) + 1
            told_at = (epoch - 1) * pair.steps_per_epoch + number
        else:
            told_at = step
        yield _label_break(cause, epoch, told_at, _short(targets[at]), _short(expected[at]))
        return


def _other_targets(got: Array, expected: Array, where: str) -> Cause | None:
    """Targets that are the original's, but for a factor and a shift, or in another order."""
    if len(got) < MANY_TARGETS:
        return None
    slope, offset = _line_through(expected, got)
    if slope and _equal(got, slope * expected + offset).all():
        return Cause("targets_scaled", f"{_affine(slope, offset)}, {where}")
    order, other = (np.lexsort(each.T[::-1]) for each in (got, expected))
    if _equal(got[order], expected[other]).all():
        wrong = int((~_equal(got, expected)).sum())
        text = f"{wrong} of {len(got)} rows have the label of another row, {where}"
        return Cause("labels_shuffled", text)
    return None


def _line_through(x: Array, y: Array) -> tuple[float, float]:
    """Slope and offset of the line through the points of least and largest `x`; 0, 0 for none."""
    low, high = int(x.argmin()), int(x.argmax())
    span = x.flat[high] - x.flat[low]
    if not span:
        return 0.0, 0.0
    slope = float((y.flat[high] - y.flat[low]) / span)
    return slope, float(y.flat[low] - slope * x.flat[low])


def _affine(slope: float, offset: float) -> str:
    shift = f" {'+' if offset > 0 else '-'} {abs(offset):.6g}" if abs(offset) > 1e-9 else ""
    return f"{slope:.6g} * the original's{shift}"


class _Labels:
    """What labels an original has for each content."""

    def __init__(self, pair: Pair, theirs: tuple[OwnPass, ...]) -> None:
        contents = [pair.contents(own, side="a") for own in theirs]
        targets = [_as_columns(own) for own in theirs]
        if pair.lenient:  # all that the data set knows, not only the plan's part of it
            contents, targets = [pair.theirs], [pair.dataset.labels.astype(np.float64)[:, None]]
        all_contents, all_targets = np.concatenate(contents), np.concatenate(targets)
        self.first = np.full((len(pair.a.rows) + 1, all_targets.shape[1]), np.nan)
        # In reverse, so that the first label of a content stays.
        self.first[all_contents[::-1]] = all_targets[::-1]
        other = ~_equal(all_targets, self.first[all_contents])
        self.others: dict[int, list[Array]] = {}
        for content, target in zip(all_contents[other].tolist(), all_targets[other], strict=True):
            self.others.setdefault(content, []).append(target)
        self._once = contents[0], targets[0]

    def wrong(self, contents: Ids, targets: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Of each row the label it should have (NaN: nobody knows), and whether it has another."""
        expected = self.first[np.minimum(contents, len(self.first) - 1)]
        wrong = ~_equal(targets, expected) & ~np.isnan(expected).any(axis=1)
        for at in np.flatnonzero(wrong):
            others = self.others.get(int(contents[at]), ())
            wrong[at] = not any(_equal(targets[at][None], other[None])[0] for other in others)
        for content in self.others:
            theirs = self._once[1][self._once[0] == content]
            here = np.flatnonzero(contents == content)
            if len(theirs) == len(here):  # as often as in the original: each label, too
                mine = targets[here]
                by_value = np.lexsort(mine.T[::-1])
                wrong[here[by_value]] |= ~_equal(mine[by_value], theirs[np.lexsort(theirs.T[::-1])])
        return expected, wrong


def _equal(a: Array, b: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isclose(a, b, rtol=1e-5, atol=1e-6).all(axis=1))


def _label_break(cause: Cause, epoch: int, step: int, got: str, expected: str) -> Break:
    place = Place(epoch=epoch, step=step, tensor="labels")
    return Break(side=PORT, rung="data", place=place, got=got, expected=expected, cause=cause)


def _columns(own: OwnPass) -> int:
    return 1 if own.targets.ndim == 1 else int(own.targets.shape[1])


def _as_columns(own: OwnPass) -> Array:
    return np.asarray(own.targets, np.float64).reshape(len(own.targets), -1)


def _short(label: Array) -> str:
    return ", ".join(f"{number:.6g}" for number in label[:4])


def _weights(pair: Pair) -> Iterator[Break]:
    theirs, ours = pair.a.epochs[0], pair.b.epochs[0]
    place = Place(epoch=1, step=1, tensor="loss")
    if theirs.weights is None and ours.weights is None:
        return
    if theirs.weights is None or ours.weights is None:
        text = "the original gives each row a weight, the port does not"
        if theirs.weights is None:
            text = "the port gives each row a weight of its own, the original does not"
        yield _ids_break(Cause(UNKNOWN, text), rung="loss", place=place)
        return
    known = dict(zip(pair.contents(theirs, side="a").tolist(), theirs.weights, strict=True))
    contents = pair.contents(ours, side="b").tolist()
    other = sum(
        not np.isclose(weight, known[content], rtol=1e-5)
        for content, weight in zip(contents, ours.weights, strict=True)
        if content in known
    )
    if other:
        text = f"{other} of {len(contents)} rows have another weight than in the original"
        yield _ids_break(Cause(UNKNOWN, text), rung="loss", place=place)


# --- Pixels ---------------------------------------------------------------------------------------


def _pixels(pair: Pair, own: OwnPass, *, step: int, where: str) -> Iterator[Break]:
    """What the networks see of the same rows: the loaders' scale and the models' together."""
    batch = own.batches[0]
    known = batch[pair.places[batch] >= 0]
    if not len(known):
        return
    theirs = pair.original.network_inputs(pair.a.rows.take(pair.places[known]))
    theirs = _laid_out(theirs, pair.a.shape, pair.b.shape)
    ours = pair.port.network_inputs(pair.b.rows.take(known))
    span = float(np.ptp(theirs)) or 1.0
    apart = np.abs(ours - theirs)
    if apart.max() <= PIXELS * span:
        return
    worst = np.unravel_index(int(apart.argmax()), apart.shape)
    yield Break(
        side=PORT,
        rung="data",
        place=Place(epoch=1, step=step, layer=0, tensor="inputs"),
        got=f"{ours[worst]:.9g}",
        expected=f"{theirs[worst]:.9g}",
        cause=_pixel_cause(ours, theirs, pair, where),
    )


def _laid_out(x: Array, shape: tuple[int, ...], wanted: tuple[int, ...]) -> Array:
    """Images and sequences with their channels last as those with their channels first, or the
    other way; `shape` and `wanted` are those of one row."""
    axes = tuple(range(len(shape)))
    for order in ((*axes[-1:], *axes[:-1]), (*axes[1:], *axes[:1])):
        if shape != wanted and tuple(shape[axis] for axis in order) == wanted:
            moved = x.reshape(len(x), *shape).transpose(0, *(axis + 1 for axis in order))
            return moved.reshape(len(x), -1)
    return x


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
        return Cause("pixels_scaled_otherwise", f"{text}, {where}")
    if _scaled_by_feature(ours, theirs):
        return Cause("pixels_scaled_otherwise", f"each feature by another factor, {where}")
    return Cause(UNKNOWN, f"the same rows have other pixels, {where}")


def _scaled_by_feature(ours: Array, theirs: Array) -> bool:
    """Whether each feature is scaled and shifted for itself, as by its mean and deviation."""
    low, high, at = theirs.argmin(axis=0), theirs.argmax(axis=0), np.arange(theirs.shape[1])
    span = theirs[high, at] - theirs[low, at]
    slope = (ours[high, at] - ours[low, at]) / np.where(span > 0, span, 1)
    made = ours[low, at] + slope * (theirs - theirs[low, at])
    return len(ours) > 2 and bool(np.abs(ours - made).max() <= 10 * PIXELS * np.ptp(ours))


def _rescaled(pair: Pair) -> Iterator[Break]:
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


# --- Order ----------------------------------------------------------------------------------------


def _pattern(own: OwnData, orders: list[Ids], places: Callable[[], Ids]) -> str:
    """How rows come: `drawn` anew in each epoch, as they are `stored` in the data set or by class,
    in some `fixed` order, or `seen once`."""
    if not _repeats_itself(orders):
        return "drawn"
    if sorted_by_class(own.epochs[0]) or _rising(places()):
        return "stored"
    return "fixed" if len(orders) > 1 or own.shuffle is False else "seen once"


def _rising(places: NDArray[np.int64]) -> bool:
    """Whether rows come as they are stored in the data set."""
    known = places[places >= 0]
    return len(known) > 2 and bool((np.diff(known) >= 0).mean() >= RISING)


def _order(seen: DataVerdict, pair: Pair) -> None:
    """Whether rows are shuffled, and anew in each epoch, as the original does it."""
    theirs, ours = pair.orders
    seen.compared["order"] = sum(len(one.batches) for one in pair.b.epochs)
    alike = len(theirs) == len(ours) and all(map(np.array_equal, theirs, ours))
    if alike or len(pair.b.epochs[0].batches) == 1:
        return
    was = _pattern(pair.a, theirs, lambda: _in_dataset(pair.a, pair.dataset))
    now = _pattern(pair.b, ours, lambda: _in_dataset(pair.b, pair.dataset))
    was = "drawn" if was == "seen once" else was
    if now == "seen once" or (was == now == "drawn"):
        seen.noted.append(_own_shuffle(pair.b))
        if now == "seen once":
            reason = "only one epoch was seen: whether the next one has a new order is open"
            seen.missing["order"] = reason
            seen.unjudged = seen.unjudged or reason
    elif "drawn" in (was, now):
        _one_draws(seen, pair, was, now)
    elif _same_rows(theirs[0], ours[0]):
        _both_repeat(seen, pair, was, now)


def _one_draws(seen: DataVerdict, pair: Pair, was: str, now: str) -> None:
    """One side has a new order in each epoch, the other one order for all."""
    if was == "fixed" and pair.a.shuffle and pair.original.facts.framework == "keras":
        # A quirk that nobody asked for, and that torch does not have.
        text = "in the original: after set_random_seed, Keras repeats its shuffle in every epoch"
        seen.noted.append(Cause("order_not_reshuffled", text))
    elif now == "drawn":
        text = f"the original has {'its stored' if was == 'stored' else 'one'} order, each epoch"
        seen.breaks.append(_ids_break(Cause("shuffled", text), rung="order"))
    elif now == "stored" or pair.b.shuffle is False:
        text = "shuffle=False" if pair.b.shuffle is False else "rows in their order"
        seen.breaks.append(_ids_break(Cause("not_shuffled", text), rung="order"))
    else:
        cause = Cause("order_not_reshuffled", "epoch 2 repeats epoch 1")
        place = Place(epoch=2, step=pair.steps_per_epoch + 1, tensor="ids")
        seen.breaks.append(_ids_break(cause, rung="order", place=place))


def _both_repeat(seen: DataVerdict, pair: Pair, was: str, now: str) -> None:
    """Both have one order for all epochs, of the same rows, but not the same order."""
    if was == now == "fixed":
        seen.noted.append(_own_shuffle(pair.b))
        return
    cause = Cause(UNKNOWN, "rows are stored in another order than the original's")
    if was != now:
        name = "not_shuffled" if now == "stored" else "shuffled"
        cause = Cause(name, "one order in every epoch, the original has another one")
    seen.breaks.append(_ids_break(cause, rung="order"))


def _same_rows(a: Ids, b: Ids) -> bool:
    return np.array_equal(np.sort(a), np.sort(b))


def _own_shuffle(own: OwnData) -> Cause:
    if own.moved_by_validation:
        return Cause("validation_moves_order", "the order changes with a validation loader")
    return Cause("own_shuffle", "new orders in each epoch, as in the original")


def _in_dataset(own: OwnData, dataset: Dataset) -> Ids:
    """Places of the first epoch's rows in the data set; -1 where a row is none of it."""
    finder = Finder(dataset.flat(), dataset.labels, own.rows)
    return np.concatenate(finder.positions(own.epochs[0]))


# --- Validation -----------------------------------------------------------------------------------


def _validation(
    seen: DataVerdict,
    original: Brought,
    port: Brought,
    plan: Plan,
    dataset: Dataset,
    *,
    of_training: Pair | None,
) -> None:
    """The same rows, labels and pixels; in which order and batches is no matter.

    Its place is the last step of the first epoch, after which a framework validates. The pair
    `of_training` has numbered the rows of validation, too, if these have the same measure.
    """
    if not original.validates and not port.validates:
        return
    if not port.validates:
        seen.not_exercised.append("validation: only the original brings rows for it")
        return
    if original.trains and not original.validates:
        seen.not_exercised.append("validation: only the port brings rows for it")
        return
    lenient = not original.validates
    measure = _plan_as_data(plan, dataset, original) if lenient else original.own
    assert measure is not None and port.own is not None
    pair = of_training
    if pair is None or pair.lenient != lenient:
        pair = Pair(measure, port.own, original, port, dataset, lenient=lenient)
    theirs, ours = measure.validation, port.own.validation
    assert theirs is not None and ours is not None
    steps = (
        len((measure if measure.epochs else port.own).epochs[0].batches) if measure.epochs else 1
    )
    step = max(steps, 1)
    place = Place(epoch=1, step=step, tensor="ids")
    a, b = pair.contents(theirs, side="a"), pair.contents(ours, side="b")
    found = pair.places[ours.ids] >= 0
    if not found.any() and not lenient:
        cause = Cause(UNKNOWN, "no row of the port's validation is one of the original's")
        seen.breaks.append(_ids_break(cause, place=place))
        return
    if not _same_rows(a, b):
        limited = any(
            key in facts.options
            for key in ("validation_steps", "limit_val_batches")
            for facts in (original.facts, port.facts)
        )
        if lenient or limited:
            why = "it is cut short" if limited else "the original brings none"
            seen.not_exercised.append(f"which rows validation shows: {why}")
        else:
            seen.breaks.append(_ids_break(_other_validation(a, b, ours), place=place))
    seen.breaks += _labels(pair, (theirs,), (ours,), step=step)
    seen.breaks += _pixels(pair, ours, step=step, where="in validation")
    seen.compared["data"] = seen.compared.get("data", 0) + int(found.sum())


def _other_validation(a: Ids, b: Ids, ours: OwnPass) -> Cause:
    size = max(ours.sizes)
    extra = int((~np.isin(b, a)).sum())
    if not extra and len(b) == len(a) - len(a) % size < len(a):
        return Cause("last_batch_dropped", f"{len(a) - len(b)} rows, in validation")
    if extra:
        text = f"{extra} of {len(b)} validation rows are none of the original's"
        return Cause("other_split", text)
    return Cause("other_split", f"validation has {len(b)} rows, the original's {len(a)}")
