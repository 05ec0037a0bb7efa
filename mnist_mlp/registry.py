"""Backends by name, found through the entry-point group `mnist_mlp.backends`.

The core never imports a backend: it hands `module:Class` to a worker process, which does.
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points

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
        Unknown name; the nearest known one is proposed.
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


def label_of(backend: str) -> str:
    """A short name for folders and tables: the registered name, or the class's."""
    return backend.rpartition(":")[2].lower() if ":" in backend else backend
