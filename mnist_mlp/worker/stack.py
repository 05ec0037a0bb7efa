"""Find out where a worker is: the line of the user's code, if any, that its main thread runs.

While the worker's Python still runs, its heartbeat says so (`where`). If it does not, for instance
inside a C function that keeps the interpreter's lock, `faulthandler` writes the stack: it needs no
lock, because a signal handler in C does it (`dump_on_signal`, `dumped`).
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

from mnist_mlp.ports.user_code import belongs_to_user, shown_path

SIGNAL = getattr(signal, "SIGUSR1", None)
"""Asks the worker for its stack. Windows has no such signal."""

# A line of faulthandler's: `  File "port.py", line 3 in forward`.
_FRAME = re.compile(r'^ {2}File "(.+)", line (\d+) in (.+)$', flags=re.MULTILINE)
_DUMP_S = 1.0
_LONGEST = 2**20  # bytes of a dump: 100 frames of 100 threads at most


class Frame(NamedTuple):
    """A function that is being executed, and the line in it."""

    file: str
    line: int
    function: str


def where(target: str) -> str:
    """The place that this process's main thread is at, as `port.py:12 (forward)`.

    `target` is `file.py:NAME` of a user's model; empty if there is none.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    frames = []
    while frame is not None:
        frames.append(Frame(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return place(frames, target)


def place(frames: Iterable[Frame], target: str) -> str:
    """The innermost line of the user's code, or else the innermost line.

    `frames` begin with the innermost. The result is empty if there is none.
    """
    frames = list(frames)
    path = target.rpartition(":")[0]
    users = [frame for frame in frames if path and _users(frame.file, path)]
    for file, line, function in users or frames:
        shown = shown_path(Path(file), Path(path)) if users else _short(file)
        return f"{shown}:{line} ({function})"
    return ""


@cache
def _users(file: str, path: str) -> bool:
    return belongs_to_user(Path(file), Path(path))


def _short(file: str) -> str:
    """A file of a package by its last two parts: `torch/serialization.py`."""
    return "/".join(Path(file).parts[-2:])


def dump_on_signal(file: int) -> None:
    """Write the stacks of this process to an open file, by its number, whenever `SIGNAL` comes."""
    if SIGNAL is not None:
        faulthandler.register(SIGNAL, file=file, all_threads=True)


def dumped(pid: int, file: IO[bytes]) -> str:
    """Ask a worker for the stack of its main thread; empty if it gives none within a second."""
    if SIGNAL is None:
        return ""
    with suppress(OSError):
        os.kill(pid, SIGNAL)
    end = time.monotonic() + _DUMP_S
    text = ""
    while time.monotonic() < end:
        time.sleep(0.05)
        # Not `read`: the worker writes at the same file position, which reading would move.
        text, before = os.pread(file.fileno(), _LONGEST, 0).decode(errors="replace"), text
        if text and text == before:  # nothing more is being written
            break
    # The main thread was started first, and faulthandler writes it last.
    return text.strip().rpartition("\n\n")[2]


def frames_of(stack: str) -> list[Frame]:
    """The frames in a text of faulthandler's, innermost first."""
    return [Frame(file, int(line), name) for file, line, name in _FRAME.findall(stack)]
