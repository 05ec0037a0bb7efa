"""Turn the signals that ask a process to end into exceptions, so that a run can be marked.

SIGHUP (the terminal was closed) is treated like SIGTERM. SIGINT (Ctrl-C) stays a
`KeyboardInterrupt`. After the first signal, others are ignored for some seconds: a terminal that
closes sends SIGHUP twice, service managers send SIGTERM and SIGHUP, and people press Ctrl-C
repeatedly. None of that may interrupt the cleaning up.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from mnist_mlp.errors import TerminatedRun

CLEANING_S = 5.0
"""How long further signals are ignored, in seconds. Marking a run takes far less. If the program
still runs after that, it is stuck, and the next signal must be able to end it."""

_STOPS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


def _would_be_ignored(frame: FrameType | None) -> bool:
    """Whether Python would only print an exception, as it does in a callback of its imports."""
    while frame is not None:
        code = frame.f_code
        if (code.co_filename, code.co_name) == ("<frozen importlib._bootstrap>", "cb"):
            return True
        frame = frame.f_back
    return False


def raise_on_signals() -> None:
    """Install the handlers. A signal that this process was told to ignore stays ignored."""
    stopped_at = -CLEANING_S

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped_at
        if _would_be_ignored(frame):
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()  # again, outside of it
            return
        if time.monotonic() - stopped_at < CLEANING_S:
            return
        stopped_at = time.monotonic()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise TerminatedRun(f"terminated by {signal.Signals(number).name}")

    for name in _STOPS:
        number = getattr(signal, name, None)
        # nohup makes a process ignore SIGHUP, and shells do so with SIGINT for background jobs.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
