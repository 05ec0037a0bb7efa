"""Download MNIST with torchvision, Keras or OpenML, each in its own process (see `fetch.py`)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from mnist_mlp.data.download import check_mirror
from mnist_mlp.data.facts import LIBRARIES, NOT_IMPORTED, REMEDY, Say, quiet
from mnist_mlp.errors import DataError, SetupError, UsageError

# Generous: parsing OpenML's text file takes half a minute, and a download may be slow.
LIMIT_S = 900.0


def check_source(source: str, *, mirror: str | None = None) -> None:
    """Refuse a library that is unknown or not installed, or that cannot use a mirror.

    Raises
    ------
    UsageError
        The library is unknown, or a mirror is given but the library only uses its own server.
    SetupError
        The library is not installed.
    """
    if source not in LIBRARIES:
        raise UsageError(f"unknown source {source!r}: choose one of {', '.join(LIBRARIES)}.")
    if mirror is not None and source != "torchvision":
        raise UsageError(
            f"--source {source} always uses its own server and takes no --mirror. "
            "Drop one of the two, or use --source torchvision."
        )
    module, install = LIBRARIES[source]
    if importlib.util.find_spec(module) is None:
        raise SetupError(
            f"--source {source}: {module} is not installed. "
            f"Install it with {install}, or drop --source."
        )


def fetch_through(
    source: str, folder: Path, *, mirror: str | None = None, say: Say = quiet
) -> None:
    """Download MNIST with a library into a folder, as four IDX files. The caller checks them.

    Parameters
    ----------
    source : str
        `torchvision`, `keras` or `openml`.
    folder : Path
        An existing folder.
    mirror : str, optional
        URL that torchvision uses instead of its own.
    say : function of one line
        Called with messages about the progress.

    Raises
    ------
    UsageError
        As for `check_source`.
    SetupError
        The library is not installed, or cannot be imported.
    DataError
        The library failed; the text has the last line of its error.
    """
    check_source(source, mirror=mirror)
    command = [sys.executable, "-P", "-m", "mnist_mlp.data.fetch", source, str(folder)]
    if mirror is not None:
        command.append(check_mirror(mirror))
    say(f"fetching MNIST through {source}; starting the library takes some seconds")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise DataError(f"{source} did not finish within {LIMIT_S:.0f} s.\n{REMEDY}") from err
    if done.returncode == 0:
        return
    lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
    reason = lines[-1].rstrip(".")
    if done.returncode == NOT_IMPORTED:
        raise SetupError(
            f"--source {source}: its library cannot be imported: {reason}.\n"
            f"Reinstall it with {LIBRARIES[source].install}, or drop --source."
        )
    raise DataError(f"MNIST could not be downloaded through {source}: {reason}.\n{REMEDY}")
