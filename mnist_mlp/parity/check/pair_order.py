"""The order of both sides' rows: drawn anew in each epoch, fixed, or as they are stored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.check.own_data import (
    DataVerdict,
    keeps_batches,
    near,
    sorted_by_class,
)
from mnist_mlp.parity.check.pair_brought import Pair, ids_break, same_rows
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.plan import Ids
from mnist_mlp.ports.find_rows import Finder
from mnist_mlp.ports.protocol import OwnData

RISING = 0.99
"""Share of neighbours in rising order that makes an order the stored one: equal rows may be taken
for each other. Of a permutation it is a half."""


def _pattern(own: OwnData, orders: list[Ids], places: Callable[[], Ids]) -> str:
    """How rows come: `drawn` anew in each epoch, in the same `batches` but those in a new order,
    `near` the same places, as they are `stored` in the data set or by class, in some `fixed` order,
    or `seen once`."""
    if not repeats_itself(orders):
        if keeps_batches(own.epochs):
            return "batches"
        return "near" if near(orders) else "drawn"
    if sorted_by_class(own.epochs[0]) or _rising(places()):
        return "stored"
    return "fixed" if len(orders) > 1 or own.shuffle is False else "seen once"


def _rising(places: NDArray[np.int64]) -> bool:
    """Whether rows come as they are stored in the data set."""
    known = places[places >= 0]
    return len(known) > 2 and bool((np.diff(known) >= 0).mean() >= RISING)


def repeats_itself(orders: list[Ids]) -> bool:
    """Whether all epochs have one order."""
    return all(np.array_equal(order, orders[0]) for order in orders)


def look_at_order(seen: DataVerdict, pair: Pair) -> None:
    """Whether rows are shuffled, and anew in each epoch, as the original does it."""
    theirs, ours = pair.orders
    seen.compared["order"] = sum(len(one.batches) for one in pair.b.epochs)
    alike = len(theirs) == len(ours) and all(map(np.array_equal, theirs, ours))
    if alike or len(pair.b.epochs[0].batches) == 1:
        return
    was = _pattern(pair.a, theirs, lambda: _in_dataset(pair.a, pair.dataset))
    now = _pattern(pair.b, ours, lambda: _in_dataset(pair.b, pair.dataset))
    was = "drawn" if was == "seen once" else was
    if "batches" in (was, now) and "drawn" in (was, now):
        whose = "" if now == "batches" else ", the original does"
        seen.breaks.append(_batches_kept(pair, whose))
        return
    if (was, now) == ("drawn", "near"):
        place = Place(epoch=2, step=pair.steps_per_epoch + 1, tensor="ids")
        cause = Cause("shuffle_buffer", near(ours))
        seen.breaks.append(ids_break(cause, rung="order", place=place))
        return
    if (was, now) == ("near", "drawn"):  # torch has no such buffer: it shuffles more than was asked
        seen.noted.append(Cause("shuffle_buffer", f"in the original: {near(theirs)}"))
        return
    was, now = ("drawn" if each in ("batches", "near") else each for each in (was, now))
    if now == "seen once" or (was == now == "drawn"):
        seen.noted.append(_own_shuffle(pair.b))
        if now == "seen once":
            reason = "only one epoch was seen: whether the next one has a new order is open"
            seen.missing["order"] = reason
            seen.unjudged = seen.unjudged or reason
    elif "drawn" in (was, now):
        _one_draws(seen, pair, was, now)
    elif same_rows(theirs[0], ours[0]):
        _both_repeat(seen, pair, was, now)


def _one_draws(seen: DataVerdict, pair: Pair, was: str, now: str) -> None:
    """One side has a new order in each epoch, the other one order for all."""
    if was == "fixed" and pair.a.shuffle and pair.original.facts.framework == "keras":
        # A quirk that nobody asked for, and that torch does not have.
        text = "in the original: after set_random_seed, Keras repeats its shuffle in every epoch"
        seen.noted.append(Cause("order_not_reshuffled", text))
    elif now == "drawn":
        text = f"the original has {'its stored' if was == 'stored' else 'one'} order, each epoch"
        seen.breaks.append(ids_break(Cause("shuffled", text), rung="order"))
    elif now == "stored" or pair.b.shuffle is False:
        text = "shuffle=False" if pair.b.shuffle is False else "rows in their order"
        seen.breaks.append(ids_break(Cause("not_shuffled", text), rung="order"))
    else:
        cause = Cause("order_not_reshuffled", "epoch 2 repeats epoch 1")
        place = Place(epoch=2, step=pair.steps_per_epoch + 1, tensor="ids")
        seen.breaks.append(ids_break(cause, rung="order", place=place))


def _batches_kept(pair: Pair, whose: str) -> Break:
    """Whole batches are shuffled on one side, and rows on the other."""
    text = "the batches of epoch 1 again in epoch 2, in another order"
    if whose:
        text = f"rows are shuffled, in the original whole batches: {text}"
    place = Place(epoch=2, step=pair.steps_per_epoch + 1, tensor="ids")
    return ids_break(Cause("batches_shuffled", text), rung="order", place=place)


def _both_repeat(seen: DataVerdict, pair: Pair, was: str, now: str) -> None:
    """Both have one order for all epochs, of the same rows, but not the same order."""
    if was == now == "fixed":
        seen.noted.append(_own_shuffle(pair.b))
        return
    cause = Cause(UNKNOWN, "rows are stored in another order than the original's")
    if was != now:
        name = "not_shuffled" if now == "stored" else "shuffled"
        cause = Cause(name, "one order in every epoch, the original has another one")
    seen.breaks.append(ids_break(cause, rung="order"))


def _own_shuffle(own: OwnData) -> Cause:
    if own.moved_by_validation:
        return Cause("validation_moves_order", "the order changes with a validation loader")
    return Cause("own_shuffle", "new orders in each epoch, as in the original")


def _in_dataset(own: OwnData, dataset: Dataset) -> Ids:
    """Places of the first epoch's rows in the data set; -1 where a row is none of it."""
    finder = Finder(dataset.flat(), dataset.labels, own.rows)
    return np.concatenate(finder.positions(own.epochs[0]))
