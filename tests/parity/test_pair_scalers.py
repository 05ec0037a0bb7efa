"""Features that are standardised by the statistics of other rows than the original's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mnist_mlp.parity.check.pair_brought import Brought, Pair
from mnist_mlp.parity.check.pair_data import against_original
from mnist_mlp.parity.check.pair_scalers import scaler_cause
from mnist_mlp.parity.findings import Break
from mnist_mlp.ports.protocol import OwnData, PortFacts
from mnist_mlp.ports.rows import RowTable, read_pass
from mnist_mlp.reference import Array

DRAW = np.random.default_rng(5)
TABLE = DRAW.normal(size=(200, 7)) * DRAW.uniform(0.1, 90, 7) + DRAW.uniform(-50, 50, 7)
LABELS = DRAW.integers(0, 3, 200)
TRAIN, TEST = np.arange(150), np.arange(150, 200)
OTHERS = np.append(np.arange(20, 150), np.arange(150, 170))

Scale = Callable[[Array], Array]


def standard(rows: Array) -> Scale:
    mean, deviation = TABLE[rows].mean(axis=0), TABLE[rows].std(axis=0)
    return lambda x: (x - mean) / deviation


def by_sample_deviation(rows: Array) -> Scale:
    """As by pandas, whose `std` divides by n - 1."""
    mean, deviation = TABLE[rows].mean(axis=0), TABLE[rows].std(axis=0, ddof=1)
    return lambda x: (x - mean) / deviation


def between_0_and_1(rows: Array) -> Scale:
    low, high = TABLE[rows].min(axis=0), TABLE[rows].max(axis=0)
    return lambda x: (x - low) / (high - low)


def brought(scale: Scale, train: Array = TRAIN, test: Array | None = TEST, *, seed: int) -> OwnData:
    """Three epochs, shuffled, as float32."""
    table, draw = RowTable(), np.random.default_rng(seed)
    x = scale(TABLE).astype(np.float32)

    def one(rows: Array) -> Any:
        batches = np.split(rows, range(32, len(rows), 32))
        return read_pass([(x[batch], LABELS[batch], None) for batch in batches], table)

    epochs = tuple(one(draw.permutation(train)) for _ in range(3))
    validation = None if test is None else one(test)
    return OwnData(table.rows(), (7,), epochs, validation, shuffle=True)


def breaks(original: OwnData, port: OwnData) -> list[Break]:
    facts: Any = {"layers": (), "draws": (), "optimizer": {}}
    sides = [
        Brought(PortFacts(framework=framework, own=own, **facts), None)
        for framework, own in (("keras", original), ("torch", port))
    ]
    plan: Any = SimpleNamespace(
        spec=SimpleNamespace(training=SimpleNamespace(batch_size=32, epochs=3))
    )
    dataset: Any = SimpleNamespace(images=np.zeros((1, 2, 2)))
    return against_original(sides[0], sides[1], plan, dataset).breaks


ALL = np.append(TRAIN, TEST)
TOGETHER = "the training and validation rows together"


@pytest.mark.parametrize("scaler", [standard, by_sample_deviation, between_0_and_1])
@pytest.mark.parametrize(
    ("original", "port", "words"),
    [
        (TRAIN, ALL, f"{TOGETHER}, the original's of the training rows"),
        (ALL, TRAIN, f"the training rows, the original's of {TOGETHER}"),
        (TRAIN, TEST, "the validation rows, the original's of the training rows"),
    ],
    ids=["leaks", "the original leaks", "fitted on the test"],
)
def test_other_rows_are_named(
    scaler: Callable[[Array], Scale], original: Array, port: Array, words: str
) -> None:
    found = breaks(brought(scaler(original), seed=1), brought(scaler(port), seed=2))
    in_training = [item for item in found if item.place.step == 1]
    assert [item.cause.name for item in in_training] == ["scaler_fitted_on_other_rows"]
    assert words in str(in_training[0].cause.value)


def test_a_port_without_validation_rows_leaks_as_well() -> None:
    """They are in its table no more, but in the original's."""
    port = brought(standard(ALL), test=None, seed=2)
    (found,) = breaks(brought(standard(TRAIN), seed=1), port)
    assert found.cause.name == "scaler_fitted_on_other_rows"
    assert found.cause.fix == "fit the scaler on the training rows"


def test_another_split_brings_another_scaler() -> None:
    port = brought(standard(OTHERS), train=OTHERS, test=None, seed=2)
    found = {item.cause.name: item.cause for item in breaks(brought(standard(TRAIN), seed=1), port)}
    assert found.keys() == {"other_split", "scaler_fitted_on_other_rows"}
    assert "mended with the split" in found["scaler_fitted_on_other_rows"].fix


SCALERS = {
    "mean and deviation": standard,
    "mean and sample deviation (by n - 1)": by_sample_deviation,
    "minimum and maximum": between_0_and_1,
}


@pytest.mark.parametrize(("original", "port"), [*permutations(SCALERS, 2)])
def test_another_scaler_of_the_same_rows_is_named(original: str, port: str) -> None:
    a, b = (brought(SCALERS[name](TRAIN), seed=k) for k, name in enumerate((original, port)))
    found = {item.cause for item in breaks(a, b)}
    assert {cause.name for cause in found} == {"other_scaler"}
    words = f"{port} of the training rows, the original's {original}"
    assert all(words in str(cause.value) for cause in found)


def test_other_rows_and_another_scaler_are_told_together() -> None:
    a, b = brought(standard(TRAIN), seed=1), brought(by_sample_deviation(ALL), seed=2)
    found = breaks(a, b)[0].cause
    assert found.name == "scaler_fitted_on_other_rows"
    assert f"n - 1) of {TOGETHER}, the original's mean and deviation of the training rows" in str(
        found.value
    )
    assert "correction=0" in found.fix


@pytest.mark.parametrize(
    "port",
    [standard(np.arange(60)), lambda x: x / TABLE.std(axis=0)],
    ids=["of other rows", "without the mean"],
)
def test_what_no_set_of_rows_explains_has_the_plain_name(port: Scale) -> None:
    found = breaks(brought(standard(TRAIN), seed=1), brought(port, seed=2))
    assert {item.cause.name for item in found} == {"pixels_scaled_otherwise"}


@pytest.mark.parametrize("rows", [TRAIN, ALL])
def test_the_same_scaler_is_no_difference(rows: Array) -> None:
    assert breaks(brought(standard(rows), seed=1), brought(standard(rows), seed=2)) == []


def test_an_original_that_scales_nothing_is_not_said_to() -> None:
    """Its port standardises then, which is another thing than other rows."""
    original, port = brought(lambda x: x, seed=1), brought(standard(TRAIN), seed=2)
    pair = Pair(original, port, Brought(cast(Any, None), None), Brought(cast(Any, None), None),
                cast(Any, None), lenient=False)  # fmt: skip
    known = np.arange(40)
    theirs, ours = (
        own.rows.take(ids) for own, ids in ((original, pair.places[known]), (port, known))
    )
    assert scaler_cause(ours, theirs, pair, "in the loader") is None
