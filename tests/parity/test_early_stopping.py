"""Runs that stopped early are compared by the epochs that they made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finished_runs import compared, copied, trained
from small_problems import spec_of

from mnist_mlp.run.folder import Run
from mnist_mlp.run.history import HISTORY_COLUMNS

pytestmark = pytest.mark.usefixtures("in_process")


def patient(**training: Any) -> Any:
    """Stops after a few of 60 epochs."""
    spec = spec_of("sigmoid", learning_rate=0.3)
    changed = spec.training.model_copy(
        update={"epochs": 60, "patience": 2, "min_delta": 0.02} | training
    )
    return spec.model_copy(update={"training": changed})


def test_they_are_identical(runs: Path, tmp_path: Path) -> None:
    a, b = (trained(name, runs, patient()) for name in ("numpy", "stranger"))
    made = len(a.history)
    assert 3 <= made == len(b.history) < 60
    outcome = compared(a, b)
    assert outcome.verdict in ("identical", "equivalent"), outcome.text
    by_name = {rung.name: rung for rung in outcome.rungs}
    assert by_name["order"].compared == made * len(a.order["train_ids"])


def test_a_run_that_stopped_elsewhere_than_its_losses_say(runs: Path, tmp_path: Path) -> None:
    """A planted fault: the losses say that it should have gone on."""
    a = trained("numpy", runs, patient())
    folder = copied(a, tmp_path / "altered")
    lines = (folder / "history.csv").read_text().splitlines()
    cells = lines[-1].split(",")
    cells[HISTORY_COLUMNS.index("val_loss")] = "0.001"
    (folder / "history.csv").write_text("\n".join([*lines[:-1], ",".join(cells)]) + "\n")
    outcome = compared(a, Run(folder))
    assert outcome.verdict == "different"
    found = next(item for item in outcome.breaks if item.rung == "trajectory")
    assert found.side == "b"
    assert "by its validation losses, it had to be 60" in str(found.cause)


def test_ends_that_roundings_decide_are_inconclusive(runs: Path, tmp_path: Path) -> None:
    """As if the losses of b were just below where those of a are just above."""
    from mnist_mlp.parity.compare.ladder import Ladder
    from mnist_mlp.parity.compare.runs import _look_at_ends

    a = trained("numpy", runs, patient())
    b = trained("numpy", runs, patient(min_delta=0.01))
    assert len(b.history) > len(a.history)
    ladder = Ladder(runs={"a": a, "b": b})
    _look_at_ends(ladder)
    assert not ladder.breaks
    (reason,) = ladder.inconclusive
    assert reason.startswith(f"a stopped after epoch {len(a.history)} and b after epoch")
