"""Check that a requested GPU is available, before any other work is done.

`gpu` means an NVIDIA GPU, used through CUDA. Checking for its driver takes milliseconds. Only the
framework itself can say whether it can use the GPU, and importing a framework takes seconds.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable

from mnist_mlp.contract import Capabilities, Environment
from mnist_mlp.errors import MnistMlpError, SetupError
from mnist_mlp.registry import label_of
from mnist_mlp.worker.asking import described


def missing_driver() -> str | None:
    """Why no backend can find a GPU here, or None if a driver is installed."""
    if sys.platform == "darwin":
        return "`gpu` means an NVIDIA GPU, through CUDA; Apple's is not used"
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return f"no NVIDIA driver is installed: {library} cannot be loaded"
    return None


def gpu_refusal(
    label: str, capabilities: Capabilities, environment: Environment
) -> SetupError | None:
    """The error that says why a backend cannot compute on a GPU; None if it can."""
    if "gpu" not in capabilities.accelerators:
        return _refusal(f"backend {label!r} cannot use a GPU")
    if environment.gpus:
        return None
    reason = missing_driver()
    if reason is None and environment.gpu_install:
        reason = f"but a driver is installed: run {environment.gpu_install}"
    return _refusal(f"backend {label!r} finds no GPU here" + (f" ({reason})" if reason else ""))


def require_driver(backend: str) -> None:
    """Raise `SetupError` if no driver is installed. Takes milliseconds."""
    reason = missing_driver()
    if reason is not None:
        raise _refusal(f"backend {label_of(backend)!r} finds no GPU here ({reason})")


def require_gpu(backends: Iterable[str]) -> None:
    """Raise `SetupError` unless every one of the backends can compute on a GPU.

    This imports all their frameworks at the same time, each in its own process.
    """
    different = list(dict.fromkeys(backends))
    for backend in different:
        require_driver(backend)
    for backend, answer in described(different, accelerator="gpu").items():
        if isinstance(answer, MnistMlpError):
            raise answer
        refused = gpu_refusal(label_of(backend), *answer)
        if refused is not None:
            raise refused


def _refusal(what: str) -> SetupError:
    return SetupError(
        f"--accelerator gpu: {what}; use --accelerator cpu, or see `mnist_mlp backends`"
    )
