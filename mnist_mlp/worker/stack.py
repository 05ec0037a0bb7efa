"""Find out where a worker is: the line of the user's code, if any, that its main thread runs.

While the worker's Python still runs, its heartbeat says where it is (`where`). At the time limit,
`faulthandler` writes the whole stack (`StackWriter`, `written`). It does so in a thread of C, so
that it works even inside a C function that keeps the interpreter's lock. It is not asked by a
signal, because frameworks change signal handlers: Lightning resets all of them after each fit.
"""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import threading
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

from mnist_mlp.ports.user_code import belongs_to_user, path_of, shown_path

# A line of faulthandler's: `  File "port.py", line 3 in forward`.
_FRAME = re.compile(r'^ {2}File "(.+)", line (\d+) in (.+)$', flags=re.MULTILINE)
_LATE_S = 4.0  # on a busy machine, the call may have begun as much later
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
    path = str(path_of(target)) if target else ""
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


class StackWriter:
    """Writes this process's stack when it has reported nothing for some time.

    Parameters
    ----------
    limit : float or None
        That time in seconds; None: never.
    file : int
        The number of the open file for the stacks.
    """

    def __init__(self, limit: float | None, file: int) -> None:
        self.limit = limit
        self.file = file

    def restart(self) -> None:
        """The time begins anew: a call begins, or something was reported."""
        if self.limit is None:
            return
        faulthandler.cancel_dump_traceback_later()
        os.ftruncate(self.file, 0)
        os.lseek(self.file, 0, os.SEEK_SET)
        faulthandler.dump_traceback_later(self.limit, file=self.file)

    def stop(self) -> None:
        """The call has ended."""
        faulthandler.cancel_dump_traceback_later()


def written(file: IO[bytes]) -> str:
    """The stack of a worker's main thread, read by the parent; empty if there is none in time.

    The worker's clock may have started a little later than the parent's.
    """
    if not hasattr(os, "pread"):  # Windows
        return ""
    end = time.monotonic() + _LATE_S
    text = ""
    while time.monotonic() < end:
        # Not `read`: the worker writes at the same file position, which reading would move.
        text, before = os.pread(file.fileno(), _LONGEST, 0).decode(errors="replace"), text
        if text and text == before:  # nothing more is being written
            break
        time.sleep(0.05)
    # The main thread was started first, and faulthandler writes it last.
    return text.strip().rpartition("\n\n")[2]


def frames_of(stack: str) -> list[Frame]:
    """The frames in a text of faulthandler's, innermost first."""
    return [Frame(file, int(line), name) for file, line, name in _FRAME.findall(stack)]
