"""What two models report of their epochs: what is compared, what is a break, what is only told."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from mnist_mlp.parity.check.pair_metrics import Compared, Pass, compare
from mnist_mlp.ports.reported import Reports, is_held_out, kind_of

RNG = np.random.default_rng(0)
SIZES = (20, 20, 10)


def a_pass(width: int, y: str) -> Pass:
    z = [RNG.normal(size=(n, width)) for n in SIZES]
    made = {
        "classes": lambda n: RNG.integers(0, width, n),
        "signs": lambda n: (RNG.random(n) < 0.9).astype(float),
        "numbers": lambda n: RNG.normal(size=n),
    }[y]
    return Pass(z, [made(n) for n in SIZES], RNG.random(3) + 1)


def classes() -> list[Pass]:
    return [a_pass(4, "classes") for _ in range(2)]


def per_row(one: Pass) -> float:
    return float(np.average(one.losses, weights=SIZES))


def share(one: Pass) -> float:
    hits = [(z.argmax(1) == y).sum() for z, y in zip(one.z, one.y, strict=True)]
    return float(sum(hits) / sum(SIZES))


def reports(name: str, numbers: list[float], meant: Mapping[str, str] | None = None) -> Reports:
    return Reports(tuple({name: number} for number in numbers), meant or {})


def held_against(
    passes: list[Pass], expected: list[float], got: list[float], name: str = "acc"
) -> Compared:
    return compare(reports(name, expected), reports(f"train_{name}", got), passes, None)


def test_equal_numbers_are_counted() -> None:
    passes = classes()
    right = [share(one) for one in passes]
    found = held_against(passes, right, right)
    assert (found.count, found.breaks, found.told) == (2, [], [])


def test_a_mean_of_batches_is_named_with_its_epoch() -> None:
    passes = classes()
    right, got = [share(one) for one in passes], []
    for one in passes:
        batches = [(z.argmax(1) == y).mean() for z, y in zip(one.z, one.y, strict=True)]
        got.append(float(np.mean(batches)))
    (found,) = held_against(passes, right, got).breaks
    assert (found.cause.name, found.epoch, found.tensor) == (
        "mean_of_batch_accuracies",
        1,
        "train_acc",
    )


def test_a_metric_that_is_never_reset_is_right_in_the_first_epoch() -> None:
    passes = classes()
    first, second = (per_row(one) for one in passes)
    found = held_against(passes, [first, second], [first, (first + second) / 2], "loss")
    assert [item.cause.name for item in found.breaks] == ["metric_not_reset"]
    assert found.breaks[0].epoch == 2


def test_a_threshold_on_logits_is_named() -> None:
    passes = [a_pass(1, "signs") for _ in range(2)]
    shares = {
        limit: [
            float(
                np.mean(
                    np.concatenate(
                        [(z[:, 0] > limit) == y for z, y in zip(one.z, one.y, strict=True)]
                    )
                )
            )
            for one in passes
        ]
        for limit in (0.0, 0.5)
    }
    (found,) = held_against(passes, shares[0.0], shares[0.5]).breaks
    assert (found.cause.name, found.cause.value) == ("accuracy_threshold", "0.5 on logits")


def test_the_plain_loss_may_be_logged_for_what_was_minimised() -> None:
    """A penalty is added to the loss, and not to what is logged."""
    passes = [a_pass(1, "numbers") for _ in range(2)]
    squares = []
    for one in passes:
        batches = [
            np.mean((z - y.reshape(z.shape)) ** 2) for z, y in zip(one.z, one.y, strict=True)
        ]
        squares.append(float(np.average(batches, weights=SIZES)))
    found = held_against(passes, [per_row(one) for one in passes], squares, "loss")
    assert not found.breaks
    assert found.count == 2


@pytest.mark.parametrize("wrong", ["the original", "the port"])
def test_a_number_that_no_formula_gives_is_told_and_no_break(wrong: str) -> None:
    passes = classes()
    right, other = [share(one) for one in passes], [0.123, 0.456]
    given = (other, right) if wrong == "the original" else (right, other)
    found = held_against(passes, *given)
    assert (found.count, found.breaks) == (0, [])
    assert len(found.told) == 1


def test_validation_that_cannot_be_compared_is_told() -> None:
    a, b = reports("val_loss", [1.0, 1.0]), reports("val_loss", [2.0, 2.0])
    found = compare(a, b, classes(), None)
    assert not found.breaks
    assert found.told == ["val_loss: the two validate otherwise"]


def test_who_reports_nothing_is_told() -> None:
    found = compare(reports("loss", [1.0]), Reports(), classes(), None)
    assert found.told == ["the port reports nothing of its epochs"]


def test_what_a_metric_object_means_counts_more_than_its_name() -> None:
    """A top-2 accuracy that is called `acc`."""
    passes = classes()
    right = reports("accuracy", [share(one) for one in passes])
    found = compare(right, reports("acc", [0.9, 0.95], {"acc": ""}), passes, None)
    assert not found.breaks
    assert found.told == ["acc of the port: what it means is not known"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train_loss", "loss"),
        ("val/acc", "accuracy"),
        ("binary_accuracy", "accuracy"),
        ("val_mean_squared_error", "mse"),
        ("mae", "mae"),
        ("roc_auc", "auc"),
        ("acc5", ""),
        ("top_k_accuracy", ""),
        ("root_mean_squared_error", ""),
        ("loss_of_head", ""),
    ],
)
def test_names(name: str, kind: str) -> None:
    assert kind_of(name) == kind
    assert is_held_out(name) == name.startswith("val")
