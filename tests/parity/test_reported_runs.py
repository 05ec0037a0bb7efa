"""Runs that the comparing process has trained itself: judged by what their backends reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_runs import SPEC, compared
from small_problems import made_up

from mnist_mlp.contract import EpochRecord
from mnist_mlp.parity.compare import side as judging
from mnist_mlp.parity.compare.replay import fitted
from mnist_mlp.parity.findings import Side
from mnist_mlp.run.folder import Run
from mnist_mlp.training import Observer, train

pytestmark = pytest.mark.usefixtures("in_process")

Reported = dict[Side, list[EpochRecord]]


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The classes of the backends that are trained again, in lower case."""
    seen: list[str] = []

    def noted(worker: Any, *given: Any) -> list[EpochRecord]:
        seen.append(worker.label)
        return fitted(worker, *given)

    monkeypatch.setattr(judging, "fitted", noted)
    return seen


def trained_here(folder: Path, a: str, b: str) -> tuple[Run, Run, Reported]:
    reported: Reported = {"a": [], "b": []}
    runs = [
        train(
            SPEC,
            backend=backend,
            dataset=made_up(),
            out=folder / side,
            observer=Observer(reported=epochs.append),
        )
        for (side, epochs), backend in zip(reported.items(), (a, b), strict=True)
    ]
    return runs[0], runs[1], reported


def moved(record: EpochRecord, by: float) -> EpochRecord:
    """Another weight than the backend's."""
    kernel = record.weights["layers.0.kernel"].copy()
    kernel[3, 2] += np.float32(by)
    return replace(record, weights={**record.weights, "layers.0.kernel": kernel})


def test_equal_predictions_need_no_second_training(tmp_path: Path, replays: list[str]) -> None:
    a, b, reported = trained_here(tmp_path, "numpy", "stranger")
    outcome = compared(a, b, reported=reported)
    assert (outcome.verdict, replays) == ("identical", [])
    trajectory = next(rung for rung in outcome.rungs if rung.name == "trajectory")
    assert trajectory.margin is not None
    again = compared(a, b)
    assert (again.verdict, sorted(replays)) == ("identical", ["numpybackend", "strangerbackend"])
    assert [rung.status for rung in again.rungs] == [rung.status for rung in outcome.rungs]


def test_only_what_was_not_seen_is_trained_again(tmp_path: Path, replays: list[str]) -> None:
    a, b, reported = trained_here(tmp_path, "numpy", "stranger")
    assert compared(a, b, reported={"b": reported["b"]}).verdict == "identical"
    assert replays == ["numpybackend"]


def test_differing_predictions_are_trained_again(tmp_path: Path, replays: list[str]) -> None:
    """A side that does not repeat itself would otherwise be blamed for a fault that it has not."""
    a, b, reported = trained_here(tmp_path, "numpy", "trees:Holly")
    outcome = compared(a, b, reported=reported)
    assert outcome.predictions.different > 0
    assert {"numpybackend", "holly"} <= set(replays)
    assert outcome.verdict == "different"


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_wrong_weight_that_was_reported_is_found(
    epoch: int, tmp_path: Path, replays: list[str]
) -> None:
    a, b, reported = trained_here(tmp_path, "numpy", "stranger")
    reported["b"][epoch - 1] = moved(reported["b"][epoch - 1], 1e-2)
    found = compared(a, b, reported=reported).first_break
    assert found is not None
    assert (found.side, found.rung, found.epoch) == ("b", "trajectory", epoch)


def test_a_folder_with_other_weights_than_reported(tmp_path: Path, replays: list[str]) -> None:
    """The backend is asked again then, and agrees with the folder."""
    a, b, reported = trained_here(tmp_path, "numpy", "stranger")
    reported["b"][2] = moved(reported["b"][2], 1e-6)
    outcome = compared(a, b, reported=reported)
    assert (outcome.verdict, outcome.exit_code) == ("inconclusive", 6)
    assert "does not repeat itself" in outcome.text
    assert set(replays) == {"strangerbackend"}
