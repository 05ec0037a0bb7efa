"""What a port brings itself: each way of feeding other rows, or the same ones otherwise, is told.

Batches are made up here; that the hosts read them off real loaders is tested under `tests/ports`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mnist_mlp.contract import TrainingData
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.check import own_data
from mnist_mlp.parity.findings import Break
from mnist_mlp.parity.steps import arbiter
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.ports.protocol import OwnOrder, OwnValidation, PortFacts
from mnist_mlp.ports.rows import read_validation
from mnist_mlp.reference import Array
from mnist_mlp.spec import parse_spec

SIZE = 32


class Setting:
    """A plan of 187 training and 63 test rows, and what a faithful port would bring."""

    def __init__(self, dataset: Dataset) -> None:
        spec = parse_spec(
            {"model": {"layer_sizes": [30, 9, 4]}, "training": {"batch_size": SIZE, "epochs": 2}}
        )
        self.plan: Plan = make_plan(spec, dataset)
        self.data: TrainingData = training_data(self.plan, dataset)
        height, width = dataset.images.shape[1:]
        self.recipe = Recipe(spec, arbiter.eps_of("float32"), (height, width))

    def order(self, *epochs: Array) -> OwnOrder:
        """Epochs as permutations of positions, cut into batches."""
        if not epochs:
            draw = np.random.default_rng(5)
            epochs = tuple(draw.permutation(len(self.data.train_labels)) for _ in range(3))
        return OwnOrder(
            epochs=tuple(tuple(np.split(rows, range(SIZE, len(rows), SIZE))) for rows in epochs),
            pixels=(self.data.train_images[epochs[0][:SIZE]] / 255).astype(np.float32),
            labels=tuple(self.data.train_labels[rows].astype(np.int64) for rows in epochs),
        )

    def validation(self, images: Array, labels: Array) -> OwnValidation:
        """As a host reads it off batches of 20."""
        cuts = range(20, len(labels), 20)
        pairs = zip(np.split(images, cuts), np.split(labels, cuts), strict=True)
        found = read_validation(pairs, self.data)
        assert found is not None
        return found

    def judge(self, **facts: Any) -> tuple[list[Break], list[str]]:
        """Breaks, and the names of what is noted."""
        given = PortFacts(framework="torch", layers=(), draws=(), optimizer={}, **facts)
        found, noted = own_data.breaks(given, self.plan, self.data, self.recipe, side="b")
        return found, [cause.name for cause in noted]


@pytest.fixture
def here(small_data: Dataset) -> Setting:
    return Setting(small_data)


def test_own_permutations_of_all_rows_are_noted(here: Setting) -> None:
    assert here.judge(order=here.order()) == ([], ["own_shuffle"])


def test_the_planned_order_is_nothing_to_tell_of(here: Setting) -> None:
    planned = [here.plan.order(epoch) for epoch in (1, 2)]
    assert here.judge(order=here.order(*planned)) == ([], [])


def test_the_test_rows_in_any_order_are_the_right_validation(here: Setting) -> None:
    order = np.random.default_rng(2).permutation(len(here.data.test_labels))
    images, labels = here.data.test_images[order] / np.float32(255), here.data.test_labels[order]
    assert here.judge(validation=here.validation(images, labels)) == ([], [])
    one_hot = np.eye(4)[labels]
    assert here.judge(validation=here.validation(images.reshape(-1, 1, 6, 5), one_hot))[0] == []


def whole(here: Setting) -> Array:
    return np.random.default_rng(3).permutation(len(here.data.train_labels))


def sorted_by_class(here: Setting) -> OwnOrder:
    return here.order(np.argsort(here.data.train_labels, kind="stable"))


def of_other_pixels(here: Setting) -> OwnOrder:
    order = here.order()
    return replace(order, pixels=(order.pixels - 0.5) / 0.25)


def with_other_labels(here: Setting, change: Callable[[Array], Array]) -> OwnOrder:
    order = here.order()
    return replace(order, labels=tuple(change(labels) for labels in order.labels))


def one_label_wrong(labels: Array) -> Array:
    """In the second batch."""
    changed = labels.copy()
    changed[40] = (changed[40] + 1) % 4
    return changed


def with_strange_rows(here: Setting, **told: Any) -> OwnOrder:
    order = here.order()
    first = order.epochs[0][0].copy()
    first[3] = -1
    return replace(order, epochs=((first, *order.epochs[0][1:]), *order.epochs[1:]), **told)


ORDERS: dict[str, tuple[Callable[[Setting], dict[str, Any]], tuple[Any, ...]]] = {
    "batches of another size": (
        lambda s: {"order": replace(s.order(), epochs=(tuple(np.split(whole(s), [40, 80])),))},
        ("order", 1, 1, "ids", "batch_size"),
    ),
    "another size by its own word": (
        lambda s: {"batch_size": 64},
        ("order", 1, 1, "ids", "batch_size"),
    ),
    "no shuffle by its own word": (
        lambda s: {"shuffle": False},
        ("order", 1, 1, "ids", "not_shuffled"),
    ),
    "fewer steps by its own word": (
        lambda s: {"options": {"steps_per_epoch": "4"}},
        ("order", 1, 5, "ids", "steps_missing"),
    ),
    "rows held back for validation": (
        lambda s: {"options": {"validation_split": "0.1"}},
        ("data", 1, 1, "ids", "other_split"),
    ),
    "rows in their order": (
        lambda s: {"order": s.order(np.arange(187))},
        ("order", 1, 1, "ids", "not_shuffled"),
    ),
    "rows by class": (
        lambda s: {"order": sorted_by_class(s)},
        ("order", 1, 1, "ids", "not_shuffled"),
    ),
    "one order for every epoch": (
        lambda s: {"order": s.order(whole(s), whole(s))},
        ("order", 2, 7, "ids", "order_not_reshuffled"),
    ),
    "the last batch dropped": (
        lambda s: {"order": s.order(whole(s)[: 187 - 187 % SIZE])},
        ("order", 1, 6, "ids", "last_batch_dropped"),
    ),
    "rows drawn with replacement": (
        lambda s: {"order": s.order(np.random.default_rng(1).integers(0, 187, 187))},
        ("order", 1, 1, "ids", "unknown"),
    ),
    "mean and deviation": (
        lambda s: {"order": of_other_pixels(s)},
        ("data", 1, 1, "inputs", "mean_std_normalisation"),
    ),
    "scaled otherwise from a batch on": (
        lambda s: {"order": replace(s.order(), rescaled=(1, 2))},
        ("data", 1, 2, "inputs", "unknown"),
    ),
    "labels from 1": (
        lambda s: {"order": with_other_labels(s, lambda labels: (labels + 1) % 4)},
        ("data", 1, 1, "labels", "labels_shifted"),
    ),
    "one wrong label": (
        lambda s: {"order": with_other_labels(s, one_label_wrong)},
        ("data", 1, 2, "labels", "unknown"),
    ),
    "soft labels": (
        lambda s: {"order": replace(s.order(), soft=True)},
        ("data", 1, 1, "labels", "unknown"),
    ),
    "rows with weights": (
        lambda s: {"order": replace(s.order(), weighted=True)},
        ("loss", 1, 1, "loss", "unknown"),
    ),
    "test rows in training": (
        lambda s: {"order": with_strange_rows(s, test_rows=1)},
        ("data", 1, 1, "ids", "other_split"),
    ),
    "rows of somewhere else": (
        lambda s: {"order": with_strange_rows(s)},
        ("data", 1, 1, "ids", "unknown"),
    ),
}


@pytest.mark.parametrize("what", ORDERS)
def test_other_batches_are_told(here: Setting, what: str) -> None:
    plant, expected = ORDERS[what]
    found, noted = here.judge(**plant(here))
    assert found, what
    first = found[0]
    assert (first.rung, first.epoch, first.step, first.tensor, first.cause.name) == expected
    assert len(found) == 1
    assert noted in ([], ["own_shuffle"])


def test_the_first_rescaled_batch_is_named_by_the_host_too(here: Setting) -> None:
    """Batches are counted from the first epoch, however often the finder was used before."""
    from mnist_mlp.ports.rows import RowFinder

    finder = RowFinder(here.data.train_images)
    x = here.data.train_images.astype(np.float64)
    finder.start_epoch()
    finder.find(x[:SIZE] / 255)
    assert finder.rescaled is None
    finder.find(x[SIZE : 2 * SIZE] / 255 * 2 - 1)
    assert finder.rescaled == (1, 2)


VALIDATION: dict[str, tuple[Callable[[Setting], tuple[Array, Array]], tuple[str, str]]] = {
    "training rows": (
        lambda s: (s.data.train_images / 255, s.data.train_labels),
        ("ids", "other_split"),
    ),
    "test rows and a training row": (
        lambda s: (
            np.concatenate([s.data.test_images, s.data.train_images[:1]]) / 255,
            np.concatenate([s.data.test_labels, s.data.train_labels[:1]]),
        ),
        ("ids", "other_split"),
    ),
    "rows of somewhere else": (
        lambda s: (np.full((63, 30), 0.123), s.data.test_labels),
        ("ids", "unknown"),
    ),
    "the last batch dropped": (
        lambda s: (s.data.test_images[:SIZE] / 255, s.data.test_labels[:SIZE]),
        ("ids", "last_batch_dropped"),
    ),
    "a few rows": (
        lambda s: (s.data.test_images[:10] / 255, s.data.test_labels[:10]),
        ("ids", "unknown"),
    ),
    "rows twice": (
        lambda s: (np.tile(s.data.test_images, (2, 1)) / 255, np.tile(s.data.test_labels, 2)),
        ("ids", "unknown"),
    ),
    "greys": (
        lambda s: (s.data.test_images.astype(np.float32), s.data.test_labels),
        ("inputs", "pixels_not_scaled"),
    ),
    "other labels": (
        lambda s: (s.data.test_images / 255, s.data.test_labels[::-1]),
        ("labels", "unknown"),
    ),
}


@pytest.mark.parametrize("what", VALIDATION)
def test_other_validation_is_told(here: Setting, what: str) -> None:
    plant, (tensor, cause) = VALIDATION[what]
    found, _ = here.judge(order=here.order(), validation=here.validation(*plant(here)))
    assert [(item.rung, item.epoch, item.step) for item in found] == [("data", 1, 6)]
    assert (found[0].tensor, found[0].cause.name) == (tensor, cause)
