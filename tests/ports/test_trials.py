"""Several models of one file: their initial weights, and the rows that they take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from mnist_mlp.errors import UserCodeError
from mnist_mlp.ports.pair import Forced, Mend, PairFacts, PairJob
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.trials import distinct_draws, first_that_runs, mends_of_layers
from mnist_mlp.reference import Tensors

Draw = Callable[[int], Tensors]
ROWS = PairRows(np.zeros((4, 2)), np.zeros(4), 2)


def drawing(values: Callable[[int], float], *, shape: tuple[int, ...] = (30, 40)) -> Draw:
    return lambda seed: {"0/kernel": np.full(shape, values(seed)), "0/bias": np.zeros(3)}


def test_a_model_that_seeds_itself_is_drawn_once() -> None:
    assert len(distinct_draws(drawing(lambda _: 1), seconds=60)) == 1
    assert len(distinct_draws(drawing(lambda seed: min(seed, 2)), seconds=60)) == 3


def test_small_kernels_are_drawn_more_often() -> None:
    assert len(distinct_draws(drawing(float), seconds=60)) == 24
    assert len(distinct_draws(drawing(float, shape=(5, 4)), seconds=60)) == 50
    assert len(distinct_draws(drawing(float, shape=(3, 1)), seconds=60)) == 120
    assert len(distinct_draws(drawing(float, shape=(3,)), seconds=60)) == 24  # no kernel


def test_draws_end_with_the_time() -> None:
    assert len(distinct_draws(drawing(float), seconds=0)) == 1


def test_waiting_for_a_busy_machine_costs_no_draws() -> None:
    def slow(seed: int) -> float:
        time.sleep(0.1)
        return min(seed, 3)

    assert len(distinct_draws(drawing(slow), seconds=0.25)) == 4


def test_the_first_rows_that_a_model_takes() -> None:
    tried = []

    def look(rows: PairRows, number: int) -> PairFacts:
        tried.append(number)
        if number < taken:
            raise UserCodeError(f"form {number}")
        return cast(Any, (rows, number))

    taken = 1
    assert first_that_runs([ROWS] * 3, look) == (ROWS, 1)
    assert tried == [0, 1]
    taken = 3
    with pytest.raises(UserCodeError, match="form 0"):
        first_that_runs([ROWS] * 3, look)


def test_what_is_forced_and_changed() -> None:
    mends = (Mend(None, "momentum", 0.9), Mend(3, "rate", 0.5), Mend(3, "skip"), Mend(1, "skip"))
    job = PairJob(ROWS, 1, forced=(Forced({"0/bias": np.ones(2)}, {}),), mends=mends)
    assert mends_of_layers(mends) == {3: [mends[1], mends[2]], 1: [mends[3]]}
    assert job.optimizer_mends == [mends[0]]
    assert job.forced_at(0) is job.forced[0]
    assert not job.forced_at(1).weights
