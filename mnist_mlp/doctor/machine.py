"""Cores, memory and processor: what a run may use here."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from mnist_mlp.doctor.finding import Finding, Level
from mnist_mlp.memory import memory_limit, own_cgroup, values_upwards
from mnist_mlp.run.machine import processor_name, usable_cores

THREADS = "OMP_NUM_THREADS"


def cores_finding(cgroup: Path | None = None) -> Finding:
    """The cores that this process may use, and a container's limit on their time."""
    cores = usable_cores()
    quota = cpu_quota(cgroup or own_cgroup())
    text = f"{cores} usable, {processor_name()}; a run uses 1 thread unless --threads says more"
    if quota is None or quota >= cores:
        return Finding("cores", Level.ok, text)
    return Finding(
        "cores",
        Level.note,
        f"{text}; this container gets the time of {quota:g} cores",
        f"stay at or below --threads {max(1, int(quota))}",
    )


def memory_finding(cgroup: Path | None = None) -> Finding:
    """The memory that is free, and a container's limit."""
    free = available_memory()
    limit = memory_limit(cgroup or own_cgroup())
    parts = [f"{free / 2**30:.1f} GiB available"] if free is not None else ["not known"]
    if limit is not None:
        parts.append(f"limit of this container {limit / 2**30:.1f} GiB")
    known = [each for each in (free, limit) if each is not None]
    # A framework takes 0.5 GiB, MNIST as float32 0.2 GiB, and the parent about as much.
    if known and min(known) < 2**30:
        return Finding(
            "memory",
            Level.note,
            "; ".join(parts) + ": little for a framework and MNIST",
            "use fewer rows: --set data.rows=5000",
        )
    return Finding("memory", Level.ok, "; ".join(parts))


def avx_finding(cpuinfo: Path = Path("/proc/cpuinfo")) -> Finding | None:
    """None if TensorFlow can run on this processor, or is not installed.

    TensorFlow's wheels for x86 contain AVX instructions. On a processor without them, its import
    ends the process with SIGILL.
    """
    if platform.machine() not in ("x86_64", "AMD64") or find_spec("tensorflow") is None:
        return None
    with suppress(OSError):
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("flags") and "avx" not in line.split():
                return Finding(
                    "tensorflow",
                    Level.broken,
                    "this processor has no AVX, which TensorFlow's wheels need",
                    "python -m mnist_mlp --backend torch",
                )
    return None


def cpu_quota(cgroup: Path) -> float | None:
    """The number of cores whose time a control group and those above it allow; None: no limit."""
    quotas = []
    for text in values_upwards(cgroup, "cpu.max"):
        quota, _, period = text.partition(" ")
        if quota != "max" and period:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def available_memory() -> int | None:
    """Bytes of memory that new programs can get; None where the system does not tell."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def threads_finding() -> Finding | None:
    """A note if a variable asks for more threads than there are cores."""
    asked = os.environ.get(THREADS, "")
    if asked.isdigit() and int(asked) > usable_cores():
        return Finding(
            "threads",
            Level.note,
            f"{THREADS}={asked}, with {usable_cores()} usable cores; runs use --threads instead",
            f"unset {THREADS}",
        )
    return None
