"""Workers that are forked from a process with the framework: as good as new ones, or not used."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mnist_mlp.contract import EpochRecord, Progress
from mnist_mlp.data import Dataset
from mnist_mlp.errors import BackendError
from mnist_mlp.plan import make_plan, training_data
from mnist_mlp.registry import target_of
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.parent import Worker
from mnist_mlp.worker.warm import (
    FOLDER,
    PLAIN,
    ForkedProcess,
    conditions,
    forked,
    socket_of,
    warm_workers,
)

SPEC = parse_spec(
    {
        "model": {"layer_sizes": [30, 9, 4]},
        "optimizer": {"learning_rate": 0.5},
        "training": {"batch_size": 32, "epochs": 2},
    }
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux only")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The folder of a process that has imported NumPy's backend, ready to be forked."""
    before = os.environ.pop(FOLDER, None)
    try:
        with warm_workers():
            yield warmed("numpy")
    finally:
        if before is not None:
            os.environ[FOLDER] = before


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def warmed(backend: str) -> Path:
    """The folder of the socket of a process that a backend's next worker is forked from."""
    folder = Path(os.environ[FOLDER].rpartition(":")[0])
    socket = socket_of(folder, target_of(backend))
    for _ in range(2):
        if not socket.exists():
            Worker(backend).close()
    wait_for(socket.exists, 120)
    return folder


def trained(backend: str, data: Dataset) -> tuple[bool, list[EpochRecord]]:
    """Whether the worker was forked, and the records of a training."""
    plan = make_plan(SPEC, data)
    rows = training_data(plan, data)
    records: list[EpochRecord] = []
    with Worker(backend, accelerator="cpu") as worker:
        worker.open(SPEC)
        worker.fit(plan, rows, Progress(epoch=records.append))
        return isinstance(worker._process, ForkedProcess), records


@pytest.mark.long
def test_the_same_bits(backend: str, small_data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed(backend)
    is_forked, warm = trained(backend, small_data)
    monkeypatch.delenv(FOLDER)
    is_cold_forked, cold = trained(backend, small_data)
    assert (is_forked, is_cold_forked) == (True, False)
    for one, other in zip(warm, cold, strict=True):
        assert one.val_loss == other.val_loss
        for name, tensor in one.weights.items():
            np.testing.assert_array_equal(tensor, other.weights[name])


@pytest.mark.usefixtures("folder")
def test_the_end_is_told() -> None:
    with Worker("numpy") as worker:
        assert isinstance(worker._process, ForkedProcess)
        worker.describe()
        with pytest.raises(subprocess.TimeoutExpired):
            worker._process.wait(0.1)
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(BackendError, match="killed by SIGKILL"):
            worker.describe()
    assert worker._process.returncode == -signal.SIGKILL
    wait_for(lambda: not Path(f"/proc/{worker._process.pid}").exists())


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("limit", [resource.RLIMIT_CORE, resource.RLIMIT_NOFILE])
def test_other_limits_are_those_of_a_new_process(limit: int) -> None:
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (max(soft - 1, 0) if soft > 0 else min(hard, 1), hard))
    if resource.getrlimit(limit) == (soft, hard):
        pytest.skip("this limit cannot be changed here")
    try:
        with Worker("numpy") as worker:
            assert not isinstance(worker._process, ForkedProcess)
    finally:
        resource.setrlimit(limit, (soft, hard))


@pytest.mark.usefixtures("folder")
def test_what_a_framework_reads_when_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_MLP_CACHE", "anywhere")  # read later, by us
    with Worker("numpy") as worker:
        assert isinstance(worker._process, ForkedProcess)
    with Worker("numpy", threads=2) as worker:
        assert not isinstance(worker._process, ForkedProcess)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    with Worker("numpy") as worker:
        assert not isinstance(worker._process, ForkedProcess)


def test_a_special_worker_starts_no_process_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    with warm_workers():
        for _ in range(3):
            Worker("numpy", threads=2).close()
        time.sleep(1)
        folder = Path(os.environ[FOLDER].rpartition(":")[0])
        assert [path.name for path in folder.iterdir()] == [PLAIN]
        warmed("numpy")
        with Worker("numpy") as worker:
            assert isinstance(worker._process, ForkedProcess)


@pytest.mark.usefixtures("folder")
def test_a_backend_of_the_working_directory_is_never_forked() -> None:
    for _ in range(3):
        with Worker("hosts:EchoBackend") as worker:
            assert not isinstance(worker._process, ForkedProcess)


def test_it_stands_where_its_parent_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Working directory, umask and variables, and random numbers of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_MLP_DATA", "there")
    monkeypatch.setenv(FOLDER, f"{folder}:{os.getpid()}")
    before = os.umask(0o027)
    try:
        with Worker("numpy") as worker:
            worker.describe()
            process = Path(f"/proc/{worker._process.pid}")
            assert (process / "cwd").readlink() == tmp_path
            assert "Umask:\t0027" in (process / "status").read_text()
    finally:
        os.umask(before)
    assert conditions()["environment"] == conditions(os.environ)["environment"]


def test_it_ends_with_its_folder() -> None:
    before = os.environ.pop(FOLDER, None)
    try:
        with warm_workers():
            folder = warmed("numpy")
            assert len(running(folder)) == 1
        wait_for(lambda: not running(folder), 10)
    finally:
        if before is not None:
            os.environ[FOLDER] = before


def running(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(int(process.name))
    return found


def test_without_a_process_nothing_is_forked(tmp_path: Path) -> None:
    files = {"stderr": 2, "stacks": 2}
    assert forked("numpy:X", "numpy", limit="", environment={}, **files) is None
    gone = {FOLDER: f"{tmp_path / 'gone'}:1"}
    assert forked("numpy:X", "numpy", limit="", environment=gone, **files) is None
