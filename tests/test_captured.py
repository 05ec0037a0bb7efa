"""Lightning's captured step as far as it goes without a GPU: `faulty/captured_on_cpu.py`.

Run through `fit`, on the CPU, in float64: what differs from the plain path by more than rounding
differs on a GPU too. That CUDA replays what was captured can be seen on a GPU alone (`make gpu`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mnist_mlp.contract import EpochRecord, Fallback, Plan, Progress, State
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import BackendError, SetupError
from mnist_mlp.parity.steps.drift import largest_gap
from mnist_mlp.plan import make_plan, training_data
from mnist_mlp.spec import parse_spec
from mnist_mlp.training import Observer, train
from mnist_mlp.worker.parent import Worker

CASES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9, "weight_decay": 1e-3},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "clip": {"clip_norm": 0.3, "momentum": 0.5},
    # Changes within a series of five whole batches, and at its start.
    "schedule": {"schedule": [[3, 0.02], [7, 0.2], [14, 0.01]], "momentum": 0.5},
}
BOUND = 1e-12
"""Some hundred roundings of float64 weights of order 1; the faults below are beyond 1e-4."""

Run = tuple[list[EpochRecord], dict[str, Any], list[Fallback]]


def spec_of(**optimizer: Any) -> Any:
    return parse_spec(
        {
            "model": {"layer_sizes": [30, 9, 4]},
            "optimizer": {"learning_rate": 0.1} | optimizer,
            "training": {"batch_size": 32, "epochs": 3, "precision": "float64"},
        }
    )


def fitted(
    worker: Worker, plan: Plan, data: Dataset, *, path: Any = "fast", start: State | None = None
) -> Run:
    epochs: list[EpochRecord] = []
    fallbacks: list[Fallback] = []
    worker.fit_path = path
    try:
        worker.open(plan.spec)
        progress = Progress(epoch=epochs.append, fallback=fallbacks.append)
        ran = worker.fit(plan, training_data(plan, data), progress, start=start)
    finally:
        worker.fit_path = "fast"
    return epochs, dict(ran), fallbacks


@pytest.fixture(scope="module")
def plain(
    workers: Callable[[str], Worker], small_data: Dataset
) -> Callable[[str], list[EpochRecord]]:
    def get(case: str) -> list[EpochRecord]:
        plan = make_plan(spec_of(**CASES[case]), small_data)
        return fitted(workers("torch"), plan, small_data, path="plain")[0]

    return get


@pytest.fixture(scope="module")
def eager() -> Iterator[Worker]:
    with Worker("captured_on_cpu:EagerBackend", accelerator="cpu") as worker:
        yield worker


def gaps(ours: list[EpochRecord], theirs: list[EpochRecord]) -> tuple[float, float]:
    """Largest difference of a weight, and of an epoch's loss."""
    pairs = list(zip(ours, theirs, strict=True))
    return (
        max(largest_gap(a.weights, b.weights) for a, b in pairs),
        max(abs(a.loss - b.loss) for a, b in pairs),
    )


@pytest.mark.parametrize("case", CASES)
def test_the_captured_step_trains_as_the_plain_one(
    eager: Worker, plain: Any, small_data: Dataset, case: str
) -> None:
    plan = make_plan(spec_of(**CASES[case]), small_data)
    epochs, ran, fallbacks = fitted(eager, plan, small_data)
    assert ran["cuda_graph"] is True
    assert not fallbacks
    weights, losses = gaps(epochs, plain(case))
    assert weights <= BOUND
    assert losses <= BOUND


@pytest.mark.parametrize("case", ["momentum", "schedule"])
def test_a_captured_run_goes_on(eager: Worker, small_data: Dataset, case: str) -> None:
    """The velocities that it starts with are those that the capture saves and puts back."""
    plan = make_plan(spec_of(**CASES[case]), small_data)
    straight, _, _ = fitted(eager, plan, small_data)
    start = State(2 * plan.steps_per_epoch, straight[1].weights, straight[1].slots or {})
    (last,), ran, _ = fitted(eager, plan, small_data, start=start)
    assert ran["cuda_graph"] is True
    assert largest_gap(last.weights, straight[2].weights) == 0
    assert last.loss == straight[2].loss


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        pytest.param("StaleRate", "schedule", marks=pytest.mark.long),
        pytest.param("KeptWarmUp", "momentum", marks=pytest.mark.long),
        ("StillCursor", "sgd"),
        pytest.param("EarlierLosses", "schedule", marks=pytest.mark.long),
    ],
)
def test_faults_are_seen(plain: Any, small_data: Dataset, fault: str, case: str) -> None:
    plan = make_plan(spec_of(**CASES[case]), small_data)
    with Worker(f"captured_on_cpu:{fault}Backend", accelerator="cpu") as worker:
        epochs, ran, _ = fitted(worker, plan, small_data)
    assert ran["cuda_graph"] is True
    assert max(gaps(epochs, plain(case))) > 1e-4


@pytest.mark.long
@pytest.mark.parametrize("fault", ["Failing", "FailingLater"])
def test_a_capture_that_fails_costs_speed_alone(
    plain: Any, small_data: Dataset, fault: str
) -> None:
    """At the start, and at a later learning rate, when training is under way."""
    plan = make_plan(spec_of(**CASES["schedule"]), small_data)
    with Worker(f"captured_on_cpu:{fault}Backend", accelerator="cpu") as worker:
        epochs, ran, (fallback,) = fitted(worker, plan, small_data)
    assert max(gaps(epochs, plain("schedule"))) <= BOUND
    assert ran["cuda_graph"] is False
    assert fallback.failed
    assert "(operation not permitted): its kernels are launched one by one" in fallback.reason


def test_no_memory_is_no_failed_capture(small_data: Dataset) -> None:
    plan = make_plan(spec_of(), small_data)
    with (
        Worker("captured_on_cpu:FullBackend", accelerator="cpu") as worker,
        pytest.raises(SetupError, match="out of memory") as caught,
    ):
        fitted(worker, plan, small_data)
    assert not isinstance(caught.value, BackendError)


def test_it_is_told_and_kept_in_the_record(
    small_data: Dataset, tmp_path: Path, no_figures: None
) -> None:
    told: list[str] = []
    run = train(
        spec_of(),
        backend="captured_on_cpu:FailingBackend",
        dataset=small_data,
        out=tmp_path / "run",
        accelerator="cpu",
        observer=Observer(fallback=told.append),
    )
    assert [run.record.flags["fallback"]] == told
    assert "could not be captured" in told[0]
    assert run.record.flags["cuda_graph"] is False
    assert run.record.status == "complete"


@pytest.mark.long
@pytest.mark.parametrize(("words", "code"), [((), 0), (("--fast",), 3)])
def test_asked_for_by_hand_it_is_an_error(
    cli: Any, idx_dir: Path, no_figures: None, words: tuple[str, ...], code: int
) -> None:
    done = cli(
        *("train", "--backend", "captured_on_cpu:FailingBackend", "--data-dir", idx_dir),
        *("--set", "model.layer_sizes=[30,9,4]", "--epochs", 1, "--out", "run", *words),
        *("--progress", "none"),
    )
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert "a step could not be captured as a CUDA graph (operation not permitted)" in line
    assert line.startswith("error: --fast was given, but" if code else "failingbackend: a step")
    record = json.loads(Path("run", "run.json").read_text(encoding="utf-8"))
    assert record["status"] == ("failed" if code else "complete")
    assert "CUDA graph" in record["flags"]["fallback"]
