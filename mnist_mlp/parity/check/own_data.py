"""A port's own data: the batches of its training loader, and the rows that it validates on.

A shuffle of its own is no fault and only noted: two seeds of one algorithm are one algorithm. What
breaks is what no seed explains: another batch size, rows that are left out or repeated, no shuffle,
one order in every epoch, other pixels, other labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from mnist_mlp.contract import State, StepRecord, TrainingData
from mnist_mlp.parity.causes import data as data_causes
from mnist_mlp.parity.causes.hypothesis import first_that_reproduces, only
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, JudgedStep, Place, Side
from mnist_mlp.parity.steps.judge import first_broken, judge
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.plan import Ids, Plan
from mnist_mlp.ports.protocol import OwnOrder, OwnValidation, PortFacts
from mnist_mlp.reference import Array

Noted = list[Cause]


def breaks(
    facts: PortFacts, plan: Plan, data: TrainingData, recipe: Recipe, *, side: Side
) -> tuple[list[Break], Noted]:
    """What is wrong with the data a port brings itself, and what is only worth telling."""
    found, noted = _training(facts, plan, data, recipe, side)
    if facts.validation is not None:
        found = [*found, *_validation(facts.validation, plan, data, recipe, side)]
    return found, noted


def _training(
    facts: PortFacts, plan: Plan, data: TrainingData, recipe: Recipe, side: Side
) -> tuple[list[Break], Noted]:
    size = plan.spec.training.batch_size
    if facts.batch_size is not None and facts.batch_size != size:
        return [_other_size(facts.batch_size, size, side)], []
    held_back = facts.options.get("validation_split", "0")
    if held_back not in ("0", "0.0", "None"):
        cause = Cause("other_split", f"fit holds back {held_back} of the training rows")
        return [Break(side=side, rung="data", place=IDS_OF_FIRST, cause=cause)], []
    if facts.shuffle is False:
        cause = Cause("not_shuffled", "shuffle=False")
        return [Break(side=side, rung="order", place=IDS_OF_FIRST, cause=cause)], []
    asked = facts.options.get("steps_per_epoch", "")
    if asked.isdigit() and int(asked) < plan.steps_per_epoch:
        cause = Cause("steps_missing", f"epoch 1 has {asked} of {plan.steps_per_epoch} batches")
        place = Place(epoch=1, step=int(asked) + 1, tensor="ids")
        return [Break(side=side, rung="order", place=place, cause=cause)], []
    own = facts.order
    if own is None:
        return [], []
    found = _other_lengths(own, size)
    if found is not None:
        return [_other_size(found, size, side)], []
    content = list(_content(own, plan, data, recipe, side))
    orders = [np.concatenate(batches) for batches in own.epochs]
    strange = sum(int((positions < 0).sum()) for positions in orders)
    if strange:
        return content or [_strange_rows(own, orders, strange, side)], []
    ordered = list(_orders(orders, own, plan, side))
    noted = [] if ordered else _own_shuffle(own, orders, plan)
    return [*content, *ordered], noted


IDS_OF_FIRST = Place(epoch=1, step=1, tensor="ids")
"""Where data that is wrong from the start is told: the rows of the first batch."""


# --- Batches --------------------------------------------------------------------------------------


def _other_size(got: int, size: int, side: Side) -> Break:
    cause = Cause("batch_size", f"{got} instead of {size}")
    return Break(
        side=side,
        rung="order",
        place=IDS_OF_FIRST,
        got=str(got),
        expected=str(size),
        cause=cause,
    )


def _other_lengths(own: OwnOrder, size: int) -> int | None:
    """The batch size of an epoch that has more than one batch of another length.

    The smaller one need not be the last: Keras shuffles the batches of a `PyDataset`.
    """
    for batches in own.epochs:
        lengths = sorted(len(batch) for batch in batches)
        if set(lengths[1:]) - {size} or lengths[0] > size:
            return lengths[-1]
    return None


# --- Order ----------------------------------------------------------------------------------------


def _orders(orders: Sequence[Ids], own: OwnOrder, plan: Plan, side: Side) -> Iterator[Break]:
    size, per_epoch = plan.spec.training.batch_size, plan.steps_per_epoch
    n = len(plan.train_ids)
    whole = n - n % size
    first = orders[0]
    different = len(np.unique(first))
    if len(first) != n or different != n:
        dropped = len(first) == different == whole < n
        yield Break(
            side=side,
            rung="order",
            place=replace(IDS_OF_FIRST, step=per_epoch) if dropped else IDS_OF_FIRST,
            got=f"{len(first)} rows",
            expected=f"{n} rows",
            cause=Cause("last_batch_dropped", f"{n - whole} rows of each epoch")
            if dropped
            else Cause(UNKNOWN, f"{different} different rows among {len(first)}, of {n}"),
        )
        if not dropped:
            return
    if np.array_equal(first, np.arange(len(first))):
        cause = Cause("not_shuffled", "rows in their order")
        yield Break(side=side, rung="order", place=IDS_OF_FIRST, cause=cause)
    elif (np.diff(own.labels[0]) >= 0).all():
        cause = Cause("not_shuffled", "rows sorted by their class")
        yield Break(side=side, rung="order", place=IDS_OF_FIRST, cause=cause)
    elif len(orders) > 1 and np.array_equal(orders[1], first):
        cause = Cause("order_not_reshuffled", "epoch 2 repeats epoch 1")
        place = Place(epoch=2, step=per_epoch + 1, tensor="ids")
        yield Break(side=side, rung="order", place=place, cause=cause)


def _strange_rows(own: OwnOrder, orders: Sequence[Ids], strange: int, side: Side) -> Break:
    """Rows that are no training rows: ids come before everything else about the data."""
    if own.test_rows:
        cause = Cause("other_split", f"{own.test_rows} of {len(orders[0])} rows are test rows")
    else:
        cause = Cause(UNKNOWN, f"{strange} rows of {len(orders)} epochs are no training rows")
    return Break(side=side, rung="data", place=IDS_OF_FIRST, cause=cause)


def _own_shuffle(own: OwnOrder, orders: Sequence[Ids], plan: Plan) -> Noted:
    if all(np.array_equal(got, plan.order(epoch)) for epoch, got in enumerate(orders, start=1)):
        return []
    if own.moved_by_validation:
        text = "the order changes with a validation loader"
        return [Cause("validation_moves_order", text)]
    return [Cause("own_shuffle", "permutations, but not the planned ones")]


# --- Content --------------------------------------------------------------------------------------


def _content(
    own: OwnOrder, plan: Plan, data: TrainingData, recipe: Recipe, side: Side
) -> Iterator[Break]:
    """Pixels of the first batch and labels of all, by the rows that they were found to hold."""
    positions = own.epochs[0][0]
    known = np.flatnonzero(positions >= 0)
    if not len(known):
        return
    rows = positions[known]
    pixels = np.asarray(own.pixels).reshape(len(own.pixels), -1)[known]
    if pixels.shape == data.train_images[rows].shape:
        images, labels = data.train_images[rows], data.train_labels[rows]
        yield from _pixels(pixels, images, labels, recipe, side, step=1, where="in the loader")
    if own.rescaled is not None:
        epoch, batch = own.rescaled
        step = (epoch - 1) * plan.steps_per_epoch + batch
        cause = Cause(UNKNOWN, "the loader scales pixels otherwise from this batch on")
        place = Place(epoch=epoch, step=step, layer=0, tensor="inputs")
        yield Break(side=side, rung="data", place=place, cause=cause)
    if own.soft:
        cause = Cause(UNKNOWN, "the loader's labels are no one-hot vectors")
        place = Place(epoch=1, step=1, tensor="labels")
        yield Break(side=side, rung="data", place=place, cause=cause)
    if own.weighted:
        cause = Cause(UNKNOWN, "the loader gives each row a weight of its own")
        place = Place(epoch=1, step=1, tensor="loss")
        yield Break(side=side, rung="loss", place=place, cause=cause)
    yield from _labels(own, plan, data, side)


def _pixels(
    pixels: Array,
    images: Array,
    labels: Array,
    recipe: Recipe,
    side: Side,
    *,
    step: int,
    where: str,
) -> Iterator[Break]:
    """Judged as the inputs of a step are, with the same hypotheses."""
    nothing = State(0, {}, {})
    record = StepRecord(
        # A loader may give float64: what the network gets of it is a cast away.
        inputs=np.asarray(pixels, recipe.spec.training.precision),
        pre_activations=(),
        activations=(),
        loss=0.0,
        gradient={},
        state=nothing,
    )
    judged = [JudgedStep(1, 1, 0, nothing, images, labels, record)]
    alone = only(recipe, "data")
    finding = first_broken(judge(alone, judged))
    if finding is None:
        return
    hypothesis = first_that_reproduces(
        data_causes.hypotheses(alone, judged, finding), finding, judged
    )
    cause = hypothesis.cause if hypothesis else Cause(UNKNOWN, where)
    yield Break(
        side=side,
        rung="data",
        place=Place(epoch=1, step=step, layer=0, tensor="inputs"),
        size=finding.size,
        got=f"{finding.got:.9g}",
        expected=f"{finding.expected:.9g}",
        cause=cause,
    )


def _labels(own: OwnOrder, plan: Plan, data: TrainingData, side: Side) -> Iterator[Break]:
    """The first row with another label than its own."""
    classes = plan.spec.model.layer_sizes[-1]
    for epoch, (batches, got) in enumerate(zip(own.epochs, own.labels, strict=True), start=1):
        positions = np.concatenate(batches)
        known = positions >= 0
        expected = data.train_labels[positions].astype(np.int64)
        wrong = np.flatnonzero(known & (got != expected))
        if not len(wrong):
            continue
        at = int(wrong[0])
        ends = np.cumsum([len(batch) for batch in batches])
        step = (epoch - 1) * plan.steps_per_epoch + int(np.searchsorted(ends, at, side="right")) + 1
        shift = np.unique((got[known] - expected[known]) % classes)
        cause = Cause(UNKNOWN, f"{len(wrong)} of {len(got)} rows have other labels")
        if len(shift) == 1:
            cause = Cause("labels_shifted", f"by {shift[0]}, in the loader")
        yield Break(
            side=side,
            rung="data",
            place=Place(epoch=epoch, step=step, tensor="labels"),
            got=str(got[at]),
            expected=str(expected[at]),
            cause=cause,
        )
        return


# --- Validation -----------------------------------------------------------------------------------


def _validation(
    own: OwnValidation, plan: Plan, data: TrainingData, recipe: Recipe, side: Side
) -> Iterator[Break]:
    """It has to show every test row once, as it is; in which order and batches is no matter.

    Its place is the last step of the first epoch, after which a framework validates.
    """
    step, total = plan.steps_per_epoch, len(own.positions)
    ids = Place(epoch=1, step=step, tensor="ids")
    known = own.positions >= 0
    if not known.all():
        if own.training_rows:
            text = f"{own.training_rows} of {total} validation rows are training rows"
            cause = Cause("other_split", text)
        else:
            text = f"{total - known.sum()} of {total} validation rows are no test rows"
            cause = Cause(UNKNOWN, text)
        yield Break(side=side, rung="data", place=ids, cause=cause)
        return
    n, size = len(data.test_labels), plan.spec.training.batch_size
    different = len(np.unique(own.positions))
    if not different == total == n:
        cause = Cause(UNKNOWN, f"validation has {different} of {n} test rows, in {total}")
        if different == total == n - n % size:
            cause = Cause("last_batch_dropped", f"{n % size} test rows, in validation")
        yield Break(side=side, rung="data", place=ids, cause=cause)
    rows = own.positions[: len(own.pixels)]
    pixels = np.asarray(own.pixels).reshape(len(rows), -1)
    images, labels = data.test_images[rows], data.test_labels[rows]
    if pixels.shape == images.shape:
        where = "in validation"
        yield from _pixels(pixels, images, labels, recipe, side, step=step, where=where)
    expected = data.test_labels[own.positions].astype(np.int64)
    wrong = int((own.labels != expected).sum())
    if wrong:
        cause = Cause(UNKNOWN, f"{wrong} of {total} rows have other labels in validation")
        place = replace(ids, tensor="labels")
        yield Break(side=side, rung="data", place=place, cause=cause)
