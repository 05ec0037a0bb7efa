"""Losses that are not the mean cross-entropy of the logits: named at the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import wrong_losses as wrong
from numpy_side import Loss, NumpySide
from small_problems import look_at, only_break, spec_of, told

from mnist_mlp.parity.findings import Break
from mnist_mlp.reference import Array, Tensors

SPEC = spec_of()


def _twice(z: Array, y: Array) -> Array:
    return wrong.cross_entropy(wrong.probabilities(z), y)


def _square(z: Array, y: Array) -> Array:
    return ((wrong.probabilities(z) - y) ** 2).mean(axis=1)


def _clip_logits(z: Array, y: Array) -> Array:
    p = z / z.sum(axis=1, keepdims=True)
    p = np.where(p.real < 1e-7, 1e-7, np.where(p.real > 1 - 1e-7, 1 - 1e-7, p))
    return -(y * np.log(p)).sum(axis=1)


def _shifted(by: int) -> Callable[[Array, Array], Array]:
    return lambda z, y: wrong.cross_entropy(z, np.roll(y, by, axis=1))


FAULTS: dict[str, tuple[Loss, str, str]] = {
    "sum": (wrong.sum_of(wrong.cross_entropy), "loss_sum", ""),
    "softmax twice": (wrong.mean_of(_twice), "softmax_twice", ""),
    "softmax twice, summed": (wrong.sum_of(_twice), "softmax_twice", "summed"),
    "no log-softmax": (wrong.mean_of(lambda z, y: -(y * z).sum(axis=1)), "log_softmax_missing", ""),
    "logits as probabilities": (wrong.mean_of(_clip_logits), "logits_as_probabilities", ""),
    "squares": (wrong.mean_of(_square), "mean_squared_error", ""),
    "squares of logits": (
        wrong.mean_of(lambda z, y: ((z - y) ** 2).mean(axis=1)),
        "mean_squared_error_of_logits",
        "",
    ),
    "binary": (wrong.mean_of(wrong.binary), "binary_crossentropy", ""),
    "labels up": (wrong.mean_of(_shifted(1)), "labels_shifted", "too high"),
    "labels down": (wrong.mean_of(_shifted(-1)), "labels_shifted", "too low"),
    "over the batch": (wrong.over_the_batch, "softmax_over_batch", ""),
    "smoothed": (wrong.mean_of(wrong.smoothed(0.1)), "label_smoothing", "0.1"),
    "smoothed a little": (wrong.mean_of(wrong.smoothed(0.003)), "label_smoothing", "0.003"),
    "half": (wrong.times(wrong.cross_entropy, lambda n: 0.5 / n), "loss_scaled", "0.5 times"),
    "by classes": (
        wrong.times(wrong.cross_entropy, lambda n: 0.1 / n),
        "loss_scaled",
        "0.1 times the mean over 32 rows",
    ),
}


def first_of(**links: Any) -> Break:
    return only_break(SPEC, **links)


@pytest.mark.parametrize("name", FAULTS)
def test_another_loss_is_named(name: str) -> None:
    loss, cause, value = FAULTS[name]
    found = first_of(loss=loss)
    assert told(found) == (cause, "loss", 1, None, "loss")
    assert value in (found.cause.value or "")


def test_the_sum_is_told_from_a_constant_factor_by_the_last_batch() -> None:
    """32 times the mean in every batch, also in the one of 21 rows."""
    found = first_of(loss=wrong.times(wrong.cross_entropy, lambda n: 32 / n))
    assert told(found) == ("loss_scaled", "loss", 1, None, "loss")
    assert found.cause.value == "32 times the mean over 32 rows"


@pytest.mark.parametrize("divide_by_sum", [False, True])
def test_class_weights(divide_by_sum: bool) -> None:
    """Keras divides by the batch size, torch by the sum of the weights."""
    weights = np.array([1, 2, 1, 1, 0.5, 3, 1, 1, 1, 1.5])
    spec = spec_of(batch_size=64)  # every class is in the first batch
    side = NumpySide(spec, loss=wrong.by_class(weights, divide_by_sum=divide_by_sum))
    (found,) = look_at(side, spec).breaks
    assert told(found) == ("class_weights", "loss", 1, None, "loss")
    how = "divided by their sum" if divide_by_sum else "divided by the batch size"
    expected = weights / weights.min() if divide_by_sum else weights
    told_as = ", ".join(f"{value:g}" for value in expected)
    assert found.cause.value == f"{told_as} ({how})"


# --- Penalties ------------------------------------------------------------------------------------


def penalty(
    factor: float, part: str, *, absolute: bool = False
) -> Callable[[Tensors], tuple[float, Tensors]]:
    """`factor * sum |w|` or `factor * sum w^2` over tensors whose name ends with a text."""

    def of(weights: Tensors) -> tuple[float, Tensors]:
        chosen = {name: w.astype(float) for name, w in weights.items() if name.endswith(part)}
        slopes = {
            name: factor * (np.sign(w) if absolute else 2 * w)
            if name in chosen
            else np.zeros_like(w)
            for name, w in weights.items()
        }
        sizes = (np.abs(w) if absolute else w * w for w in chosen.values())
        return factor * sum(float(size.sum()) for size in sizes), slopes

    return of


@pytest.mark.parametrize(
    ("factor", "part", "absolute", "cause", "value"),
    [
        (1e-2, "kernel", False, "l2_in_loss", "0.01 on kernels"),
        (1e-3, "kernel", False, "l2_in_loss", "0.001 on kernels"),
        (1e-4, "kernel", False, "l2_in_loss", "0.0001 on kernels"),
        (1e-3, "", False, "l2_in_loss", "0.001 on all tensors"),
        (1e-2, "0.kernel", False, "l2_in_loss", "0.01 on kernel of layer 0"),
        (1e-2, "2.kernel", False, "l2_in_loss", "0.01 on kernel of layer 2"),
        (1e-3, "kernel", True, "l1_in_loss", "0.001 on kernels"),
        (1e-3, "1.kernel", True, "l1_in_loss", "0.001 on kernel of layer 1"),
    ],
)
def test_a_penalty_in_the_loss(
    factor: float, part: str, absolute: bool, cause: str, value: str
) -> None:
    found = first_of(penalty=penalty(factor, part, absolute=absolute))
    assert told(found) == (cause, "loss", 1, None, "loss")
    assert found.cause.value == value


# --- What shows on the stress batch alone ---------------------------------------------------------


def test_clipped_probabilities_show_on_the_stress_batch_alone() -> None:
    found = first_of(loss=wrong.mean_of(wrong.clipped_at(1e-7)))
    assert told(found) == ("probability_clip", "loss", None, None, "loss")
    assert (found.batch, found.epoch) == ("stress", None)


def test_another_clip_on_the_stress_batch_is_not_called_that_one() -> None:
    found = look_at(NumpySide(SPEC, loss=wrong.mean_of(wrong.clipped_at(1e-5))), SPEC).breaks
    assert told(found[0]) == ("unknown", "loss", None, None, "loss")
    assert {item.batch for item in found} == {"stress"}


# --- What has no hypothesis -----------------------------------------------------------------------


def _focal(z: Array, y: Array) -> Array:
    p = (wrong.probabilities(z) * y).sum(axis=1)
    return -((1 - p) ** 2) * np.log(p)


def _hinge(z: Array, y: Array) -> Array:
    margin = 1 + z - (z * y).sum(axis=1, keepdims=True)
    return (np.where(margin.real > 0, margin, 0) * (1 - y)).sum(axis=1)


def _largest_rows(z: Array, y: Array) -> Array:
    """The 16 worst rows alone."""
    losses = wrong.cross_entropy(z, y)
    return np.where(losses.real >= np.sort(losses.real)[-16], losses, 0)


def _cooler(z: Array, y: Array) -> Array:
    return wrong.cross_entropy(0.9 * z, y)


def _poly(z: Array, y: Array) -> Array:
    return wrong.cross_entropy(z, y) + 1 - (wrong.probabilities(z) * y).sum(axis=1)


NAMELESS = {
    "focal": _focal,
    "hinge": _hinge,
    "hardest half": _largest_rows,
    "temperature": _cooler,
    "poly": _poly,
}


@pytest.mark.parametrize("name", NAMELESS)
def test_what_has_no_hypothesis_stays_unknown(name: str) -> None:
    found = look_at(NumpySide(SPEC, loss=wrong.mean_of(NAMELESS[name])), SPEC).breaks
    assert told(found[0]) == ("unknown", "loss", 1, None, "loss")
    assert {item.cause.name for item in found} == {"unknown"}
    assert {item.rung for item in found} <= {"loss", "gradient"}
