"""A backend in its own process: what it may do to the parent, which is to say nothing."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from time import sleep
from typing import Any, cast

import numpy as np
import pytest

from mnist_mlp.contract import EpochRecord, Progress, State, TrainingData
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import (
    EXIT_ENVIRONMENT,
    EXIT_USAGE,
    BackendError,
    MissingPackagesError,
    MnistMlpError,
    SetupError,
    UsageError,
)
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.ports.protocol import AskedStates, PortJob
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.parent import Worker

FRAMEWORKS = {"jax", "keras", "lightning", "tensorflow", "torch", "torchmetrics", "torchvision"}

SPEC = parse_spec(
    {
        "model": {"layer_sizes": [30, 9, 4]},
        "training": {"batch_size": 32, "epochs": 3},
    }
)


@pytest.fixture(scope="module")
def plan(small_data: Dataset) -> Plan:
    return make_plan(SPEC, small_data)


@pytest.fixture(scope="module")
def rows(plan: Plan, small_data: Dataset) -> TrainingData:
    return training_data(plan, small_data)


def faulty(name: str, **options: Any) -> Worker:
    return Worker(f"faulty_backends:{name}Backend", **options)


def fitted(worker: Worker, plan: Plan, rows: TrainingData) -> list[EpochRecord]:
    records: list[EpochRecord] = []
    worker.open(plan.spec)
    worker.fit(plan, rows, Progress(epoch=records.append))
    return records


# --- The parent stays free of frameworks ----------------------------------------------------------


def test_every_answer_of_every_backend_leaves_the_parent_free(
    worker: Worker, plan: Plan, rows: TrainingData
) -> None:
    worker.describe()
    records = fitted(worker, plan, rows)
    state = State(0, plan.initial_weights)
    record = worker.step(state, rows.train_images[:5], rows.train_labels[:5])
    logits = worker.predict(records[-1].weights, rows.test_images)
    for array in (*records[-1].weights.values(), *record.gradient.values(), logits):
        assert type(array) is np.ndarray
    assert not FRAMEWORKS & set(sys.modules)


def test_a_training_call_imports_no_framework(idx_dir: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from mnist_mlp.data import load_dataset
from mnist_mlp.spec import parse_spec
from mnist_mlp.training import train
spec = parse_spec({{"model": {{"layer_sizes": [30, 9, 4]}}, "training": {{"epochs": 1}}}})
data = load_dataset("auto", data_dir=Path({str(idx_dir)!r}))
run = train(spec, backend="numpy", dataset=data, out=Path({str(tmp_path / "run")!r}))
print(run.record.status, *sorted({FRAMEWORKS!r} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["complete"]


def test_a_type_of_the_backend_s_own_is_refused(plan: Plan, rows: TrainingData) -> None:
    """Taking it in would import its module here, which for a tensor is the framework."""
    with faulty("OwnTypes") as worker:
        worker.open(SPEC)
        with pytest.raises(BackendError, match=r"returned a faulty_backends\.Thing"):
            worker.predict(plan.initial_weights, rows.test_images)
    assert "faulty_backends" not in sys.modules


# --- Backends that die ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words", "epochs"),
    [
        ("Killed", ["died in 'fit'", "killed by SIGKILL", "memory"], 0),
        ("Exiting", ["died in 'fit'", "exit code 7", "last words"], 0),
        ("Aborting", ["died in 'fit'", "killed by SIGABRT"], 1),
    ],
)
def test_a_dead_backend_says_how_it_died(
    plan: Plan, rows: TrainingData, name: str, words: list[str], epochs: int
) -> None:
    records: list[EpochRecord] = []
    with faulty(name) as worker:
        worker.open(SPEC)
        with pytest.raises(BackendError) as caught:
            worker.fit(plan, rows, Progress(epoch=records.append))
        assert caught.value.exit_code == EXIT_ENVIRONMENT
        for word in [f"'{name.lower()}backend'", *words]:
            assert word in str(caught.value)
        assert "first words" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(records) == epochs
        with pytest.raises(BackendError, match="died in 'predict'"):
            worker.predict(plan.initial_weights, rows.test_images)


def test_an_exception_of_a_backend_is_told_and_survived(plan: Plan, rows: TrainingData) -> None:
    with faulty("Raising") as worker:
        worker.open(SPEC)
        with pytest.raises(BackendError) as caught:
            worker.fit(plan, rows)
        text = "backend 'raisingbackend' failed: LookupError: no kernel for this device"
        assert str(caught.value) == text
        assert caught.value.exit_code == EXIT_ENVIRONMENT
        assert "second line" in caught.value.__notes__[0]
        assert worker.predict(plan.initial_weights, rows.test_images).shape == (63, 4)


def test_an_exception_without_words(plan: Plan) -> None:
    with faulty("SilentlyRaising") as worker:
        with pytest.raises(BackendError, match="AssertionError: no message"):
            worker.describe()
        with pytest.raises(BackendError, match="AssertionError: no message"):
            worker.open(plan.spec)


def test_flags_must_fit_into_json() -> None:
    with faulty("OddFlags") as worker, pytest.raises(BackendError, match="JSON"):
        worker.open(SPEC)


# --- Backends that print --------------------------------------------------------------------------


@pytest.mark.parametrize("verbose", [False, True])
def test_what_a_backend_prints_does_not_reach_the_messages(
    plan: Plan, rows: TrainingData, capfd: pytest.CaptureFixture[str], verbose: bool
) -> None:
    with faulty("Chatty", verbose=verbose) as worker, Worker("numpy") as quiet:
        ours, truth = fitted(worker, plan, rows), fitted(quiet, plan, rows)
    for mine, his in zip(ours, truth, strict=True):
        assert (mine.epoch, mine.loss) == (his.epoch, his.loss)
        for name, tensor in his.weights.items():
            np.testing.assert_array_equal(mine.weights[name], tensor)
    told = capfd.readouterr()
    assert told.out == ""
    for words in ("printed xxx", "written to the descriptor\n", "from a child\n"):
        assert (words in told.err) is verbose


# --- Backends that are not there ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "kind", "code", "words"),
    [
        (
            "faulty_backends:MissingBackend",
            MissingPackagesError,
            EXIT_ENVIRONMENT,
            "needs no_such_framework and nor_this_one, not installed here: "
            "run pip install no-such-framework",
        ),
        ("no_such_module:Backend", UsageError, EXIT_USAGE, "no module named 'no_such_module'"),
        ("faulty_backends:Nobody", UsageError, EXIT_USAGE, "faulty_backends has no Nobody"),
        ("os:path", UsageError, EXIT_USAGE, "'os:path': is no backend's class"),
        ("sys:maxsize", UsageError, EXIT_USAGE, "'sys:maxsize': is no backend's class"),
        ("builtins:int", UsageError, EXIT_USAGE, "'builtins:int': is no backend's class"),
        (
            "faulty_backends:IncompleteBackend",
            BackendError,
            EXIT_ENVIRONMENT,
            "has no method 'open'",
        ),
    ],
)
def test_what_is_missing_is_said(
    target: str, kind: type[MnistMlpError], code: int, words: str
) -> None:
    for call in (Worker.describe, lambda worker: worker.open(SPEC)):
        with Worker(target) as worker, pytest.raises(kind) as caught:
            call(worker)
        assert type(caught.value) is kind
        assert caught.value.exit_code == code
        assert words in str(caught.value)


def test_an_unknown_name_is_refused_before_a_process_starts() -> None:
    with pytest.raises(UsageError, match="unknown backend 'kears'; did you mean 'keras'"):
        Worker("kears")


def test_a_gpu_that_is_not_there_is_never_replaced_by_a_cpu(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shared workers were started with `cpu`, so they see no GPU on any machine."""
    monkeypatch.setattr(worker, "accelerator", "gpu")
    with pytest.raises(SetupError, match=f"--accelerator gpu: .*{worker.label}.*cpu") as caught:
        worker.open(SPEC)
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    monkeypatch.setattr(worker, "accelerator", "auto")
    opened = worker.open(SPEC)
    assert (opened.runtime.accelerator, opened.device) == ("cpu", "cpu")


@pytest.mark.parametrize(("accelerator", "visible"), [("cpu", "-1"), ("auto", "7")])
def test_threads_and_devices_are_fixed_before_the_start(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with faulty("Environment", accelerator=accelerator, threads=3) as worker:
        flags = worker.open(SPEC).flags
    assert flags["OMP_NUM_THREADS"] == flags["OPENBLAS_NUM_THREADS"] == "3"
    assert flags["CUDA_VISIBLE_DEVICES"] == visible
    assert flags["threads"] == 3


def test_a_model_that_ends_the_worker_is_named() -> None:
    """A user has to know which of two files it was."""
    with (
        Worker("hosts:LeavingBackend") as worker,
        pytest.raises(BackendError, match=r"died in 'describe_port' of port.py:Port \(exit code 7"),
    ):
        worker.describe_port("port.py:Port")


def test_calls_of_a_host_are_forwarded_by_name() -> None:
    """Arguments, results and callbacks are passed on; a new method needs no change here."""
    given: Any = "rows"
    with Worker("hosts:EchoBackend", accelerator="cpu", threads=3) as worker:
        with pytest.raises(BackendError, match="no port is open; call open_port first"):
            worker.predict_port({}, given)
        assert worker.describe_port("port.py:Port").framework == "port.py:Port 3"
        facts = worker.open_port("port.py:Port", data=given, image_shape=(2, 3))
        assert facts.framework == "port.py:Port 3 (2, 3) rows"
        told: list[Any] = []
        states: Any = {2: "second", 5: "fifth"}
        job = PortJob(cast(Any, "plan"), given, shared=states)
        worker.fit_port(job, on_step=told.append, on_epoch=lambda epoch: told.append([epoch]))
        assert told == [[("epoch", "plan")], (2, "second"), (5, "fifth")]
        assert worker.predict_port({"w": np.ones(1)}, given) == "rows"
        trained = worker.train_port(given, given, seed=7, native=True, on_epoch=told.append)
        assert (trained, told[-1]) == (7.5, {"loss": 7})
        assert worker._port("added", 3, by=4) == 7
    with (
        Worker("numpy", accelerator="cpu") as worker,
        pytest.raises(UsageError, match="cannot run a model of your own"),
    ):
        worker.open_port("port.py:Port", data=given, image_shape=(2, 3))


def test_the_time_that_an_answer_takes_is_not_the_workers() -> None:
    """Its limit is for what the user's code does, and that waits."""

    def slowly(step: int) -> Any:
        sleep(3)
        return f"before {step}"

    given: Any = "rows"
    told: list[Any] = []
    with Worker("hosts:EchoBackend", accelerator="cpu", timeout=1) as worker:
        worker.open_port("port.py:Port", data=given, image_shape=(2, 3))
        job = PortJob(cast(Any, "plan"), given, shared=AskedStates([4], slowly))
        worker.fit_port(job, on_step=told.append, on_epoch=told.append)
    assert told == [("epoch", "plan"), (4, "before 4")]


# --- Its memory -----------------------------------------------------------------------------------

TWO_THREADS = """
import ctypes, sys, threading
from mnist_mlp.memory import share_freed_memory

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1024

if sys.argv[1] == "shared":
    share_freed_memory()
libc = ctypes.CDLL(None)  # large blocks are kept, as the Keras backend has it
libc.mallopt(-4, 0)
libc.mallopt(-1, 1 << 30)
thread = threading.Thread(target=lambda: len(bytearray(60 << 20)))
thread.start()
thread.join()
before = resident()
block = bytearray(50 << 20)
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries share it anyway")
def test_what_one_thread_has_freed_another_uses() -> None:
    def grown(word: str) -> int:
        command = [sys.executable, "-c", TWO_THREADS, word]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    assert grown("shared") < 10  # MiB
    assert grown("not") > 40
