"""Signals that ask the program to end: at any moment, once or repeatedly."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from mnist_mlp.cli.signals import raise_on_signals
from mnist_mlp.errors import TerminatedRun

Cli = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("heeded")

STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]


@pytest.fixture(autouse=True)
def handlers_stay() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_second_signal_does_not_interrupt_the_cleaning_up() -> None:
    """A terminal that closes sends SIGHUP twice."""
    raise_on_signals()
    cleaned = False
    with pytest.raises(TerminatedRun, match="terminated by SIGHUP"):
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
            cleaned = True
    assert cleaned


def test_later_a_signal_is_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is stuck while it cleans up must not be deaf."""
    raise_on_signals()
    with pytest.raises(TerminatedRun):
        os.kill(os.getpid(), signal.SIGTERM)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 6)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise_on_signals()
    os.kill(os.getpid(), signal.SIGHUP)


def test_a_signal_while_an_archive_is_written_is_not_taken_for_a_fault() -> None:
    # Closing the archive would raise "there is an open writing handle on it" in its place.
    class Interrupting(io.BytesIO):
        """A file whose first write is interrupted."""

        def write(self, content: Any) -> int:
            if not self.getbuffer():
                signal.raise_signal(signal.SIGTERM)
            return super().write(content)

    raise_on_signals()
    with pytest.raises(TerminatedRun):
        with zipfile.ZipFile(Interrupting(), "w") as archive:
            archive.writestr("name", "text")
        time.sleep(60)


def test_a_signal_within_a_callback_of_a_weak_reference_is_not_lost() -> None:
    # Python's imports and matplotlib use such callbacks, and what they raise is ignored.
    class Held:
        """Something that can be referred to weakly."""

    held = Held()
    reference = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGINT))
    raise_on_signals()
    with pytest.raises(KeyboardInterrupt):
        del held
        time.sleep(60)
    assert reference() is None


@contextmanager
def silent_server() -> Iterator[int]:
    """A port of this machine that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield server.getsockname()[1]


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_during_a_download(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Nothing is marked yet, and nothing is left behind."""
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mnist_mlp.cli import main\nmain(sys.argv[1:])"
    )
    words = "--backend numpy --dataset mnist --out run --json --mirror"
    unset = {key: value for key, value in os.environ.items() if key != "MNIST_MLP_DATA"}
    cache = tmp_path / "cache"
    with (
        silent_server() as port,
        subprocess.Popen(
            [sys.executable, "-c", script, *words.split(), f"http://127.0.0.1:{port}/"],
            cwd=tmp_path,
            env=unset | {"MNIST_MLP_CACHE": str(cache), "NO_PROXY": "127.0.0.1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        assert process.stderr.readline() == "numpy: starting\n"
        assert process.stderr.readline().startswith("downloading ")
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert json.loads(stdout)["exit_code"] == code
    assert "Traceback" not in stderr
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_during_an_import(
    cli: Cli,
    finished_run: Path,
    idx_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
) -> None:
    """What is half written says so."""

    def stopped(_: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("mnist_mlp.exchange.importing.write_evaluation", stopped)
    words = ("import", finished_run / "weights.safetensors", "--layout", "keras", "--out", "run")
    network = ("--set", "model.layer_sizes=[30,9,4]", "--data-dir", idx_dir)
    assert cli(*words, *network).returncode == code
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "interrupted"
