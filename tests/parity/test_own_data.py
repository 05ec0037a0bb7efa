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
from mnist_mlp.parity.check.own_data import against_plan
from mnist_mlp.parity.findings import Break
from mnist_mlp.parity.steps import arbiter
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.ports.find_rows import rescaled, scalings
from mnist_mlp.ports.protocol import OwnData, OwnPass, PortFacts, Rows
from mnist_mlp.ports.rows import RowTable, read_pass
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

    def own(self, *epochs: Array) -> OwnData:
        """Epochs as permutations of positions, cut into batches."""
        if not epochs:
            draw = np.random.default_rng(5)
            epochs = tuple(draw.permutation(len(self.data.train_labels)) for _ in range(3))
        return self.brought(self.data.train_images, self.data.train_labels, *epochs)

    def brought(self, images: Array, labels: Array, *epochs: Array) -> OwnData:
        """As a host reads batches of images in 0 .. 1."""
        table = RowTable()
        x = (images / 255).astype(np.float32)
        passes = [
            read_pass([(x[rows], labels[rows], None) for rows in cut(epoch, SIZE)], table)
            for epoch in epochs
        ]
        return OwnData(rows=table.rows(), shape=(30,), epochs=tuple(passes))

    def validation(self, pixels: Array, labels: Array) -> OwnData:
        """Training data that are right, and batches of 20 to validate on."""
        table = RowTable()
        own = self.own()
        train = self.data.train_images / np.float32(255)
        order = np.random.default_rng(5).permutation(len(train))
        epochs = tuple(
            read_pass(
                [(train[rows], self.data.train_labels[rows], None) for rows in cut(order, SIZE)],
                table,
            )
            for order in (order, order[::-1])
        )
        pixels = np.asarray(pixels, np.float32).reshape(len(pixels), -1)
        batches = [(pixels[rows], labels[rows], None) for rows in cut(np.arange(len(labels)), 20)]
        validation = read_pass(batches, table)
        return replace(own, rows=table.rows(), epochs=epochs, validation=validation)

    def judge(self, **facts: Any) -> tuple[list[Break], list[str]]:
        """Breaks, and the names of what is noted."""
        given = PortFacts(framework="torch", layers=(), draws=(), optimizer={}, **facts)
        found = against_plan(given, self.plan, self.data, self.recipe, side="b")
        assert found.breaks or found.missing or found.compared["data"] > 0
        return found.breaks, [cause.name for cause in found.noted]


def cut(rows: Array, size: int) -> list[Array]:
    """Into batches."""
    return np.split(rows, range(size, len(rows), size))


@pytest.fixture
def here(small_data: Dataset) -> Setting:
    return Setting(small_data)


def test_own_permutations_of_all_rows_are_noted(here: Setting) -> None:
    assert here.judge(own=here.own()) == ([], ["own_shuffle"])


def test_the_planned_order_is_nothing_to_tell_of(here: Setting) -> None:
    planned = [here.plan.order(epoch) for epoch in (1, 2)]
    assert here.judge(own=here.own(*planned)) == ([], [])


def test_the_test_rows_in_any_order_are_the_right_validation(here: Setting) -> None:
    order = np.random.default_rng(2).permutation(len(here.data.test_labels))
    images, labels = here.data.test_images[order] / np.float32(255), here.data.test_labels[order]
    assert here.judge(own=here.validation(images, labels)) == ([], ["own_shuffle"])
    one_hot = np.eye(4)[labels]
    assert here.judge(own=here.validation(images.reshape(-1, 1, 6, 5), one_hot))[0] == []


def whole(here: Setting) -> Array:
    return np.random.default_rng(3).permutation(len(here.data.train_labels))


def in_batches(here: Setting, size: int) -> OwnData:
    own = here.own()
    order = own.epochs[0].ids
    batches = tuple(cut(order, size))
    return replace(own, epochs=(OwnPass(batches, own.epochs[0].targets),))


def with_batches_shuffled(here: Setting) -> OwnData:
    """The last batch, which is smaller, stays where it is."""
    *full, last = cut(whole(here), SIZE)
    order = np.random.default_rng(3).permutation(len(full))
    return here.own(whole(here), np.concatenate([*(full[k] for k in order), last]))


def sorted_by_class(here: Setting) -> OwnData:
    return here.own(np.argsort(here.data.train_labels, kind="stable"))


def of_other_pixels(here: Setting) -> OwnData:
    own = here.own()
    levels = own.rows.levels
    assert levels is not None
    return replace(own, rows=Rows(own.rows.values, (levels - 0.5) / 0.25))


def with_other_labels(here: Setting, change: Callable[[Array], Array]) -> OwnData:
    own = here.own()
    return replace(
        own,
        epochs=tuple(replace(epoch, targets=change(epoch.targets)) for epoch in own.epochs),
    )


def one_label_wrong(labels: Array) -> Array:
    """In the second batch."""
    changed = labels.copy()
    changed[40] = (changed[40] + 1) % 4
    return changed


def with_weights(here: Setting) -> OwnData:
    own = here.own()
    weights = np.linspace(1, 2, 187)
    return replace(own, epochs=tuple(replace(epoch, weights=weights) for epoch in own.epochs))


def rescaled_from_the_second_batch(here: Setting) -> OwnData:
    x = here.data.train_images / np.float32(255)
    table = RowTable()
    order = whole(here)
    epochs = []
    for draw in (order, order[::-1]):
        batches = [(x[rows], here.data.train_labels[rows], None) for rows in cut(draw, SIZE)]
        for number in range(1, len(batches)):
            batches[number] = (batches[number][0] * 2 - 1, *batches[number][1:])
        epochs.append(read_pass(batches, table))
    return OwnData(rows=table.rows(), shape=(30,), epochs=tuple(epochs))


def with_strange_rows(here: Setting, image: Array) -> OwnData:
    """One row of the first epoch is none of the training rows."""
    images = np.concatenate([here.data.train_images, image.reshape(1, 30)])
    labels = np.append(here.data.train_labels, here.data.test_labels[3])
    first = whole(here)
    first[3] = 187
    return here.brought(images, labels, first, whole(here)[::-1])


ORDERS: dict[str, tuple[Callable[[Setting], dict[str, Any]], tuple[Any, ...]]] = {
    "batches of another size": (
        lambda s: {"own": in_batches(s, 40)},
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
        lambda s: {"own": s.own(np.arange(187))},
        ("order", 1, 1, "ids", "not_shuffled"),
    ),
    "rows by class": (
        lambda s: {"own": sorted_by_class(s)},
        ("order", 1, 1, "ids", "not_shuffled"),
    ),
    "one order for every epoch": (
        lambda s: {"own": s.own(whole(s), whole(s))},
        ("order", 2, 7, "ids", "order_not_reshuffled"),
    ),
    "whole batches shuffled": (
        lambda s: {"own": with_batches_shuffled(s)},
        ("order", 2, 7, "ids", "batches_shuffled"),
    ),
    "the last batch dropped": (
        lambda s: {"own": s.own(whole(s)[: 187 - 187 % SIZE])},
        ("order", 1, 6, "ids", "last_batch_dropped"),
    ),
    "rows drawn with replacement": (
        lambda s: {"own": s.own(np.random.default_rng(1).integers(0, 187, 187))},
        ("order", 1, 1, "ids", "unknown"),
    ),
    "mean and deviation": (
        lambda s: {"own": of_other_pixels(s)},
        ("data", 1, 1, "inputs", "mean_std_normalisation"),
    ),
    "scaled otherwise from a batch on": (
        lambda s: {"own": rescaled_from_the_second_batch(s)},
        ("data", 1, 2, "inputs", "unknown"),
    ),
    "labels from 1": (
        lambda s: {"own": with_other_labels(s, lambda labels: (labels + 1) % 4)},
        ("data", 1, 1, "labels", "labels_shifted"),
    ),
    "one wrong label": (
        lambda s: {"own": with_other_labels(s, one_label_wrong)},
        ("data", 1, 2, "labels", "unknown"),
    ),
    "soft labels": (
        lambda s: {"own": with_other_labels(s, lambda labels: np.full((len(labels), 4), 0.25))},
        ("data", 1, 1, "labels", "unknown"),
    ),
    "rows with weights": (
        lambda s: {"own": with_weights(s)},
        ("loss", 1, 1, "loss", "unknown"),
    ),
    "test rows in training": (
        lambda s: {"own": with_strange_rows(s, s.data.test_images[3])},
        ("data", 1, 1, "ids", "other_split"),
    ),
    "rows of somewhere else": (
        lambda s: {"own": with_strange_rows(s, np.arange(30))},
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


def test_the_first_rescaled_batch_is_named(here: Setting) -> None:
    own = rescaled_from_the_second_batch(here)
    places = np.concatenate([np.arange(len(own.rows))])
    images = own.rows.take(places)
    known = Rows(np.where(images.min(axis=1, keepdims=True) < 0, (images + 1) / 2, images) * 255)
    scales = scalings(own.rows, known, places)
    assert rescaled(own.epochs, scales, 255.0) == (1, 2)
    assert rescaled(here.own().epochs, np.tile([1 / 255, 0.0], (250, 1)), 255.0) is None


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
    found, _ = here.judge(own=here.validation(*plant(here)))
    assert [(item.rung, item.epoch, item.step) for item in found] == [("data", 1, 6)]
    assert (found[0].tensor, found[0].cause.name) == (tensor, cause)


def test_a_row_in_another_pixel_order_may_have_the_other_extremes_in_their_places() -> None:
    """By chance, white is where black was and black where white was: no inversion."""
    images = np.array([[0, 255, 90, 40, 10], [3, 200, 50, 60, 70]], np.uint8)
    other_order = images[:, [1, 0, 2, 3, 4]] / np.float32(255)
    scales = scalings(Rows(other_order), Rows(images), np.arange(2))
    assert np.allclose(scales, [[1 / 255, 0.0]] * 2)
    inverted = 1 - images / np.float32(255)
    scales = scalings(Rows(inverted), Rows(images), np.arange(2))
    assert np.allclose(scales, [[-1 / 255, 1.0]] * 2)
