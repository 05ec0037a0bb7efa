"""Faults that leave the first two epochs alone, or that float32 hardly shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished_runs import compared, trained

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.mark.parametrize("swapped", [False, True])
def test_another_order_from_the_third_epoch_on(swapped: bool, runs: Path) -> None:
    """Its predictions differ, so the proof in float64 is made, and fails, for the right side."""
    pair = [trained("numpy", runs), trained("trees:Holly", runs)]
    outcome = compared(*(pair[::-1] if swapped else pair))
    assert (outcome.verdict, outcome.exit_code) == ("different", 1)
    assert outcome.proof.status == "failed"
    first = outcome.first_break
    assert first is not None
    assert (first.rung, first.side) == ("trajectory", "a" if swapped else "b")
    assert first.cause.name == "unknown"


def test_a_longer_third_epoch_is_shown_by_the_proof(runs: Path) -> None:
    """A ten-thousandth: no prediction differs, but the weights are too far apart for rounding."""
    pair = trained("numpy", runs), trained("trees:Spruce", runs)
    outcome = compared(*pair)
    assert outcome.predictions.different == 0
    assert (outcome.verdict, outcome.proof.status) == ("different", "failed")
    first = outcome.first_break
    assert first is not None
    assert (first.rung, first.side, first.cause.name) == ("trajectory", "b", "unknown")


def test_float64_under_a_float32_specification(runs: Path) -> None:
    """Every stage is rounded at its end, but the logits that are told are not."""
    found = compared(trained("numpy", runs), trained("shrubs:Privet", runs)).first_break
    assert found is not None
    assert (found.rung, found.step, found.side) == ("forward", 1, "b")
    assert found.cause.name == "float64_arithmetic"
