"""How much memory this machine has, so that what cannot fit is refused before it is tried."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


_ARENA_MAX = -8  # a name of mallopt(3)


def share_freed_memory() -> None:
    """Let glibc's threads use what others have freed. Call this before any thread is started.

    By default each thread gets memory of its own. What the thread that receives images has freed
    would then stand beside what a compiler's threads take.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def machine_memory() -> int | None:
    """Bytes of memory of this machine, or of its container; None where that is not known."""
    known = [memory_limit(own_cgroup())]
    with suppress(ValueError, OSError, AttributeError):
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min((each for each in known if each is not None), default=None)


def memory_limit(cgroup: Path) -> int | None:
    """The bytes of memory that a control group and those above it allow; None: no limit."""
    texts = values_upwards(cgroup, "memory.max")
    return min((int(text) for text in texts if text != "max"), default=None)


def own_cgroup() -> Path:
    """The folder of this process's control group (version 2)."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                return CGROUPS / line.removeprefix("0::").lstrip("/")
    return CGROUPS


def values_upwards(cgroup: Path, name: str) -> list[str]:
    """The content of a file in a control group and in all those above it."""
    found = []
    for folder in (cgroup, *cgroup.parents):
        with suppress(OSError):
            found.append((folder / name).read_text(encoding="utf-8").strip())
    return found
