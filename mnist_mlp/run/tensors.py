"""Weights as files and digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from mnist_mlp.errors import RunFolderError
from mnist_mlp.reference import Array, Tensors


def tensors_digest(tensors: Tensors) -> str:
    """SHA-256 (hex) over name, dtype, shape and bytes of each tensor, in the order of names."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        sha.update(f"{name} {array.dtype.str} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def tensors_to_bytes(tensors: Tensors) -> bytes:
    """A safetensors file."""
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def read_tensors(path: Path) -> dict[str, Array]:
    """Read a safetensors file; `RunFolderError` when it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(path.read_bytes()))
    except FileNotFoundError:
        raise RunFolderError(f"{path}: missing") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise RunFolderError(f"{path}: not a readable safetensors file: {error}") from None
