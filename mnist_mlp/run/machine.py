"""Describe the machine of a run, as far as it influences the results."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe_machine() -> dict[str, Any]:
    """Python, operating system, processor, usable cores, and versions of the core's packages."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "processor": processor_name(),
        "cores": usable_cores(),
        "packages": {
            name: version(name) for name in ("mnist-mlp", "numpy", "scikit-learn", "matplotlib")
        },
    }


def usable_cores() -> int:
    """Number of cores that this process may use; fewer than the machine has in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The model name of the processor if the system knows it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(pid: int | str = "self") -> int:
    """Peak resident memory of a process so far, in bytes; 0 if the system does not report it.

    `ru_maxrss` would be wrong: a child inherits its parent's value, and our parent holds the data
    set.
    """
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
