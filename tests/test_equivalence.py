"""The test of equivalence: its rates, its power, its decisions, and what the frameworks draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from mnist_mlp.data import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.plan import make_plan
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.sweep.equivalence import (
    ALPHA,
    Comparison,
    as_text,
    compare,
    decide,
    exit_code_of,
    holm,
    power,
    two_tests,
)
from mnist_mlp.sweep.figure import figure_files
from mnist_mlp.sweep.pairs import accuracies, comparisons
from mnist_mlp.sweep.table import Row
from mnist_mlp.training import resume, train
from mnist_mlp.worker.parent import Worker

Cli = Callable[..., CompletedProcess[str]]

MARGIN = 0.01


def judged(a: Any, b: Any, *, paired: bool = True, missing: int = 0) -> Comparison:
    """One comparison, decided."""
    sides = (np.asarray(a, float), np.asarray(b, float))
    (each,) = decide(
        [compare(*sides, names=("a", "b"), margin=MARGIN, paired=paired, missing=missing)]
    )
    return each


def draws(difference: float, *, n: int = 20, seed: int = 0, noise: float = 0.005) -> Any:
    """Accuracies of two sides that share what the seed does to both."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0.7, 0.03, n)
    return shared, shared + difference + rng.normal(0, noise, n)


@pytest.mark.parametrize(
    ("difference", "decision", "code"),
    [
        (0.0, "equivalent", 0),
        (0.004, "equivalent", 0),
        (-0.004, "equivalent", 0),
        (0.009, "undecided", 6),
        (-0.03, "different", 1),
        (0.03, "different", 1),
    ],
)
def test_decisions(difference: float, decision: str, code: int) -> None:
    each = judged(*draws(difference))
    assert (each.decision, exit_code_of([each])) == (decision, code)
    assert each.low < each.difference < each.high
    # TOST rejects exactly if the 90 % interval lies within the margin.
    assert (each.p_equivalent < ALPHA) == (max(-each.low, each.high) < MARGIN)
    assert decision.upper() in as_text([each])


def test_pairs_need_fewer_runs_than_sides_that_share_nothing() -> None:
    a, b = draws(0.0)
    paired, free = judged(a, b), judged(a, b, paired=False)
    assert (paired.decision, free.decision) == ("equivalent", "undecided")
    assert paired.needed is not None
    assert free.needed is not None
    assert paired.needed < 20 < free.needed


def test_runs_that_repeat_each_other_and_too_few() -> None:
    same = [0.7] * 5
    assert judged(same, same).decision == "equivalent"
    assert judged(same, [0.72] * 5).decision == "different"
    assert judged(same, [0.72] * 5, paired=False).decision == "different"
    assert judged([0.7, 0.8], [0.7, 0.8]).decision == "undecided"
    assert "needs at least 3" in as_text([judged([], [])])


def test_what_failed_is_not_left_out_in_silence() -> None:
    assert judged(*draws(0.0), missing=1).decision == "undecided"
    assert judged(*draws(0.03), missing=1).decision == "different"


def rates(sides: Sequence[Any]) -> tuple[float, float]:
    """The share of pairs of sides that are called equivalent, and different."""
    found = [
        two_tests(*each, margin=MARGIN, paired=True, deviation=np.subtract(*each).std())
        for each in sides
    ]
    return tuple(
        float(np.mean([each[key] < ALPHA for each in found]))
        for key in ("p_equivalent", "p_different")
    )


def test_wrong_verdicts_are_as_rare_as_promised() -> None:
    """Both are wrong at the margin itself: 5 % and 2.5 %, within three standard errors of 400."""
    equivalent, different = rates([draws(MARGIN, n=8, seed=seed) for seed in range(400)])
    assert equivalent == pytest.approx(0.05, abs=0.033)
    assert different == pytest.approx(0.025, abs=0.024)


@pytest.mark.parametrize(("n", "deviation", "difference"), [(10, 0.01, 0.0), (20, 0.02, 0.002)])
def test_power_is_that_of_simulated_runs(n: int, deviation: float, difference: float) -> None:
    """Within three standard errors of 200."""
    found, _ = rates([draws(difference, n=n, seed=s, noise=deviation) for s in range(200)])
    expected = power(n, deviation=deviation, margin=MARGIN, difference=difference)
    assert found == pytest.approx(expected, abs=0.1)


def test_the_needed_runs_are_the_first_that_suffice() -> None:
    each = judged(*draws(0.004, noise=0.02))
    assert each.needed is not None
    chances = [
        power(n, deviation=each.deviation, margin=MARGIN, difference=each.difference)
        for n in (each.needed - 1, each.needed)
    ]
    assert chances[0] < 0.8 <= chances[1]


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def rows_of(values: dict[str, Any], **settings: Any) -> list[Row]:
    return [
        Row(f"{backend}{seed}{settings}", backend, seed, settings, "complete", accuracy=value)
        for backend, each in values.items()
        for seed, value in enumerate(each)
    ]


def test_several_comparisons_are_decided_together() -> None:
    """What passes alone may not pass as one of four; each setting is compared by itself."""
    rows: list[Row] = []
    for size in range(4):
        a, b = draws(0.0063 if size == 3 else 0.0, seed=size)
        rows += rows_of({"keras": a, "torch": b}, batch_size=size)
    alone = comparisons(rows[-40:], margin=MARGIN)
    together = comparisons(rows, margin=MARGIN)
    assert [each.group for each in together] == [f"batch_size={n}" for n in range(4)]
    assert together[-1].p_equivalent >= alone[0].p_equivalent
    assert together[-1].power < alone[0].power
    files = figure_files(together, accuracies(rows))
    assert files.keys() == {"accuracies.svg", "accuracies.png"}
    assert files == figure_files(together, accuracies(rows))


# --- On the command line --------------------------------------------------------------------------


def test_backends_of_one_plan_are_equivalent(cli: Cli, idx_dir: Path, tmp_path: Path) -> None:
    words = ("--data-dir", idx_dir, "--jobs", 1, "--set", "model.layer_sizes=[30,9,4]")
    done = cli(
        "sweep", "numpy", "stranger", *words, "--seeds", "0:3", "--margin", 0.01, "--out", "s"
    )
    assert done.returncode == 0, done.stderr
    assert "numpy against stranger: EQUIVALENT" in done.stdout
    assert "in 3 pairs of runs with one seed" in done.stdout
    (found,) = json.loads((tmp_path / "s/sweep.json").read_text())["comparisons"]
    assert (found["decision"], found["difference"], found["paired"]) == ("equivalent", 0.0, True)
    assert (tmp_path / "s/accuracies.svg").exists()
    for more, told in (
        (["--native"], "'numpy' draws no initial weights and order of its own"),
        (["--margin", 2], "expected an accuracy between 0 and 1"),
    ):
        done = cli("sweep", "numpy", "stranger", *words, "--out", "t", *more)
        assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    done = cli("sweep", "numpy", *words, "--margin", 0.01)
    assert (done.returncode, "name at least two" in done.stderr) == (2, True)


NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(30, 9), nn.Sigmoid(), nn.Linear(9, 4))

    def forward(self, x):
        return self.layers(x)

import lightning as L

class Port(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=RATE)
"""


def test_many_runs_of_an_original_and_its_port(cli: Cli, idx_dir: Path, tmp_path: Path) -> None:
    for name, rate in (("original", "0.03"), ("port", "1e-6")):
        (tmp_path / f"{name}.py").write_text(NET.replace("RATE", rate))
    words = ("check", "original.py:Port", "port.py:Port", "--native", "--data-dir", idx_dir)
    words = (*words, "--set", "model.layer_sizes=[30,9,4]")
    words = (*words, "--epochs", 4, "--batch-size", 16, "--out", "o", "--seeds")
    done = cli(*words, "0:3")
    assert done.returncode == 1, done.stderr
    assert "original.py:Port against port.py:Port: DIFFERENT" in done.stdout
    document = json.loads((tmp_path / "o/native.json").read_text())
    assert [run["seed"] for run in document["runs"]] == [0, 1, 2]
    learnt, not_learnt = np.array([run["accuracies"] for run in document["runs"]]).T
    assert min(learnt) > 0.7
    assert max(not_learnt) < 0.5
    again = cli(*words, "0:3")
    assert (again.returncode, again.stdout) == (1, done.stdout)
    assert "starting" not in again.stderr
    (tmp_path / "port.py").write_text(NET.replace("RATE", "0.03"))
    done = cli(*words, "0:3")
    assert (done.returncode, "is of other files" in done.stderr) == (2, True)
    for more, told in (
        (["original.py:Port", "--native"], "name both"),
        (["original.py:Port", "port.py:Port", "--margin", 0.1], "belongs to --native"),
        (["original.py:Port", "port.py:Port", "--native", "--cost"], "give one of them"),
        (["original.py:Port", "port.py", "--native"], "name what makes its model"),
    ):
        done = cli("check", *more)
        assert (done.returncode, told in done.stderr) == (2, True), done.stderr


# --- What the frameworks draw themselves ----------------------------------------------------------

SPEC: dict[str, Any] = {"model": {"layer_sizes": [30, 9, 4]}, "training": {"batch_size": 32}}


@pytest.mark.parametrize("name", ["keras", "keras-torch", "torch"])
def test_native_draws(workers: Callable[[str], Worker], small_data: Dataset, name: str) -> None:
    """Initialisers and shuffling of the framework itself, by the seed."""

    def drawn(seed: int, epochs: int) -> Any:
        spec = parse_spec(SPEC | {"seed": seed, "training": {"batch_size": 32, "epochs": epochs}})
        worker = workers(name)
        worker.open(spec)
        return worker.draw(make_plan(spec, small_data))

    one, again, other = drawn(5, 2), drawn(5, 3), drawn(6, 2)
    kernel, bias = one.weights["layers.0.kernel"], one.weights["layers.0.bias"]
    # Glorot: sqrt(6 / (30 + 9)); torch: 1 / sqrt(30), for the bias as well.
    bound = 1 / np.sqrt(30) if name == "torch" else np.sqrt(6 / 39)
    assert 0.9 * bound < np.abs(kernel).max() <= bound
    assert (bias != 0).any() == (name == "torch")
    for tensor, values in one.weights.items():
        np.testing.assert_array_equal(again.weights[tensor], values)
    assert not np.array_equal(other.weights["layers.0.kernel"], kernel)
    np.testing.assert_array_equal(again.orders[:2], one.orders)
    assert not np.array_equal(other.orders, one.orders)
    assert not np.array_equal(one.orders[0], np.arange(len(one.orders[0])))
    # A seeded `fit` of Keras on TensorFlow repeats its shuffle; a DataLoader goes on.
    assert np.array_equal(one.orders[0], one.orders[1]) == (name == "keras")


def test_numpy_has_nothing_of_its_own_to_draw(
    workers: Callable[[str], Worker], small_data: Dataset
) -> None:
    spec = parse_spec(SPEC)
    worker = workers("numpy")
    worker.open(spec)
    with pytest.raises(UsageError, match="draws no initial weights and order of its own"):
        worker.draw(make_plan(spec, small_data))


def test_a_native_run_goes_on_and_is_not_compared(
    cli: Cli, small_data: Dataset, finished_run: Path, tmp_path: Path
) -> None:
    """What the framework drew is in the folder, and it draws the same again."""

    def spec(epochs: int) -> Spec:
        return parse_spec(SPEC | {"training": {"batch_size": 32, "epochs": epochs}})

    options: dict[str, Any] = {"dataset": small_data, "figures": False}
    for name, epochs in (("parts", 1), ("at-once", 2)):
        run = train(spec(epochs), backend="torch", out=tmp_path / name, native=True, **options)
    parts = resume(tmp_path / "parts", spec(2), **options)
    assert parts.history[-1].weights_sha256 == run.history[-1].weights_sha256
    assert (run.initial_weights["layers.0.bias"] != 0).any()
    done = cli("compare", tmp_path / "at-once", finished_run)
    assert (done.returncode, "drew initial weights" in done.stderr) == (2, True), done.stderr
