"""What may explain a timing: processor, cores, load, thread settings, libraries, driver."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mnist_mlp.bench.process import load
from mnist_mlp.memory import machine_memory
from mnist_mlp.run.machine import describe_machine
from mnist_mlp.worker.warm import THREAD_VARIABLES

PACKAGES = (
    *("mnist-mlp", "numpy", "scipy", "scikit-learn"),
    *("keras", "tensorflow", "torch", "lightning", "torchmetrics"),
)

VARIABLES = (
    *THREAD_VARIABLES,
    *("OMP_WAIT_POLICY", "KMP_AFFINITY", "GOMP_CPU_AFFINITY", "XLA_FLAGS", "TF_XLA_FLAGS"),
    *("TF_ENABLE_ONEDNN_OPTS", "CUDA_VISIBLE_DEVICES", "MALLOC_CONF", "LD_PRELOAD"),
)
"""Environment variables that can change the speed."""


def describe() -> dict[str, Any]:
    """The machine at the start of a sitting."""
    return {
        **describe_machine(),
        "packages": {name: number for name in PACKAGES if (number := _version(name))},
        "logical_cores": os.cpu_count(),
        "memory_bytes": machine_memory(),
        "kernel": platform.release(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "gpus": gpus(),
        "load_before": load(),
    }


def gpus() -> list[dict[str, str]]:
    """Name, driver and memory of each NVIDIA GPU, as `nvidia-smi` reports them."""
    fields = ("name", "driver_version", "memory.total")
    return [dict(zip(fields, row, strict=True)) for row in _nvidia(",".join(fields))]


def gpu_memory() -> int | None:
    """Bytes in use on the first GPU, by all processes; None without one."""
    rows = _nvidia("memory.used")
    with suppress(ValueError, IndexError):
        return int(rows[0][0].split()[0]) * 2**20
    return None


def _nvidia(fields: str) -> list[list[str]]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines()]
    return [row for row in rows if len(row) == len(fields.split(","))]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _read(path: str) -> str | None:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8").strip()
    return None
