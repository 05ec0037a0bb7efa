"""Watch a worker while its parent waits for it: tell of silence, and end it at a time limit.

The parent waits in blocking reads and writes, which nothing in its main thread can interrupt. So a
thread of its own looks once a second. If it gives up, it kills the worker and all processes that
the worker started. That ends the read or write, because the other end of the pipe is then closed.

Time counts in steps of the thread, not by the clock: while this process was itself stopped
(Ctrl-Z), the worker was not late.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mnist_mlp.errors import TimeLimitError
from mnist_mlp.worker.stack import frames_of, place, written
from mnist_mlp.worker.warm import ForkedProcess

TICK_S = 1.0
SILENCE_S = 30.0
"""Seconds without a report until the first message; the next ones come after twice as long each."""
BEAT_S = 1.0
"""Seconds between two heartbeats of a worker."""
FAINT_S = 5.0
"""Seconds without a heartbeat after which a message says so."""

STOPPED = ("T", "t")  # states of a process: by a signal, by a debugger

log = logging.getLogger("mnist_mlp")
"""Messages about waiting. Where a program has not configured `logging`, they go to stderr."""


class Watch:
    """The watch over one worker process.

    Parameters
    ----------
    process : subprocess.Popen or ForkedProcess
        The worker; it leads its own process group.
    label : str
        The backend's name in messages.
    limit : float or None
        Most seconds without a report (an epoch, a step, a result) during a call.
    stacks : file
        Where the worker writes its stack at the limit (`mnist_mlp.worker.stack`).
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes] | ForkedProcess,
        *,
        label: str,
        limit: float | None,
        stacks: IO[bytes],
    ) -> None:
        self.process = process
        self.label = label
        self.limit = limit
        self.stacks = stacks
        self.target = ""
        """`file.py:NAME` of the user's model that the worker runs."""
        self.failure: BaseException | None = None
        """Why the worker was killed, to be raised by the call that waits for it."""
        self._method = ""
        self._started = False
        self._waiting = False
        self._where = ""
        self._silent_s = self._faint_s = 0.0
        self._next_s = SILENCE_S
        self._stopped_ticks = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def begin(self, method: str) -> None:
        """A call begins."""
        self._method = method
        self._where = ""
        self.reported()

    def reported(self) -> None:
        """The worker reported something: it makes progress."""
        self._silent_s = self._faint_s = 0.0
        self._next_s = SILENCE_S

    def beat(self, where: str) -> None:
        """The worker's heart beats, and its main thread is at `where`."""
        if not self._started:
            # How long Python takes to start is no matter of the call, nor does the worker know it.
            self._started = True
            self.reported()
        self._faint_s = 0.0
        self._where = where

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time counts only within this block: otherwise it is not the worker that is slow."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def kill(self) -> None:
        """Kill the worker, and all processes that it started, such as those of a DataLoader."""
        if self.process.returncode is not None:
            return  # it has been waited for, and its number may belong to another process
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def close(self) -> None:
        """End the watch."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(TICK_S):
            now = time.monotonic()
            self._look(min(now - last, 2 * TICK_S))
            last = now

    def _look(self, passed_s: float) -> None:
        state = process_state(self.process.pid)
        if state == "Z":
            # It has died, but processes that it started may hold its end of the pipe open.
            self.kill()
        if not self._waiting or self.failure is not None:
            return
        self._silent_s += passed_s
        self._faint_s += passed_s
        stopped = state in STOPPED
        self._tell_of_stops(stopped=stopped)
        if self.limit is not None and self._silent_s >= self.limit:
            self._give_up(self.limit, stopped=stopped)
        elif self._silent_s >= self._next_s and not stopped:
            self._next_s *= 2
            log.warning("%s", self._silence())

    def _tell_of_stops(self, *, stopped: bool) -> None:
        pid = self.process.pid
        self._stopped_ticks = self._stopped_ticks + 1 if stopped else 0
        if self._stopped_ticks == 2:  # a debugger may stop it for a moment
            log.warning(
                "the %s worker (process %d) is stopped, as by SIGSTOP; let it go on with "
                "`kill -CONT %d`, or end this program with Ctrl-C",
                *(self.label, pid, pid),
            )

    def _silence(self) -> str:
        text = (
            f"still waiting for the {self.label} worker: {self._silent_s:.0f} s without a report "
            f"in {self._method!r}"
        )
        if self._where:
            text += f", now at {self._where}"
        if self._faint_s > FAINT_S:
            text += f"; no heartbeat for {self._faint_s:.0f} s: its Python is blocked"
        return text

    def _give_up(self, limit: float, *, stopped: bool) -> None:
        stack = "" if stopped else written(self.stacks)
        where = place(frames_of(stack), self.target) or self._where
        running = f", running {self.target}," if self.target else ""
        failure = TimeLimitError(
            f"time limit: the {self.label} worker{running} reported nothing for {limit:g} s in "
            f"{self._method!r}"
            + (f"; it was at {where}" if where else "")
            + ("; it was stopped, as by SIGSTOP" if stopped else "")
            + ". Allow it more time with --timeout if it was only slow"
        )
        if stack:
            failure.add_note(stack)
        self.end(failure)

    def end(self, failure: BaseException) -> None:
        """Kill the worker; the call that waits for it raises `failure`. From any thread."""
        if self.failure is None:
            self.failure = failure
        self.kill()


def process_state(pid: int) -> str:
    """The state of a process: R, S, D, T (stopped), Z (dead, not waited for), ...

    Empty where the system does not tell, or where there is no such process.
    """
    with suppress(OSError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[0]
    return ""
