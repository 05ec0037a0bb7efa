"""Remove the temporary files and folders that a killed process has left behind.

Whoever uses a temporary file or folder holds a lock on it (`flock`). The kernel releases the lock
when the process ends, for whatever reason. So what bears our name and can be locked is a leftover.
Where there are no locks (not POSIX, some network file systems), nothing is removed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None  # type: ignore[assignment]

MARK = "mnist_mlp-"
"""Part of the names of our temporary files, so that no other program's file is removed."""

TEMPORARY_FILE = re.compile(rf"\..+\.{MARK}[a-z0-9_]{{8}}")
"""Names of temporary files, made of the name that each will get: `.run.json.mnist_mlp-k3j2h1x0`."""

GRACE_S = 60.0
"""Nothing younger is removed, in seconds: its process may be about to lock it."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a new temporary file or folder during the block."""
    if fcntl is None:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        _locked(handle)  # if there are no locks here, nothing is removed here either
        yield
    finally:
        os.close(handle)


@contextmanager
def temporary_folder(parent: Path, *, prefix: str) -> Iterator[Path]:
    """An empty folder in `parent` during the block. Leftovers of the same kind are removed first.

    Raises
    ------
    OSError
        It cannot be made.
    """
    sweep(parent, re.compile(rf"{re.escape(prefix)}[a-z0-9_]{{8}}"))
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name, held(Path(name)):
        yield Path(name)


def sweep(folder: Path, names: re.Pattern[str] = TEMPORARY_FILE) -> None:
    """Remove the files and folders in `folder` with such names that no process holds."""
    with suppress(OSError), os.scandir(folder) as entries:
        for path in [Path(entry.path) for entry in entries if names.fullmatch(entry.name)]:
            with unheld(path) as free:
                if free and path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif free:
                    path.unlink(missing_ok=True)


@contextmanager
def unheld(path: Path) -> Iterator[bool]:
    """Whether a file or folder is a leftover, that is, neither new nor held by another process.

    During the block, it is locked. Links are never leftovers.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags)
    except OSError:
        yield False
        return
    try:
        young = time.time() - os.fstat(handle).st_mtime < GRACE_S
        yield not young and _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
