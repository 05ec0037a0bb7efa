"""Runs that stopped early are compared by the epochs that they made. Of ports, it is not judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from finished_runs import compared, copied, trained
from numpy_side import NumpySide
from small_problems import made_up, problem, spec_of

from mnist_mlp.parity.check.side import PortEvidence, setting
from mnist_mlp.parity.check.steps import look_at_steps
from mnist_mlp.parity.check.verdict import port_outcome
from mnist_mlp.parity.findings import Break
from mnist_mlp.ports.protocol import PortEpoch, PortFacts, PortJob, PortStep
from mnist_mlp.run.folder import Run
from mnist_mlp.run.history import HISTORY_COLUMNS
from mnist_mlp.spec import Spec

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


# --- Ports ----------------------------------------------------------------------------------------


class Stopping:
    """A faithful port whose run ends after some epochs."""

    def __init__(self, epochs: int, batches: int = 10) -> None:
        self.epochs, self.batches = epochs, batches

    def fit_port(self, job: PortJob, *, on_step: Any, on_epoch: Any) -> None:
        given = problem(job.plan.spec)
        for step in given.steps(NumpySide(job.plan.spec)):
            if step.epoch <= self.epochs:
                on_step(PortStep(None if step.stress else step.step, step.record))
        none = np.zeros(0)
        for number in range(1, self.epochs + 1):
            on_epoch(PortEpoch(number, {}, *[none] * 5, self.batches, *[none] * 5))


def checked(spec: Spec, port: Stopping) -> tuple[list[Break], tuple[str, ...]]:
    """The breaks of the run as a whole, and what `check` lists as not exercised."""
    given = setting(spec, made_up())
    ran, explained, whole = look_at_steps(cast(Any, port), given, "b")
    assert explained.breaks == ()
    facts = PortFacts(framework="torch", layers=(), draws=(), optimizer={})
    seen = PortEvidence(label="port", framework="torch", facts=facts)
    seen.steps, seen.epochs = ran.steps, ran.epochs
    return whole, port_outcome(None, seen, given, spec).not_exercised


def test_a_port_may_end_early_where_early_stopping_is_asked_for() -> None:
    spec = patient(epochs=3)
    text = "early stopping (training.patience=2): after which epoch the port has to stop"
    whole, untold = checked(spec, Stopping(2))
    assert whole == []
    assert f"{text}; it stopped after epoch 2 of 3" in untold
    whole, untold = checked(spec, Stopping(3))
    assert (whole, text in untold) == ([], True)


def test_without_it_such_a_port_has_too_few_epochs() -> None:
    whole, untold = checked(patient(epochs=3, patience=0), Stopping(2))
    assert [(item.cause.name, item.epoch, item.step) for item in whole] == [
        ("epochs_missing", 3, 21)
    ]
    assert not any("early stopping" in text for text in untold)


@pytest.mark.parametrize("port", [Stopping(0), Stopping(2, batches=9)])
def test_early_stopping_explains_only_whole_epochs(port: Stopping) -> None:
    (found,), _ = checked(patient(epochs=3), port)
    assert found.cause.name == ("steps_missing" if port.epochs else "epochs_missing")
