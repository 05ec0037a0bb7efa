"""Write weights as safetensors files, and compute their digest."""

from __future__ import annotations

import hashlib

import numpy as np

from mnist_mlp.reference import Tensors


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
