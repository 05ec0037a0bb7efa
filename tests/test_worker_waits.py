"""Waiting for a worker: silence is told, a limit is kept, and the place where it hangs is named."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from mnist_mlp.contract import Progress
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import BackendError, TimeLimitError
from mnist_mlp.plan import Plan, TrainingData, make_plan, training_data
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.worker import watch
from mnist_mlp.worker.parent import Worker
from mnist_mlp.worker.stack import Frame, frames_of, place

Cli = Callable[..., CompletedProcess[str]]

SPEC = parse_spec(
    {"model": {"layer_sizes": [30, 9, 4]}, "training": {"batch_size": 32, "epochs": 3}}
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture(scope="module")
def plan(small_data: Dataset) -> Plan:
    return make_plan(SPEC, small_data)


@pytest.fixture(scope="module")
def rows(plan: Plan, small_data: Dataset) -> TrainingData:
    return training_data(plan, small_data)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that looks ten times a second, and tells of silence after half a second."""
    monkeypatch.setattr(watch, "TICK_S", 0.1)
    monkeypatch.setattr(watch, "SILENCE_S", 0.5)


@contextmanager
def opened(
    backend: str,
    caplog: pytest.LogCaptureFixture | None = None,
    *,
    limit: float | None,
    spec: Spec = SPEC,
) -> Iterator[Worker]:
    """An open backend, with a limit from now on: a busy machine may take longer to import it."""
    with Worker(backend, accelerator="cpu") as worker:
        worker.open(spec)
        if caplog is not None:
            caplog.clear()
        worker._watch.limit = limit
        yield worker


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("Sleeping", r"hanging\.py:\d+ \(sleep\)"),
        # Its heart does not beat, but its stack can be had.
        ("Greedy", r"re/__init__\.py:\d+ \(match\)"),
    ],
)
def test_a_call_that_hangs_is_ended_and_its_place_is_named(
    plan: Plan, rows: TrainingData, name: str, where: str
) -> None:
    # The limit from the start on, since the worker has to know of it to write its stack.
    with Worker(f"hanging:{name}Backend", accelerator="cpu", timeout=5) as worker:
        worker.open(SPEC)
        start = time.monotonic()
        with pytest.raises(TimeLimitError) as caught:
            worker.fit(plan, rows)
        assert time.monotonic() - start < 20  # it would sleep for a minute
        pid = worker._process.pid
    assert caught.match(
        rf"time limit: the {name.lower()}backend worker reported nothing for 5 s in 'fit'; "
        rf"it was at \S*{where}\. Allow it more time with --timeout"
    )
    (stack,) = caught.value.__notes__
    assert "in fit" in stack
    assert stack.startswith("Thread")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


PORT = """\
import threading


def build():
    def wait():
        threading.Event().wait()

    return wait()
"""


@pytest.mark.usefixtures("quick")
def test_the_line_of_a_user_s_code_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not that of the library that it waits in, neither while it hangs nor at the limit."""
    port = tmp_path / "port.py"
    port.write_text(PORT)
    port_backend = Worker("hanging:PortBackend", accelerator="cpu", timeout=5)
    with port_backend as worker, pytest.raises(TimeLimitError) as caught:
        worker.describe_port(f"{port}:build")
    assert f"in 'describe_port'; it was at {port}:6 (wait)" in str(caught.value)
    assert 'threading.py", line' in caught.value.__notes__[0]
    assert caplog.messages[-1].endswith(f"in 'describe_port', now at {port}:6 (wait)")


@pytest.mark.usefixtures("quick")
def test_a_stopped_worker_is_noticed(
    plan: Plan, rows: TrainingData, caplog: pytest.LogCaptureFixture
) -> None:
    with opened("hanging:StoppedBackend", limit=2) as worker:
        with pytest.raises(TimeLimitError, match="it was stopped, as by SIGSTOP"):
            worker.fit(plan, rows)
        pid = worker._process.pid
    (told,) = (text for text in caplog.messages if "still waiting" not in text)
    assert told == (
        f"the stoppedbackend worker (process {pid}) is stopped, as by SIGSTOP; let it go on with "
        f"`kill -CONT {pid}`, or end this program with Ctrl-C"
    )


@pytest.mark.usefixtures("quick")
def test_a_worker_that_is_stopped_while_it_is_written_to(
    plan: Plan, rows: TrainingData, caplog: pytest.LogCaptureFixture
) -> None:
    """The parent blocks in writing, since nobody reads; a continued worker goes on."""
    with opened("numpy", caplog, limit=None) as worker:
        pid = worker._process.pid
        os.kill(pid, signal.SIGSTOP)

        def go_on() -> None:
            wait_until(lambda: any("kill -CONT" in text for text in caplog.messages))
            os.kill(pid, signal.SIGCONT)

        helper = threading.Thread(target=go_on)
        helper.start()
        large: Any = {**plan.initial_weights, "filler": bytearray(2**22)}
        with pytest.raises(BackendError, match=r"filler|failed"):
            worker.predict(large, "no images")  # type: ignore[arg-type]
        helper.join()
        assert any(f"kill -CONT {pid}" in text for text in caplog.messages)
        worker.fit(plan, rows)


def wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.usefixtures("quick")
def test_silence_is_told_with_growing_pauses(
    plan: Plan, rows: TrainingData, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        opened("hanging:SleepingBackend", caplog, limit=2.5) as worker,
        pytest.raises(TimeLimitError),
    ):
        worker.fit(plan, rows)
    first, *_, last = caplog.messages
    assert len(caplog.messages) == 3, "after 0.5, 1 and 2 s"
    assert first.startswith("still waiting for the sleepingbackend worker: ")
    assert "s without a report in 'fit', now at " in last
    assert "hanging.py" in last


@pytest.mark.usefixtures("quick")
def test_a_worker_whose_python_is_blocked(
    plan: Plan,
    rows: TrainingData,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "FAINT_S", 1.2)
    with (
        opened("hanging:GreedyBackend", caplog, limit=2.5) as worker,
        pytest.raises(TimeLimitError),
    ):
        worker.fit(plan, rows)
    assert "no heartbeat" not in caplog.messages[0]
    assert "its Python is blocked" in caplog.messages[-1]


@pytest.mark.usefixtures("quick")
def test_reports_restart_the_clock(plan: Plan, rows: TrainingData) -> None:
    """A run of 3 s, with a report every 0.25 s, keeps a limit of 2 s."""
    epochs: list[Any] = []
    training = SPEC.training.model_copy(update={"epochs": 12})
    long = replace(plan, spec=SPEC.model_copy(update={"training": training}))
    with opened("faulty_backends:SlowBackend", limit=2, spec=long.spec) as worker:
        start = time.monotonic()
        worker.fit(long, rows, Progress(epoch=epochs.append))
        assert time.monotonic() - start > 2.5
    assert len(epochs) == 12


@pytest.mark.usefixtures("quick")
def test_the_parent_s_own_time_does_not_count(plan: Plan, rows: TrainingData) -> None:
    def slowly(_: Any) -> None:
        time.sleep(1.5)

    with opened("numpy", limit=1.2) as worker:
        worker.fit(plan, rows, Progress(epoch=slowly))


@pytest.mark.usefixtures("quick")
def test_a_killed_worker_is_noticed_though_its_pipe_stays_open(
    plan: Plan, rows: TrainingData
) -> None:
    with opened("hanging:OrphaningBackend", limit=None) as worker:
        start = time.monotonic()
        with pytest.raises(BackendError, match="killed by SIGKILL"):
            worker.fit(plan, rows)
    assert time.monotonic() - start < 20


def test_without_a_program_s_own_logging_it_goes_to_stderr() -> None:
    assert not watch.log.handlers
    assert watch.log.propagate
    assert logging.lastResort is not None
    assert logging.lastResort.level <= logging.WARNING


# --- On the command line --------------------------------------------------------------------------


def test_a_limit_on_a_user_s_backend(cli: Cli, idx_dir: Path, tmp_path: Path) -> None:
    words = ("--backend", "hanging:SleepingBackend", "--set", "model.layer_sizes=[30,9,4]")
    done = cli(*words, "--data-dir", idx_dir, "--out", "run", "--timeout", 1, "--json")
    assert done.returncode == 3
    answer = json.loads(done.stdout)["error"]
    assert answer["kind"] == "TimeLimitError"
    assert "reported nothing for 1 s in 'fit'; it was at " in answer["message"]
    assert "in sleep" in done.stderr, "the stack"
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["error"]) == ("failed", answer["message"])


@pytest.mark.parametrize("command", ["train", "compare", "check"])
def test_a_limit_is_a_number_of_seconds(cli: Cli, command: str) -> None:
    for wrong in ("0", "-1", "nan", "soon"):
        assert cli(command, "--timeout", wrong, "numpy", "numpy").returncode == 2
    assert "--timeout" in cli(command, "--help").stdout


# --- The place ------------------------------------------------------------------------------------

DUMP = """\
Current thread 0x00007f (most recent call first):
  File "{port}", line 12 in forward
  File "/site-packages/torch/nn/modules/module.py", line 1751 in _call_impl
  File "<string>", line 1 in <module>
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "port.py").write_text("")
    yield tmp_path / "port.py"


def test_the_innermost_line_of_the_user_s_is_named(port: Path) -> None:
    frames = frames_of(DUMP.format(port=port))
    assert frames[0] == Frame(str(port), 12, "forward")
    assert len(frames) == 3
    assert place(frames, f"{port}:Port") == f"{port}:12 (forward)"
    inner = [Frame("/site-packages/torch/serialization.py", 7, "load"), *frames]
    assert place(inner, f"{port}:Port") == f"{port}:12 (forward)"
    assert place(inner, "") == "torch/serialization.py:7 (load)"
    assert place([], "") == ""
