"""Read and write weights as safetensors files, and compute their digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from mnist_mlp.errors import RunFolderError
from mnist_mlp.reference import Array, Tensors
from mnist_mlp.run.guarded import ARRAYS_LIMIT, parsed, read_bytes


def tensors_digest(tensors: Tensors) -> str:
    """SHA-256 (hex) over name, dtype, shape and bytes of each tensor, sorted by name."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        sha.update(f"{name} {array.dtype.str} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def tensors_to_bytes(tensors: Tensors) -> bytes:
    """Encode tensors as a safetensors file."""
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def read_tensors(path: Path, *, follow: bool = False) -> dict[str, Array]:
    """Read a safetensors file; `RunFolderError` if it is missing, damaged or not a regular file.

    `follow` allows a link; it is for a file that the user named.
    """
    from safetensors.numpy import load

    content = read_bytes(path, limit=ARRAYS_LIMIT, follow=follow)
    tensors = parsed(path, "a readable safetensors file", lambda: dict(load(content)))
    for name in tensors:
        if not name.isprintable():
            raise RunFolderError(f"{path}: a tensor's name holds control characters: {name[:60]!a}")
    return tensors
