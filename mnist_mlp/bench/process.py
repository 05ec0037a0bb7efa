"""Time commands as whole processes: wall clock, peak memory, and the load of the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mnist_mlp.run.machine import peak_memory

# Memory is sampled 20 times a second; at a lower rate, short peaks would be missed.
_POLL_S = 0.05


@dataclass(frozen=True)
class Finished:
    """A command that has ended.

    `peak` is in bytes; 0 where the system does not report it. `first_words` are the seconds until
    it printed something, or None if it printed nothing.
    """

    seconds: float
    first_words: float | None
    peak: int
    code: int
    stderr: str

    @property
    def last_words(self) -> str:
        """The last line it printed on stderr, and its exit code."""
        lines = self.stderr.strip().splitlines()
        return f"exit code {self.code}" + (f": {lines[-1].strip()[:300]}" if lines else "")


def timed(command: Sequence[str], *, environment: Mapping[str, str]) -> Finished:
    """Run a command from start to end in a process group of its own; only its stderr is kept.

    `peak` is that of its largest process: where a command starts others, the one that computes.
    """
    peak, first_words = 0, None
    done = threading.Event()

    with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as output:
        start = time.perf_counter()

        def watch(pid: int) -> None:
            nonlocal peak, first_words
            while not done.wait(_POLL_S):
                peak = max(peak, *(peak_memory(each) for each in _family(pid)))
                if first_words is None and any(_size(file) for file in (log, output)):
                    first_words = time.perf_counter() - start

        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            env=dict(environment),
            start_new_session=True,
        )
        watcher = threading.Thread(target=watch, args=(process.pid,), daemon=True)
        watcher.start()
        try:
            process.wait()
            seconds = time.perf_counter() - start
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            done.set()
            watcher.join()
        log.seek(0)
        text = log.read().decode(errors="replace")
    return Finished(seconds, first_words, peak, process.returncode, text)


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:  # the list grows while it is walked
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


class Others:
    """Counts the cores that other programs kept busy, on average since this object was made.

    That is the machine's busy time minus our own and that of our children that have ended. Time
    that a virtual machine's host took away (steal) counts as time of other programs.
    """

    def __init__(self) -> None:
        self._start = self._now()

    def cores(self) -> float | None:
        """The number of cores; None where the system does not report it."""
        end = self._now()
        if end is None or self._start is None:
            return None
        busy, ours, clock = (b - a for a, b in zip(self._start, end, strict=True))
        return round(max(busy - ours, 0.0) / max(clock, 1e-9), 3)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        with suppress(OSError, ValueError, IndexError):
            words = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
            user, nice, system, _idle, _waiting, *rest = (int(word) for word in words[1:9])
            busy = (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
            return busy, sum(os.times()[:4]), time.perf_counter()
        return None


def load() -> float | None:
    """Load average of the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
