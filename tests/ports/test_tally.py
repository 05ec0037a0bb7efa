"""The mean losses of a loop's epochs."""

from __future__ import annotations

from typing import Any

import pytest

from mnist_mlp.ports.pair_rows import WholeRun
from mnist_mlp.ports.script import Caught
from mnist_mlp.ports.tally import Tally


class FakeCatch:
    """A script's end."""

    found: Any = None
    on_left: Any = None

    def end(self) -> None:
        raise Caught


def counted(run: WholeRun, steps: int) -> tuple[list[float], Tally, Any]:
    told: list[float] = []
    tally, catch = Tally(run, lambda numbers: told.append(numbers["loss"])), FakeCatch()
    tally.begin(catch)  # type: ignore[arg-type]
    for number in range(steps):
        tally.rows((4 if number % 2 else 8, 3))
        tally.loss(float(number))
        tally.loss(100.0)  # of a second backward pass
        tally.step()
    return told, tally, catch


def test_losses_are_weighted_by_rows_and_told_after_each_epoch() -> None:
    told, _, _ = counted(WholeRun(None, 2), 5)  # the fifth step is in no whole epoch
    assert told == pytest.approx([4 / 12, (2 * 8 + 3 * 4) / 12])


def test_a_loop_ends_after_its_epochs_or_when_it_is_left() -> None:
    with pytest.raises(Caught):
        counted(WholeRun(2, 2), 5)
    _, _, before = counted(WholeRun(2, 2), 0)
    before.on_left()  # a loop before the training
    _, tally, catch = counted(WholeRun(None, 2), 3)
    with pytest.raises(Caught):
        catch.on_left()
    assert catch.found is tally


def test_an_update_without_a_backward_pass_is_none() -> None:
    told, tally, _ = counted(WholeRun(None, 1), 1)
    tally.loss(5.0)  # of another model
    tally.step()
    assert (told, tally.steps) == ([0.0], 1)
