"""The same comparisons with backends in processes of their own, as users run them; and on MNIST."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from finished_runs import copied, rewrite_arrays, rewrite_tensors
from small_problems import made_up, spec_of

from mnist_mlp.contract import EpochRecord
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.compare.runs import compare_runs, importing
from mnist_mlp.parity.findings import Side
from mnist_mlp.run.folder import Run
from mnist_mlp.spec import parse_spec
from mnist_mlp.training import Observer, train
from mnist_mlp.worker.parent import Worker

pytestmark = pytest.mark.usefixtures("no_figures")


def test_an_honest_and_a_faulty_pair(tmp_path: Path) -> None:
    spec, data = spec_of(learning_rate=0.3), made_up()
    made = {
        name: train(spec, backend=name, dataset=data, out=tmp_path / name.replace(":", "-"))
        for name in ("numpy", "stranger", "trees:Elm")
    }
    clean = compare_runs(made["numpy"], made["stranger"], dataset=data)
    assert (clean.verdict, clean.exit_code) == ("identical", 0)
    found = compare_runs(
        made["numpy"], made["trees:Elm"], dataset=data, trusted=["trees:Elm"]
    ).first_break
    assert found is not None
    assert (found.side, found.rung, found.step) == ("b", "order", 10)
    assert found.cause.name == "last_batch_dropped"


def test_workers_that_import_already_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison then starts none of its own."""
    spec, data = spec_of(learning_rate=0.3), made_up()
    run = train(spec, backend="numpy", dataset=data, out=tmp_path / "run")
    started: dict[Side, Worker] = {}
    with ExitStack() as workers:
        for side in get_args(Side):
            worker = importing(partial(Worker, "numpy", accelerator="cpu"), workers)
            assert worker is not None
            started[side] = worker
        no_worker_starts(monkeypatch)
        outcome = compare_runs(run, run, dataset=lambda: data, started=started)
    assert (outcome.verdict, outcome.exit_code) == ("identical", 0)
    with ExitStack() as workers:
        assert importing(partial(Worker, "no_such_module:Class"), workers) is not None
        assert importing(partial(Worker, "nothing"), workers) is None


def no_worker_starts(patch: pytest.MonkeyPatch) -> None:
    for place in ("runs", "side"):
        patch.setattr(f"mnist_mlp.parity.compare.{place}.worker_of", pytest.fail)


def test_runs_of_this_process_are_judged_where_they_were_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is a framework imported again, nor is anything trained again."""
    spec, data = spec_of(learning_rate=0.3, epochs=4), made_up()
    started: dict[Side, Worker] = {}
    reported: dict[Side, list[EpochRecord]] = {"a": [], "b": []}
    runs: dict[Side, Run] = {}
    with ExitStack() as workers:
        for side, backend in (("a", "numpy"), ("b", "stranger")):
            worker = started[side] = workers.enter_context(Worker(backend, accelerator="cpu"))
            runs[side] = train(
                spec,
                backend=backend,
                dataset=data,
                out=tmp_path / backend,
                worker=worker,
                observer=Observer(reported=reported[side].append),
            )
        assert [len(epochs) for epochs in reported.values()] == [4, 4]
        no_worker_starts(monkeypatch)
        monkeypatch.setattr("mnist_mlp.parity.compare.side.fitted", pytest.fail)
        outcome = compare_runs(
            runs["a"], runs["b"], dataset=data, started=started, reported=reported
        )
    assert (outcome.verdict, outcome.exit_code) == ("identical", 0)
    counts = {rung.name: rung.compared for rung in outcome.rungs}
    assert counts["order"] == 4 * len(data.images) * 3 // 4


# --- Real MNIST -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tutorial(mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The tutorial's network for two epochs of 411 steps, by two backends."""
    spec = parse_spec({"training": {"epochs": 2}})
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mnist_mlp.evaluate.figures.figure_files", lambda _: {})
        made = [
            train(spec, backend=name, dataset=mnist, out=folder / name)
            for name in ("numpy", "stranger")
        ]
    return made[0], made[1]


def test_the_tutorial_is_the_same_in_both(tutorial: tuple[Run, Run], mnist: Dataset) -> None:
    outcome = compare_runs(*tutorial, dataset=mnist)
    assert (outcome.verdict, outcome.predictions.different) == ("identical", 0)
    assert outcome.predictions.total == 17_500
    margins = {rung.name: rung.margin for rung in outcome.rungs if rung.margin is not None}
    print("\nmargins on MNIST:", {name: round(margin, 3) for name, margin in margins.items()})
    judged = {"data", "forward", "loss", "gradient", "update"}
    assert set(margins) == judged | {"trajectory", "metrics"}
    assert all(margin < 1 for margin in margins.values())


def _weight(folder: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors["layers.0.kernel"][400, 17] += 1e-3

    rewrite_tensors(folder, "weights.safetensors", change)


def _order(folder: Path) -> None:
    def change(arrays: dict[str, Any]) -> None:
        arrays["epochs"][1, 52_499] ^= 1

    rewrite_arrays(folder, "order.npz", change)


def _pixel(folder: Path) -> None:
    def change(arrays: dict[str, Any]) -> None:
        arrays["images"][5, 14, 14] ^= 1

    rewrite_arrays(folder, "examples.npz", change)


ALTERED = {
    "weight": (_weight, ("trajectory", 2, None)),
    "order": (_order, ("order", 2, 822)),
    "pixel": (_pixel, ("data", None, None)),
}


@pytest.mark.parametrize("name", ALTERED)
def test_one_number_altered_in_a_tutorial_run(
    name: str, tutorial: tuple[Run, Run], mnist: Dataset, tmp_path: Path
) -> None:
    alter, place = ALTERED[name]
    altered = copied(tutorial[1], tmp_path / "altered")
    alter(altered)
    outcome = compare_runs(tutorial[0], Run(altered), dataset=mnist, static=True)
    first = outcome.first_break
    assert first is not None
    assert (first.side, first.cause.name) == ("b", "altered_file")
    assert (first.rung, first.epoch, first.step) == place
    assert outcome.exit_code == 1
