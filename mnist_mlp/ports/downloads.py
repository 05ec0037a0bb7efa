"""Downloads of a user's script, one at a time between the processes that `check` runs at once.

Two scripts may fill the same cache. The second waits for the first, and then finds the files there.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


@contextmanager
def one_at_a_time(folder: str | Path) -> Iterator[None]:
    """Wait until no other process is in here with the same folder.

    The lock is a file of its own, so that nothing appears in the user's folder. The system frees it
    when a process ends.
    """
    if fcntl is None:
        yield
        return
    key = hashlib.sha256(str(Path(folder).expanduser().resolve()).encode()).hexdigest()[:16]
    with (Path(tempfile.gettempdir()) / f"mnist-mlp-download-{key}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def apart(own: Callable[..., Any], folder: Callable[..., str | Path]) -> Callable[..., Any]:
    """A function that downloads, so that only one process is in it; `folder` is given the same
    arguments."""

    @wraps(own)
    def download(*args: Any, **options: Any) -> Any:
        with one_at_a_time(folder(*args, **options)):
            return own(*args, **options)

    return download
