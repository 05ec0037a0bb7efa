"""Downloads of a user's script, one at a time between the processes that `check` runs at once.

Two scripts may fill the same cache. The second waits for the first, and then finds the files there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

from mnist_mlp.data.cache import cache_dir

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


@contextmanager
def one_at_a_time(folder: str | Path) -> Iterator[None]:
    """Wait until no other process is in here with the same folder.

    The lock is a file in our own cache, so that nothing appears in the user's folder, and nobody
    else can hold it. The system frees it when a process ends. Where it cannot be made, nobody
    waits.
    """
    key = hashlib.sha256(str(Path(folder).expanduser().resolve()).encode()).hexdigest()[:16]
    with ExitStack() as stack:
        if fcntl is not None:
            with suppress(OSError):
                locks = cache_dir() / "locks"
                locks.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context((locks / f"{key}.lock").open("a"))
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
