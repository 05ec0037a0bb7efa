"""Honest pairs of runs: `identical` or `equivalent`, never `different`.

The stranger's backend computes in another layout and another order; `shrubs:Elder` is the reference
with its sums the other way round, for what the stranger cannot do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from finished_runs import InProcess, compared, copied, rewrite_arrays, rewrite_tensors, trained
from small_problems import problem, spec_of

from mnist_mlp.parity.compare.metrics import metric_breaks
from mnist_mlp.parity.compare.replay import fitted
from mnist_mlp.parity.compare.whole_fit import first_epochs, fit_breaks, in_double, is_calm
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.parity.steps.trajectory import ReferenceRun
from mnist_mlp.run.folder import Run
from mnist_mlp.run.tensors import tensors_digest
from mnist_mlp.worker.parent import Worker

pytestmark = pytest.mark.usefixtures("in_process")


def assert_same(outcome: Outcome) -> None:
    assert outcome.verdict in ("identical", "equivalent"), [
        (item.rung, item.epoch, item.step, item.cause.name, item.cause.value)
        for item in outcome.breaks
    ] or outcome.text
    assert outcome.exit_code == 0
    assert (outcome.verdict == "identical") == (outcome.predictions.different == 0)


@pytest.mark.parametrize("hidden", ["sigmoid", "relu"])
@pytest.mark.parametrize("seed", range(5))
def test_seeds(seed: int, hidden: str, runs: Path) -> None:
    spec = spec_of(hidden, seed=seed, learning_rate=0.3)
    assert_same(compared(trained("numpy", runs, spec), trained("stranger", runs, spec)))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 309},
        {"batch_size": 103},
        {"batch_size": 7, "epochs": 1},
        {"sizes": ()},
        {"sizes": (8, 8, 8)},
        {"sizes": (200,), "hidden": "relu"},
        {"learning_rate": 1e-4},
        {"learning_rate": 2.0, "epochs": 6},
        {"hidden": "relu", "learning_rate": 0.5, "epochs": 6},
        {"precision": "float64"},
        {"precision": "float64", "hidden": "relu", "epochs": 6},
        {"epochs": 1},
    ],
)
def test_settings(options: dict[str, Any], runs: Path) -> None:
    spec = spec_of(**options)
    assert_same(compared(trained("numpy", runs, spec), trained("stranger", runs, spec)))


@pytest.mark.parametrize(
    "optimizer",
    [
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        {"name": "adam", "learning_rate": 0.01},
        {"name": "adam", "learning_rate": 0.01, "weight_decay": 1e-2, "clip_norm": 0.5},
        {"clip_norm": 0.2, "learning_rate": 0.5},
        {"momentum": 0.5, "schedule": [[5, 0.3], [12, 0.01]]},
    ],
)
@pytest.mark.parametrize("hidden", ["sigmoid", "gelu", "relu"])
def test_optimizers(hidden: str, optimizer: dict[str, Any], runs: Path) -> None:
    spec = spec_of(hidden, **optimizer)
    assert_same(compared(trained("numpy", runs, spec), trained("shrubs:Elder", runs, spec)))


# --- Equal up to the order of hidden units --------------------------------------------------------


def permute(folder: Path) -> None:
    """The first hidden layer's units in another order, everywhere in the folder."""
    order = np.random.default_rng(1).permutation(20)

    def change(tensors: dict[str, Any]) -> None:
        tensors["layers.0.kernel"] = tensors["layers.0.kernel"][:, order].copy()
        tensors["layers.0.bias"] = tensors["layers.0.bias"][order].copy()
        tensors["layers.1.kernel"] = tensors["layers.1.kernel"][order].copy()

    rewrite_tensors(folder, "weights.safetensors", change)
    rewrite_tensors(folder, "initial_weights.safetensors", change)
    path = folder / "history.csv"
    *lines, last = path.read_text().splitlines()
    values = [*last.split(",")[:-1], tensors_digest(Run(folder).weights)]
    path.write_text("\n".join([*lines, ",".join(values)]) + "\n")


def test_permuted_hidden_units_are_equivalent(runs: Path, tmp_path: Path) -> None:
    clean = trained("numpy", runs)
    other = copied(clean, tmp_path / "permuted")
    permute(other)
    outcome = compared(clean, Run(other))
    assert (outcome.verdict, outcome.exit_code) == ("equivalent", 0)
    assert "permutation of hidden units" in outcome.text


def test_permuted_units_and_one_altered_logit(runs: Path, tmp_path: Path) -> None:
    clean = trained("numpy", runs)
    other = copied(clean, tmp_path / "permuted")
    permute(other)

    def change(arrays: dict[str, Any]) -> None:
        arrays["logits"][3] = arrays["logits"][3][::-1]

    rewrite_arrays(other, "predictions.npz", change)
    assert compared(clean, Run(other)).verdict != "equivalent"


# --- What a pass tells ----------------------------------------------------------------------------


def test_a_pass_lists_what_was_not_exercised(runs: Path) -> None:
    spec = spec_of(epochs=1, clip_norm=100.0, momentum=0.9)
    outcome = compared(trained("numpy", runs, spec), trained("shrubs:Elder", runs, spec))
    assert outcome.exit_code == 0
    told = " ".join(outcome.not_exercised)
    for what in ("clipping", "only one epoch", "learning rate is constant", "under 1e-7"):
        assert what in told
    fired = spec_of(clip_norm=0.1)
    outcome = compared(trained("numpy", runs, fired), trained("shrubs:Elder", runs, fired))
    assert "clipping" not in " ".join(outcome.not_exercised)


def test_margins_are_told(runs: Path) -> None:
    spec = spec_of()
    outcome = compared(trained("numpy", runs, spec), trained("stranger", runs, spec))
    margins = {rung.name: rung.margin for rung in outcome.rungs}
    for rung in ("data", "forward", "loss", "gradient", "update"):
        assert 0 < (margins[rung] or 0) < 1
    assert margins["order"] is None
    for rung in ("trajectory", "metrics"):
        assert 0 <= (margins[rung] or 0) < 1
    counts = {rung.name: rung.compared for rung in outcome.rungs}
    for rung in ("spec", "order", "init", "trajectory", "predictions", "report"):
        assert (counts[rung] or 0) > 0


# --- Networks in which roundings grow -------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("hidden", "options"),
    [
        ("relu", {"learning_rate": 0.3, "momentum": 0.9}),
        ("relu", {"name": "adam", "learning_rate": 0.02}),
        ("gelu", {"learning_rate": 0.3, "momentum": 0.9}),
    ],
)
def test_whole_epochs_of_chaos(hidden: str, options: dict[str, Any], seed: int) -> None:
    """Two epochs of small, hot batches: neither weights nor reported numbers are called wrong."""
    spec = spec_of(hidden, seed=seed, epochs=2, sizes=(40, 30), batch_size=8, **options)
    given = problem(spec)
    first = first_epochs(ReferenceRun(given.plan, given.data))
    if not is_calm(first):
        first = in_double(first)
    side = InProcess("shrubs:Elder")
    side.open(first.plan.spec)
    records = fitted(cast(Worker, side), first.plan, first.data)
    assert fit_breaks(records, first, side="b") == []
    assert metric_breaks(records, first, side="b")[0] == []
