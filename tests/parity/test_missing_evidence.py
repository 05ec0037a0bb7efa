"""Comparisons with something missing: a backend, the data, a history; and folders alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finished_runs import SPEC, compared, copied, trained
from small_problems import made_up, spec_of

from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.run.folder import Run

pytestmark = pytest.mark.usefixtures("in_process")


def status(outcome: Outcome) -> dict[str, str]:
    return {rung.name: rung.status for rung in outcome.rungs}


MISSING = object()


def edited(run: Run, folder: Path, **changes: Any) -> Run:
    """A copy whose record says something else; `MISSING` takes a key away."""
    path = copied(run, folder) / "run.json"
    record = json.loads(path.read_text())
    for key, value in changes.items():
        inner = record
        *outer, last = key.split("__")
        for name in outer:
            inner = inner[name]
        inner[last] = value
        if value is MISSING:
            del inner[last]
    path.write_text(json.dumps(record))
    return Run(folder)


# --- Folders alone --------------------------------------------------------------------------------


def test_static_without_traces_is_inconclusive(runs: Path) -> None:
    outcome = compared(trained("numpy", runs), trained("stranger", runs), static=True)
    assert (outcome.verdict, outcome.exit_code) == ("inconclusive", 6)
    told = status(outcome)
    assert {told[rung] for rung in ("spec", "data", "order", "init", "report")} == {"clean"}
    for rung in ("forward", "loss", "gradient", "update", "trajectory", "metrics"):
        assert told[rung] == "not_exercised"
    assert any("no trace" in what for what in outcome.not_exercised)


def test_static_still_finds_what_the_folders_show(runs: Path) -> None:
    other = trained("numpy", runs, spec_of(seed=1, learning_rate=0.3))
    outcome = compared(trained("numpy", runs), other, static=True)
    assert (outcome.verdict, outcome.exit_code) == ("different", 1)


def test_traces_stand_in_for_backends(runs: Path) -> None:
    pair = [trained(name, runs, trace=True) for name in ("numpy", "stranger")]
    outcome = compared(*pair, static=True)
    told = status(outcome)
    for rung in ("data", "forward", "loss", "gradient", "update"):
        assert told[rung] == "clean"
    assert (told["trajectory"], told["metrics"]) == ("not_exercised", "not_exercised")
    assert (outcome.verdict, outcome.exit_code) == ("inconclusive", 6)
    assert all(rung.margin is not None for rung in outcome.rungs if rung.name == "gradient")


@pytest.mark.parametrize(
    ("name", "rung", "step", "cause"),
    [
        ("Juniper", "loss", 1, "loss_sum"),
        ("Larch", "gradient", 2, "gradients_not_cleared"),
        ("Linden", "update", 2, "undeclared_momentum"),
        ("Maple", "update", 1, "weight_decay"),
    ],
)
def test_a_traced_fault_is_found_without_its_backend(
    name: str, rung: str, step: int, cause: str, runs: Path
) -> None:
    pair = [trained(target, runs, trace=True) for target in ("numpy", f"trees:{name}")]
    outcome = compared(*pair, static=True)
    assert (outcome.verdict, outcome.exit_code) == ("different", 1)
    first = outcome.first_break
    assert first is not None
    assert (first.rung, first.step, first.side, first.cause.name) == (rung, step, "b", cause)


# --- Backends and data ----------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["shrubs:Rose", "nowhere_at_all:Backend", "shrubs:Nothing"])
def test_a_backend_that_is_not_installed(target: str, runs: Path, tmp_path: Path) -> None:
    foreign = edited(trained("numpy", runs), tmp_path / "foreign", backend__target=target)
    outcome = compared(trained("numpy", runs), foreign)
    assert (outcome.verdict, outcome.exit_code) == ("inconclusive", 6)
    assert outcome.breaks == ()
    assert "cannot be run here" in " ".join(outcome.not_exercised)


@pytest.mark.parametrize(
    "key", ["accelerator", "threads", "fit_path", "versions", "machine", "backend__target"]
)
def test_what_a_folder_does_not_record_is_said(key: str, runs: Path, tmp_path: Path) -> None:
    """`docs/run-folder.md` lets it be missing; then a replay is no proof, for nor against."""
    foreign = edited(trained("numpy", runs), tmp_path / "foreign", **{key: MISSING})
    for pair in ((trained("numpy", runs), foreign), (foreign, trained("numpy", runs))):
        outcome = compared(*pair)
        assert (outcome.verdict, outcome.breaks) == ("inconclusive", ())
        assert key.replace("__", ".") in outcome.text
        told = status(outcome)
        assert told["trajectory"] == "not_exercised"
        assert told["update"] == ("not_exercised" if key == "backend__target" else "clean")


def test_the_least_that_a_folder_may_record(runs: Path, tmp_path: Path) -> None:
    """With other predictions, so that the float64 proof and the ensemble are asked for, too."""
    keys = ("accelerator", "threads", "fit_path", "versions", "machine", "device", "flags")
    keys += ("started", "finished", "timings", "spec_sha256", "backend__target")
    keys += tuple(f"dataset__{key}" for key in ("source", "rows", "train_rows", "test_rows"))
    keys += ("dataset__train_ids_sha256", "dataset__test_ids_sha256")
    foreign = edited(trained("numpy", runs), tmp_path / "foreign", **dict.fromkeys(keys, MISSING))
    whole = trained("numpy", runs)
    assert compared(whole, foreign).verdict == "inconclusive"
    assert compared(whole, foreign, dataset=None).breaks == ()
    proven = compared(foreign, whole, always_prove=True)
    assert (proven.verdict, proven.proof.status) == ("inconclusive", "unavailable")
    assert "backend.target" in proven.proof.reason


def test_its_trace_serves_instead(runs: Path, tmp_path: Path) -> None:
    traced = trained("trees:Maple", runs, trace=True)
    foreign = edited(traced, tmp_path / "foreign", backend__target="shrubs:Rose")
    outcome = compared(trained("numpy", runs), foreign)
    assert outcome.verdict == "different"
    assert outcome.first_break is not None
    assert outcome.first_break.cause.name == "weight_decay"


def test_without_the_data(runs: Path) -> None:
    outcome = compared(trained("numpy", runs), trained("stranger", runs), dataset=None)
    assert (outcome.verdict, outcome.exit_code) == ("inconclusive", 6)
    assert "the data set is not at hand" in outcome.text
    assert status(outcome)["order"] == "not_exercised"


def test_other_data_are_told_apart_without_them(runs: Path, tmp_path: Path) -> None:
    other = edited(trained("numpy", runs), tmp_path / "other", dataset__sha256="0" * 64)
    outcome = compared(trained("numpy", runs), other, dataset=None)
    assert outcome.first_break is not None
    assert (outcome.first_break.rung, outcome.first_break.cause.name) == ("data", "other_data")


def test_another_version_is_no_replay(runs: Path, tmp_path: Path) -> None:
    """Where the environment differs, no bit-for-bit claim is made, and none is denied."""
    other = edited(trained("numpy", runs), tmp_path / "other", versions__numpy="1.0")
    outcome = compared(trained("numpy", runs), other)
    assert (outcome.verdict, outcome.exit_code) == ("inconclusive", 6)
    assert "1.0" in outcome.text
    assert status(outcome)["update"] == "clean"


# --- Specifications -------------------------------------------------------------------------------


def test_a_name_is_no_difference(runs: Path, tmp_path: Path) -> None:
    other = edited(trained("numpy", runs), tmp_path / "other", spec__name="renamed")
    outcome = compared(trained("numpy", runs), other)
    assert (outcome.verdict, outcome.breaks) == ("identical", ())


def test_each_key_that_differs_is_told(runs: Path) -> None:
    other = spec_of("relu", seed=9, learning_rate=0.2, epochs=2)
    outcome = compared(trained("numpy", runs), trained("numpy", runs, other))
    (found,) = outcome.breaks
    assert (found.rung, found.cause.name) == ("spec", "specification_differs")
    keys = {part.split(":")[0] for part in (found.cause.value or "").split("; ")}
    assert keys == {
        "seed",
        "model.activations",
        "optimizer.learning_rate",
        "training.epochs",
    }
    assert outcome.exit_code == 1


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_another_precision(precision: str, runs: Path) -> None:
    other = "float64" if precision == "float32" else "float32"
    pair = [trained("numpy", runs, spec_of(precision=name)) for name in (other, precision)]
    outcome = compared(*pair)
    assert [(item.rung, item.cause.name) for item in outcome.breaks] == [
        ("spec", f"{precision}_arithmetic")
    ]


def test_rows_that_do_not_fit_the_data(runs: Path, tmp_path: Path) -> None:
    """A folder whose rows are more than the data at hand has."""
    outcome = compared(trained("numpy", runs), trained("numpy", runs), dataset=made_up(rows=300))
    assert outcome.verdict in ("different", "inconclusive")
    assert SPEC.data.rows == "all"
