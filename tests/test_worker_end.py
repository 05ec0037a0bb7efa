"""The end of a worker: with its parent, or when it is closed, however busy it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_mlp.spec import Spec
from mnist_mlp.worker.parent import Worker


def running(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], Any], *, seconds: float) -> float:
    """Seconds until it holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "waited in vain"
        time.sleep(0.02)
    return time.monotonic() - start


def pid_in(path: Path) -> int:
    wait_for(lambda: path.exists() and path.read_text(), seconds=20)
    return int(path.read_text())


def test_a_busy_child_goes_with_its_killed_parent(tmp_path: Path) -> None:
    script = (
        "from mnist_mlp.spec import Spec\nfrom mnist_mlp.worker.parent import Worker\n"
        "Worker('faulty_backends:DeafBackend').open(Spec())"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path) as parent:
        child = pid_in(tmp_path / "deaf.pid")
        assert running(child)
        parent.kill()
        parent.wait()
        wait_for(lambda: not running(child), seconds=2)


def test_what_the_child_started_goes_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import time\nfrom mnist_mlp.spec import Spec\nfrom mnist_mlp.worker.parent import Worker\n"
        "worker = Worker('faulty_backends:ParentBackend')\nworker.open(Spec())\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path) as parent:
        grandchild = pid_in(tmp_path / "child.pid")
        assert running(grandchild)
        parent.kill()
        parent.wait()
        wait_for(lambda: not running(grandchild), seconds=2)


def test_close_ends_a_busy_child_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent gives up in the middle of a call, as on Ctrl-C."""
    monkeypatch.chdir(tmp_path)
    previous = signal.signal(signal.SIGALRM, _give_up)

    def ring() -> None:
        pid_in(tmp_path / "deaf.pid")
        os.kill(os.getpid(), signal.SIGALRM)

    try:
        with pytest.raises(TimeoutError), Worker("faulty_backends:DeafBackend") as worker:
            threading.Thread(target=ring, daemon=True).start()
            worker.open(Spec())
    finally:
        signal.signal(signal.SIGALRM, previous)
    child = pid_in(tmp_path / "deaf.pid")
    assert not running(child)
    with pytest.raises(ProcessLookupError):  # and it is reaped
        os.kill(child, 0)


def test_close_ends_what_the_child_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Worker("faulty_backends:ParentBackend") as worker:
        worker.open(Spec())
        grandchild = pid_in(tmp_path / "child.pid")
        assert running(grandchild)
    wait_for(lambda: not running(grandchild), seconds=2)


def test_closing_twice_is_harmless() -> None:
    with Worker("numpy") as worker:
        worker.open(Spec())
    worker.close()


def _give_up(*_: object) -> None:
    raise TimeoutError
