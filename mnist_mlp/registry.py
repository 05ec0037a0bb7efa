"""Find backends by name, through the entry-point group `mnist_mlp.backends`.

The core never imports a backend. It passes `module:Class` to a worker process, which imports it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from importlib.metadata import entry_points
from pathlib import Path

from mnist_mlp.errors import UsageError
from mnist_mlp.nearest import did_you_mean

GROUP = "mnist_mlp.backends"

_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def installed() -> dict[str, str]:
    """Name and `module:Class` of every registered backend, sorted by name."""
    return {point.name: point.value for point in sorted(entry_points(group=GROUP))}


def target_of(backend: str) -> str:
    """The `module:Class` behind a registered name, or the argument itself if it is one.

    Raises
    ------
    UsageError
        The name is unknown; the text suggests the nearest known one.
    """
    if _TARGET.fullmatch(backend):
        return backend
    known = installed()
    if backend in known:
        return known[backend]
    raise UsageError(
        f"unknown backend {backend!r}{did_you_mean(backend, known)}"
        + ("" if known else "; none is registered: run `pip install -e .` in the checkout")
    )


def target_in_folder(target: str, *, folder: Path, trusted: Collection[str] = ()) -> str:
    """The `module:Class` that a run folder names, if it may be imported.

    A folder may come from anybody, and importing a module runs its code. So the named backend must
    be registered here, or be in `trusted`.

    Raises
    ------
    UsageError
        It is neither; the text says how to trust it.
    """
    if target in trusted or target in installed().values():
        return target
    raise UsageError(
        f"{folder}/run.json names the backend {target!r}, which is not registered here, so its "
        f"code is not run. If you trust it, add --trust-backend {target}"
    )


def label_of(backend: str) -> str:
    """A short name for folders and tables: the registered name, or the class name in lower case."""
    return backend.rpartition(":")[2].lower() if ":" in backend else backend
