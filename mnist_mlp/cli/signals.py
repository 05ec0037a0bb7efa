"""Turn the signals that ask a process to end into exceptions, so that a run can be marked.

SIGHUP (the terminal was closed) is treated like SIGTERM. SIGINT (Ctrl-C) stays a
`KeyboardInterrupt`. After the first signal, others are ignored for some seconds: a terminal that
closes sends SIGHUP twice, service managers send SIGTERM and SIGHUP, and people press Ctrl-C
repeatedly. None of that may interrupt the cleaning up.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import zipfile
from types import FrameType

from mnist_mlp.errors import TerminatedRun

CLEANING_S = 5.0
"""How long further signals are ignored, in seconds. Marking a run takes far less. If the program
still runs after that, it is stuck, and the next signal must be able to end it."""

_STOPS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


def _in_archive(frame: FrameType | None) -> bool:
    """Whether a zip archive is being read or written.

    If that is interrupted, closing the archive raises another exception.
    """
    while frame is not None:
        if frame.f_code.co_filename == zipfile.__file__:
            return True
        frame = frame.f_back
    return False


def raise_on_signals() -> None:
    """Install the handlers. A signal that this process was told to ignore stays ignored.

    Python only prints what is raised in a callback of a weak reference or in `__del__`. The signal
    is then sent again, so that it is not lost.
    """
    stopped_at = -CLEANING_S
    last = 0
    print_unraisable = sys.unraisablehook

    def send_again(number: int) -> None:
        nonlocal stopped_at
        stopped_at = -CLEANING_S
        # To the main thread itself: only that ends a `sleep`.
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    def send_later(number: int) -> None:
        threading.Timer(0.01, send_again, (number,)).start()

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped_at, last
        if time.monotonic() - stopped_at < CLEANING_S:
            return
        if _in_archive(frame):
            send_later(number)
            return
        stopped_at, last = time.monotonic(), number
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise TerminatedRun(f"terminated by {signal.Signals(number).name}")

    def unraisable(ignored: sys.UnraisableHookArgs) -> None:
        if last and isinstance(ignored.exc_value, KeyboardInterrupt | TerminatedRun):
            send_later(last)
        else:
            print_unraisable(ignored)

    sys.unraisablehook = unraisable
    for name in _STOPS:
        number = getattr(signal, name, None)
        # nohup makes a process ignore SIGHUP, and shells do so with SIGINT for background jobs.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
