"""Sweeps: each run once, whatever fails or is killed, here and on a Dask cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from mnist_mlp.data import Dataset
from mnist_mlp.run.folder import Run
from mnist_mlp.spec import Spec
from mnist_mlp.sweep.cases import Case, combinations
from mnist_mlp.sweep.many import Pool, run_all
from mnist_mlp.sweep.one import Source, Task
from mnist_mlp.sweep.table import Row, exit_code_of
from mnist_mlp.training import train

Cli = Callable[..., CompletedProcess[str]]

SMALL = ("--set", "model.layer_sizes=[30,9,4]", "--batch-size", 32, "--epochs", 3)


def table(folder: Path, name: str = "sweep.json") -> dict[str, Any]:
    """A table of results, which must have each run once, as its folder has it."""
    document: dict[str, Any] = json.loads((folder / name).read_text())
    names = [row["name"] for row in document["runs"]]
    assert len(set(names)) == len(names)
    for row in document["runs"]:
        if row["state"] == "complete":
            run = Run(folder / row["name"])
            assert (row["loss"], row["accuracy"]) == (run.metrics.loss, run.metrics.accuracy)
            assert (row["backend"], row["seed"]) == (run.label, run.spec.seed)
            assert [line.epoch for line in run.history] == [*range(1, len(run.history) + 1)]
    return document


def stamps(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/run.json")}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seeds", "4:0"], "expected numbers up to"),
        (["--seeds", "1,1"], "names a seed twice"),
        (["--seeds", "0:99999999"], "more than"),
        (["--shard", "3/2"], "i from 1 to n"),
        (["--set", "batch_size=[]"], "expected a list of different values"),
        (["--set", "batch_size=[8,8]"], "expected a list of different values"),
        (["--set", "batch_size=[8,'x']"], "valid integer"),
        (["--set", "seed=[1,2]"], "list the seeds by --seeds"),
        (["--cluster", "localhost:1"], "expected dask://HOST:PORT"),
        (["--cluster", "dask://h:1", "--jobs", "2"], "--jobs is for this machine"),
        (["numpy"], "each backend once"),
        (["--set", "model.layer_sizes=[[64,10],[30,10]]", "--dataset", "digits"], "pixels"),
    ],
)
def test_refusals(cli: Cli, tmp_path: Path, words: list[str], told: str) -> None:
    done = cli("sweep", "numpy", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_a_list_of_values() -> None:
    """A key whose value is a list is varied by a list of lists."""
    one = ["model.layer_sizes=[30,4]", "optimizer.schedule=[[4,0.1]]", "optimizer.name=sgd"]
    assert combinations(one) == [(one, {})]
    several = combinations(["model.layer_sizes=[[30,4],[30,9,4]]", "epochs=[1,2]"])
    assert [settings for _, settings in several] == [
        {"model.layer_sizes": sizes, "training.epochs": epochs}
        for sizes in ([30, 4], [30, 9, 4])
        for epochs in (1, 2)
    ]


def test_a_sweep_is_completed_and_not_repeated(
    cli: Cli, idx_dir: Path, small_data: Dataset, tmp_path: Path
) -> None:
    words = ("sweep", "numpy", "--data-dir", idx_dir, "--jobs", 1, *SMALL, "--out", "s")
    first = cli(*words, "--seeds", "0:1")
    assert first.returncode == 0, first.stderr
    assert "1/1 numpy-seed=0: accuracy" in first.stderr
    before = stamps(tmp_path / "s")
    one = train(
        Run(tmp_path / "s/numpy-seed=0").spec.model_copy(update={"seed": 9}),
        backend="numpy",
        dataset=small_data,
        out=tmp_path / "at-once",
    )
    done = cli(*words, "--seeds", "0:2,9", "--set", "optimizer.learning_rate=0.01")
    assert done.returncode == 0
    rows = table(tmp_path / "s")["runs"]
    assert [row["seed"] for row in rows] == [0, 1, 9]
    assert [row["attempts"] for row in rows] == [0, 1, 1]
    assert "3 runs: 3 complete (1 of them before)" in done.stdout
    assert before.items() <= stamps(tmp_path / "s").items()
    assert rows[2]["accuracy"] == one.metrics.accuracy
    assert Run(tmp_path / "s/numpy-seed=9").history[-1].weights_sha256 == (
        one.history[-1].weights_sha256
    )
    other = cli(*words, "--seeds", "0:3", "--learning-rate", 0.1)
    assert other.returncode == 2
    assert "optimizer.learning_rate is 0.01 in the run, 0.1 now" in other.stderr


def test_failures_are_counted_and_tried_once_more(cli: Cli, idx_dir: Path, tmp_path: Path) -> None:
    words = ("--data-dir", idx_dir, "--jobs", 1, *SMALL)
    flaky = "faulty_backends:FlakyBackend"
    done = cli("sweep", flaky, *words, "--seeds", "3", "--out", "flaky")
    assert done.returncode == 0, done.stderr
    assert "1 runs: 1 complete, 1 tried twice" in done.stdout
    assert "flakybackend-seed=3 failed and will be tried again" in done.stderr
    # It went on after the epoch before which it had died.
    (part,) = Run(tmp_path / "flaky/flakybackend-seed=3").record.resumed
    assert part.epoch == 1
    raising = "faulty_backends:RaisingBackend"
    diverging = "faulty_backends:DivergingBackend"
    for backends, code, attempts in (
        ([raising, "numpy"], 3, [2, 1]),
        ([diverging], 5, [1]),  # it would end in the same way
    ):
        done = cli("sweep", *backends, *words, "--out", f"o{code}")
        assert done.returncode == code
        document = table(tmp_path / f"o{code}")
        assert [row["attempts"] for row in document["runs"]] == attempts
        assert document["counts"]["failed"] == 1
        assert "failed: " in done.stdout


def test_shards_make_each_run_once(cli: Cli, idx_dir: Path, tmp_path: Path) -> None:
    words = ("sweep", "numpy", "--seeds", "0:2", "--data-dir", idx_dir, "--jobs", 1, *SMALL)
    for part, seeds in ((1, [0]), (2, [1])):
        assert cli(*words, "--out", "s", "--shard", f"{part}/2").returncode == 0
        rows = table(tmp_path / "s", f"sweep-{part}-of-2.json")["runs"]
        assert [row["seed"] for row in rows if row["state"] == "complete"] == seeds
    before = stamps(tmp_path / "s")
    assert len(before) == 2
    done = cli(*words, "--out", "s")
    assert "2 runs: 2 complete (2 of them before)" in done.stdout
    assert stamps(tmp_path / "s") == before


# --- Processes that are killed --------------------------------------------------------------------

SLOW = "faulty_backends:SlowBackend"
"""A quarter of a second for each epoch: time to kill its process in the middle."""


@contextmanager
def sweep_of(folder: Path, idx_dir: Path, *words: object) -> Iterator[subprocess.Popen[str]]:
    options = ("--seeds", "0:3", "--data-dir", idx_dir, *SMALL, "--epochs", 4, "--out", folder)
    command = [sys.executable, "-m", "mnist_mlp", "sweep", SLOW, *options, *words]
    with subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def half_done(folder: Path) -> list[Path]:
    """Runs that have finished an epoch, and not all."""
    found = []
    for path in folder.glob("*/history.csv"):
        if 1 < len(path.read_text().splitlines()) < 4:
            found.append(path.parent)
    return found


def holder_of(folder: Path, processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Which of the processes has the folder open, as whoever writes a run there has."""
    for number, process in enumerate(processes):
        for file in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if file.readlink() == folder:
                    return number
    return None


def at_work(
    folder: Path, processes: Sequence[subprocess.Popen[bytes]]
) -> tuple[Path, subprocess.Popen[bytes]] | None:
    """A run in the middle, and the process that makes it."""
    for run in half_done(folder):
        if (number := holder_of(run, processes)) is not None:
            return run, processes[number]
    return None


def wait_for(happened: Callable[[], Any], *, limit_s: float = 60) -> Any:
    end = time.monotonic() + limit_s
    while not (result := happened()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return result


def assert_all_there(folder: Path, process: subprocess.Popen[str]) -> list[Run]:
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-2000:]
    document = table(folder)
    assert [row["seed"] for row in document["runs"]] == [0, 1, 2]
    assert document["counts"] == {"complete": 3}, errors[-2000:]
    assert "3 runs: 3 complete" in out
    assert len(list(folder.glob("*/run.json"))) == 3
    return [Run(folder / row["name"]) for row in document["runs"]]


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_worker_of_a_dask_cluster_is_killed(
    idx_dir: Path, small_data: Dataset, tmp_path: Path
) -> None:
    """A scheduler and two workers over TCP; what the killed one was at goes on with the other."""
    file = tmp_path / "scheduler.json"
    with ExitStack() as stack:
        stack.enter_context(
            started(
                *("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard"),
                *("--scheduler-file", file),
            )
        )
        wait_for(lambda: file.exists() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        workers = [
            stack.enter_context(
                started(
                    *("worker", address, "--nthreads", 1, "--no-nanny", "--no-dashboard"),
                    *("--name", name, "--local-directory", tmp_path / name),
                )
            )
            for name in ("a", "b")
        ]
        folder = tmp_path / "s"
        cluster = address.replace("tcp", "dask")
        sweep = stack.enter_context(sweep_of(folder, idx_dir, "--cluster", cluster))
        interrupted, process = wait_for(lambda: at_work(folder, workers))
        process.kill()
        runs = assert_all_there(folder, sweep)
    # It was in the middle, and was neither lost nor begun anew.
    (again,) = [run for run in runs if run.record.resumed]
    assert again.path == interrupted
    at_once = train(again.spec, backend="numpy", dataset=small_data, out=tmp_path / "at-once")
    assert [row.weights_sha256 for row in again.history] == [
        row.weights_sha256 for row in at_once.history
    ]


@contextmanager
def broken_pool(rows: list[list[Row | None]]) -> Iterator[Pool]:
    """A pool that gives these rows, call by call; None: a process of it was killed."""
    calls = iter(rows)

    def made_by(tasks: Sequence[Task]) -> Iterator[Row]:
        for row in next(calls):
            if row is None:
                raise BrokenProcessPool
            assert row.name in {task.case.name for task in tasks}
            yield row

    yield made_by


def test_a_pool_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had begun is tried again, and once only; what had not begun is not to blame."""
    source = Source("auto", None, None, "")
    tasks = [Task(Case(name, "numpy", {}, Spec()), tmp_path / name, source, {}) for name in "abcd"]
    a, b, c, d = (Row(name, "numpy", 42, {}, "complete") for name in "abcd")
    failed = replace(a, state="failed", kind="BackendError", error="died", exit_code=3)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/run.json").touch()
    for calls, attempts, lost in (
        ([[a, None], [b, c, d]], {"a": 1, "b": 1, "c": 2, "d": 1}, ""),
        ([[failed, None], [c, b, a, d]], {"a": 2, "b": 1, "c": 2, "d": 1}, ""),
        ([[a, None], [None], [d, b]], {"a": 1, "b": 1, "c": 2, "d": 1}, "c"),
        ([[failed, c, b, d], [failed]], {"a": 2, "b": 1, "c": 1, "d": 1}, "a"),
    ):
        monkeypatch.setattr(
            "mnist_mlp.sweep.many._pool", lambda *_, calls=calls: broken_pool(calls)
        )
        told: list[Row] = []
        rows = run_all(tasks, jobs=2, on_row=told.append, on_retry=lambda _: None)
        assert {row.name: row.attempts for row in rows.values()} == attempts
        assert "".join(name for name, row in rows.items() if row.state == "failed") == lost
        assert sorted(row.name for row in told) == ["a", "b", "c", "d"]
    assert exit_code_of([failed, replace(failed, exit_code=5)]) == 3
    assert exit_code_of([a, replace(failed, exit_code=5)]) == 5
