"""Backends that train something else, from training to verdict: where they part, and why.

Each is trained and compared with the NumPy reference as any two backends are; nothing tells the
checker which it is.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from finished_runs import SPEC, compared, trained
from small_problems import spec_of

from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.spec import Spec

pytestmark = pytest.mark.usefixtures("in_process")

Place = tuple[str, int | None, int | None]

FOUND: dict[str, tuple[Place, str, str]] = {
    # Rung, epoch and step; cause; what its value holds.
    "Alder": (("init", 0, 0), "torch_default_kernel_init", ""),
    "Birch": (("init", 0, 0), "torch_default_bias_init", ""),
    "Cedar": (("init", 0, 0), "kernel_reshaped", "every layer"),
    "Chestnut": (("order", 2, 11), "order_not_reshuffled", "epoch 2 repeats epoch 1"),
    "Elm": (("order", 1, 10), "last_batch_dropped", "21 rows"),
    "Hazel": (("order", 1, 1), "order_shifted", "epoch 1 has the order of epoch 2"),
    "Juniper": (("loss", 1, 1), "loss_sum", ""),
    "Larch": (("gradient", 1, 2), "gradients_not_cleared", ""),
    "Linden": (("update", 1, 2), "undeclared_momentum", "0.9"),
    "Maple": (("update", 1, 1), "weight_decay", "0.0001 on "),
    "Oak": (("update", 2, 18), "undeclared_schedule", "0.303 instead of 0.3 from step 18"),
    "Poplar": (("trajectory", 1, None), "learning_rate", "in fit"),
    "Rowan": (("trajectory", 1, None), "unknown", "though every judged step is clean"),
    "Walnut": (("metrics", 1, None), "unweighted_epoch_mean", ""),
    "Willow": (("metrics", 1, None), "last_step_logged", ""),
    "Yew": (("metrics", 1, None), "macro_accuracy", ""),
}


@cache
def outcome_of(name: str, runs: Path, *, swapped: bool = False, spec: Spec = SPEC) -> Outcome:
    pair = (trained("numpy", runs, spec), trained(f"trees:{name}", runs, spec))
    return compared(*(pair[::-1] if swapped else pair))


@pytest.mark.parametrize("name", FOUND)
def test_first_break(name: str, runs: Path) -> None:
    place, cause, value = FOUND[name]
    outcome = outcome_of(name, runs)
    assert (outcome.verdict, outcome.exit_code) == ("different", 1)
    first = outcome.first_break
    assert first is not None
    assert (first.rung, first.epoch, first.step) == place
    assert (first.side, first.cause.name) == ("b", cause)
    assert value in (first.cause.value or "")
    assert {item.side for item in outcome.breaks} == {"b"}
    json.dumps(outcome.document(), allow_nan=False)


@pytest.mark.parametrize("name", ["Juniper", "Elm", "Yew"])
def test_the_other_side(name: str, runs: Path) -> None:
    first = outcome_of(name, runs, swapped=True).first_break
    assert first is not None
    assert (first.side, first.cause.name) == ("a", FOUND[name][1])


@pytest.mark.parametrize("name", [name for name in FOUND if name != "Cedar"])
def test_nothing_else_is_told(name: str, runs: Path) -> None:
    """One fault is one break: what it entails is not told again."""
    outcome = outcome_of(name, runs)
    assert [item.cause.name for item in outcome.breaks] == [FOUND[name][1]]


def test_kernels_filled_one_way_and_read_another(runs: Path) -> None:
    """Two faults: the second has no name, and does not get one."""
    outcome = outcome_of("Cedar", runs)
    assert [item.cause.name for item in outcome.breaks] == ["kernel_reshaped", "unknown"]


def test_an_order_that_no_hypothesis_has(runs: Path) -> None:
    """In `fit` from epoch 2 on: the epoch is right, and no wrong name is given."""
    first = outcome_of("Cypress", runs).first_break
    assert first is not None
    assert (first.epoch, first.cause.name) == (2, "unknown")
    assert first.rung in ("order", "trajectory")


def test_a_smaller_batch_that_moves_nothing(runs: Path) -> None:
    """Dropped in `step` too: found at the last step of the first epoch."""
    outcome = outcome_of("Fir", runs)
    first = outcome.first_break
    assert first is not None
    assert (first.epoch, first.step) == (1, 10)
    assert first.cause.name in ("last_batch_dropped", "unknown")


def test_what_does_not_repeat_itself_is_nobody_s_fault(runs: Path) -> None:
    outcome = outcome_of("Teak", runs)
    assert (outcome.verdict, outcome.exit_code) == ("inconclusive", 6)
    assert "does not repeat itself" in outcome.text
    assert outcome.breaks == ()
    status = {rung.name: rung.status for rung in outcome.rungs}
    assert status["trajectory"] == "not_exercised"


@pytest.mark.parametrize("name", ["Linden", "Maple", "Poplar", "Chestnut", "Elm"])
def test_with_relu_and_a_high_learning_rate(name: str, runs: Path) -> None:
    """A network in which roundings grow: judged as sharply."""
    spec = spec_of("relu", learning_rate=0.3, epochs=4)
    first = outcome_of(name, runs, spec=spec).first_break
    assert first is not None
    assert (first.side, first.cause.name) == ("b", FOUND[name][1])
