"""Whose scale is judged, where a port's data and its model may both scale the inputs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mnist_mlp.data import Dataset
from mnist_mlp.parity.check import pair_own_data
from mnist_mlp.parity.check.own_data import DataVerdict
from mnist_mlp.parity.check.pair_rows import moved_rows
from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import Break, Cause, Place
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.spec import parse_spec

OF_DATA = Break(side="b", rung="data", place=Place(), cause=Cause("pixels_not_scaled", "own data"))
OF_MODEL = Break(side="b", rung="data", place=Place(1, 1, 0, "inputs"), cause=Cause("unknown"))


def judged(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset, *, own_rows: bool, model: bool
) -> PairEvidence:
    """What is left of a port whose data are grey values, and whose model may scale them itself."""
    monkeypatch.setattr(pair_own_data, "against_original", lambda *_: DataVerdict(breaks=[OF_DATA]))
    side = cast(Any, SimpleNamespace(target=SimpleNamespace(framework="torch")))
    fed = cast(Any, SimpleNamespace(source="the data set", own_rows=own_rows))
    seen = PairEvidence(judged=True)
    seen.breaks = [OF_MODEL] if model else []
    spec = parse_spec({"model": {"layer_sizes": [30, 9, 4]}})
    brought = [PairBrought(None), PairBrought(None)]
    pair_own_data.look_at_own_data(seen, side, side, brought, fed, plan_of=(spec, dataset))
    return seen


@pytest.mark.parametrize(
    ("own_rows", "model", "left"),
    [
        # It was given its own rows, and its network saw what the original's did.
        (True, False, []),
        # It was given the original's rows, and its own are on another scale.
        (False, False, ["pixels_not_scaled"]),
        # It was given its own rows, and its network saw others: the data say which.
        (True, True, ["pixels_not_scaled"]),
    ],
)
def test_whose_scale_is_judged(
    monkeypatch: pytest.MonkeyPatch,
    small_data: Dataset,
    own_rows: bool,
    model: bool,
    left: list[str],
) -> None:
    seen = judged(monkeypatch, small_data, own_rows=own_rows, model=model)
    assert [item.cause.name for item in seen.breaks] == left
    assert not seen.not_judged


def test_a_model_may_make_up_for_its_data(
    monkeypatch: pytest.MonkeyPatch, small_data: Dataset
) -> None:
    """Grey values into a model that scales them: nobody saw the two together."""
    seen = judged(monkeypatch, small_data, own_rows=False, model=True)
    assert not seen.breaks
    (open_question,) = seen.not_judged
    assert "how the port scales its inputs" in open_question


# --- Rows that are moved to what the port gets ----------------------------------------------------

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(40, 5), (40, 4, 4, 2)], ids=["features", "images"])
def test_rows_are_moved_through_a_scale_of_the_model(shape: tuple[int, ...]) -> None:
    x = RNG.normal(size=shape)
    scale, mean = RNG.uniform(0.5, 2, shape[1:]), RNG.normal(size=shape[1:])
    wanted = (x - mean) / (scale * (1 + 1e-7))
    moved = moved_rows(x, (x - mean) / scale, wanted)
    assert moved is not None
    np.testing.assert_allclose((moved - mean) / scale, wanted, rtol=0, atol=1e-13)
    assert np.abs(moved - x).max() < 1e-5


def test_a_feature_that_never_changes_may_stay() -> None:
    x = RNG.normal(size=(20, 3))
    x[:, 1] = 4
    made = 2 * x
    moved = moved_rows(x, made, made * (1 + 1e-7 * np.array([1, 0, 1])))
    assert moved is not None
    np.testing.assert_array_equal(moved[:, 1], 4)
    assert moved_rows(x, made, made * (1 + 1e-7)) is None, "no row of its can be moved"


def test_a_model_that_does_more_than_scale() -> None:
    x = RNG.normal(size=(20, 3))
    assert moved_rows(x, np.tanh(x), np.tanh(x) + 1e-7) is None
