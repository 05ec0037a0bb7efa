"""Own data of an original and of its port, held against each other.

With an original, its data, order, split and validation are the measure, row by row and by content.
Where it brings none, the plan is its data: the port's pixels, labels, batches and order are judged
by it, but not which rows of the data set it takes. What only one side brings is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.check.own_data import (
    DataVerdict,
    by_their_word,
    other_size,
)
from mnist_mlp.parity.check.pair_brought import (
    MANY,
    PORT,
    Brought,
    Pair,
    as_trained_on,
    batches_taken,
    ids_break,
    is_cut,
    model_scaling,
    same_rows,
)
from mnist_mlp.parity.check.pair_labels import label_breaks
from mnist_mlp.parity.check.pair_order import look_at_order, repeats_itself
from mnist_mlp.parity.check.pair_pixels import pixel_breaks, rescaled_later
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair.lengths import cut_words
from mnist_mlp.plan import Ids, Plan
from mnist_mlp.ports.protocol import OwnData, OwnPass, Rows

ROW_WEIGHTS = "gives each row a weight"
"""What is said of a side that does so."""


CHANGING = 1.2
"""So many times the rows of one epoch in all of them: rows are not the same ones in each."""

MATCHED = 0.9
"""Share of rows found with fewer of which two sides whose rows change are not held together."""


def against_original(original: Brought, port: Brought, plan: Plan, dataset: Dataset) -> DataVerdict:
    """Judge a port's data by its original's; `plan` and `dataset` are the original's if it has
    none."""
    seen = DataVerdict()
    pair: Pair | None = None
    if port.trains:
        lenient = not original.trains
        measure = _plan_as_data(plan, dataset, original) if lenient else as_trained_on(original)
        pair = Pair(measure, as_trained_on(port), original, port, dataset, lenient=lenient)
        seen.steps_judged = not lenient and batches_taken(port.facts, MANY) < MANY
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
    slope, _ = model_scaling(original.recipe, images.shape[1]) or (1.0, 0.0)
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


# --- Training data --------------------------------------------------------------------------------


def _training(seen: DataVerdict, pair: Pair, size: int) -> None:
    got = max(pair.b.epochs[0].sizes)
    whole = len(pair.b.epochs[0].batches) > 1
    if got > size or (got != size and whole):
        seen.breaks.append(other_size(got, size, PORT, fix=f"batch_size={size}"))
    if not _same_kind_of_rows(seen, pair):
        return
    seen.breaks += _rows(seen, pair, size)
    if pair.labelled:
        seen.breaks += label_breaks(pair, pair.a.epochs, pair.b.epochs, step=None)
    seen.breaks += pixel_breaks(pair, pair.b.epochs[0], step=1, where="in the loader")
    inputs = pair.b.rows.inputs
    seen.scaling_judged = all(
        model_scaling(side.recipe, inputs) is not None for side in (pair.original, pair.port)
    )
    seen.breaks += rescaled_later(pair)
    seen.breaks += _weights(pair)
    look_at_order(seen, pair)
    seen.compared["data"] = sum(int((pair.places[one.ids] >= 0).sum()) for one in pair.b.epochs)


def _same_kind_of_rows(seen: DataVerdict, pair: Pair) -> bool:
    """Whether rows can be told of each other; if not, that is a break or a thing not judged."""
    if pair.a.rows.inputs != pair.b.rows.inputs:
        text = f"rows of {pair.b.rows.inputs} numbers, the original's have {pair.a.rows.inputs}"
        seen.breaks.append(ids_break(Cause(UNKNOWN, text)))
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
        seen.breaks.append(ids_break(Cause(UNKNOWN, text)))
        return False
    if all(changing) and found.mean() < MATCHED:
        reason = "rows change from epoch to epoch, and cannot be matched"
    elif pair.lenient and not found.any():
        reason = "the original brings no data, and no row of the port's is one of the data set"
    elif not found.any():
        text = "no row of the port's is one of the original's"
        seen.breaks.append(ids_break(Cause(UNKNOWN, text)))
        return False
    else:
        return True
    seen.missing["data"] = seen.unjudged = reason
    look_at_order(seen, pair)
    return False


def _changes(own: OwnData) -> bool:
    """Whether an epoch has rows that the one before had not: augmentation makes them anew."""
    ids = [np.unique(one.ids) for one in own.epochs]
    return len(np.unique(np.concatenate(ids))) > CHANGING * len(ids[0])


def _rows(seen: DataVerdict, pair: Pair, size: int) -> Iterator[Break]:
    """Which rows, how often, and whether the last batch is there."""
    if pair.lenient:
        yield from _rows_of_the_data_set(seen, pair, size)
    elif is_cut(pair.original.facts, pair.a) or is_cut(pair.port.facts, pair.b):
        steps, asked = len(pair.b.epochs[0].batches), len(pair.a.epochs[0].batches)
        if steps != asked:
            name = "steps_missing" if steps < asked else UNKNOWN
            cause = Cause(name, f"epoch 1 has {steps} of {asked} batches")
            place = Place(epoch=1, step=min(steps, asked) + 1, tensor="ids")
            yield ids_break(cause, rung="order", place=place)
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
    by_chance = pair.b.total is None and len(b) == n and repeats_itself(ours)
    dropped = _dropped(pair.b, b, n, own) or by_chance
    if dropped and n == total - total % own < total and missing <= total % own and not extra:
        yield _last_batch(pair, "last_batch_dropped", total - n)
    elif total < n and total == n - n % size and extra <= n % size and not missing:
        yield _last_batch(pair, "last_batch_kept", n - total)
    elif extra > slack:
        text = f"{extra} of {len(b)} rows are none of the original's"
        cut = cut_words(pair.a, pair.b, *_only_here(pair))
        yield ids_break(
            Cause(UNKNOWN if cut else "other_split", "; ".join(filter(None, (text, cut))))
        )
    elif missing > slack:
        text = f"{missing} of the original's {len(a)} rows are missing"
        yield ids_break(Cause("other_split", text))
    elif n != total:
        text = f"{n} rows in an epoch, the original has {total}"
        yield ids_break(Cause(UNKNOWN, text))


def _only_here(pair: Pair) -> tuple[Ids, Ids]:
    """The places of rows that only the port has, and that only the original has."""
    known = np.unique(pair.ours)
    missing = np.flatnonzero(~np.isin(pair.theirs, known))
    return np.flatnonzero(pair.places < 0), missing


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
    return ids_break(Cause(name, f"{rows} rows of each epoch"), rung="order", place=place)


def _repeats(got: int, n: int, expected: int) -> Break:
    text = f"{got} of {n} rows of an epoch are there before, {expected} in the original"
    return ids_break(Cause(UNKNOWN, text), rung="order")


# --- Weights of rows ------------------------------------------------------------------------------


def _weights(pair: Pair) -> Iterator[Break]:
    theirs, ours = pair.a.epochs[0], pair.b.epochs[0]
    place = Place(epoch=1, step=1, tensor="loss")
    if theirs.weights is None and ours.weights is None:
        return
    if theirs.weights is None or ours.weights is None:
        text = f"the original {ROW_WEIGHTS}, the port does not"
        if theirs.weights is None:
            text = f"the port {ROW_WEIGHTS} of its own, the original does not"
        yield ids_break(Cause(UNKNOWN, text), rung="loss", place=place)
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
        yield ids_break(Cause(UNKNOWN, text), rung="loss", place=place)


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
        seen.breaks.append(ids_break(cause, place=place))
        return
    if not same_rows(a, b):
        limited = any(
            key in facts.options
            for key in ("validation_steps", "limit_val_batches")
            for facts in (original.facts, port.facts)
        )
        if lenient or limited:
            why = "it is cut short" if limited else "the original brings none"
            seen.not_exercised.append(f"which rows validation shows: {why}")
        else:
            seen.breaks.append(ids_break(_other_validation(a, b, ours), place=place))
    if pair.labelled:
        seen.breaks += label_breaks(pair, (theirs,), (ours,), step=step)
    seen.breaks += pixel_breaks(pair, ours, step=step, where="in validation")
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
