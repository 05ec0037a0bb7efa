"""Read files of arrays: npz and safetensors. Pickles are never read."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.readers.foreign import refuse_foreign, refuse_foreign_members
from mnist_mlp.readers.regular import Origin, OtherFormatError, parsed, read_bytes, read_start
from mnist_mlp.shown import shown, size

Array = NDArray[Any]

ARRAYS_LIMIT = 2 * 2**30
"""Most bytes of a file of arrays, both compressed and decompressed. For comparison: the order of a
thousand epochs of MNIST takes 210 MB."""

HEADER_LIMIT = 4 * 2**20
"""Most bytes of the header of a safetensors file. One tensor takes about 100."""

MOST_ARRAYS = 10_000
"""Most arrays of one file. A network of a thousand layers has two thousand."""

_DIRECTORY_ENTRY = b"PK\x01\x02"


def read_npz(path: Path, origin: Origin, *, names: Iterable[str] | None = None) -> dict[str, Array]:
    """Read the named arrays of an npz file, or all of them.

    Raises
    ------
    origin.error
        The file is not an npz file, an array is missing or damaged, or all arrays together have
        more than `ARRAYS_LIMIT` bytes.
    """
    content = read_bytes(path, origin, limit=ARRAYS_LIMIT)
    return parsed(path, origin, "a readable npz file", lambda: _npz(content, names))


def read_safetensors(path: Path, origin: Origin) -> dict[str, Array]:
    """Read all tensors of a safetensors file, by their names.

    Raises
    ------
    origin.error
        The file is not a safetensors file, or has more than `ARRAYS_LIMIT` bytes.
    """
    return read_safetensors_and_metadata(path, origin)[0]


def read_safetensors_and_metadata(
    path: Path, origin: Origin
) -> tuple[dict[str, Array], dict[str, str]]:
    """The same, and the texts in the metadata of the file. Raises as `read_safetensors`."""
    kind = "a readable safetensors file"
    start = read_start(path, origin, 512)
    parsed(path, origin, kind, lambda: _check_start(start))  # before gigabytes are read
    content = read_bytes(path, origin, limit=ARRAYS_LIMIT)
    return parsed(path, origin, kind, lambda: (_safetensors(content), _metadata(content)))


def _check_start(start: bytes) -> None:
    """Refuse what does not begin as a safetensors file: a length of 8 bytes, then JSON."""
    header = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and 2 <= header <= HEADER_LIMIT:
        # Not looked at for other formats: a length of 640 begins with the two bytes of a pickle.
        return
    refuse_foreign(start)
    if start.startswith(b"PK"):
        raise OtherFormatError(
            "a zip archive, such as numpy.savez, PyTorch and Keras write; expected safetensors"
        )
    raise ValueError(f"its header announces {header:,} bytes, expected 2 to {HEADER_LIMIT:,}")


def _safetensors(content: bytes) -> dict[str, Array]:
    from safetensors.numpy import load

    try:
        tensors = dict(load(content))
    except KeyError as error:  # the name of a type, such as BF16
        raise ValueError(f"NumPy has no type {error}; save the tensors as float32") from None
    _check_names(tensors)
    return tensors


def _metadata(content: bytes) -> dict[str, str]:
    """safetensors' own `load` does not return them. They are in the header."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    found: dict[str, str] = header.get("__metadata__", {})
    return found


def _npz(content: bytes, names: Iterable[str] | None) -> dict[str, Array]:
    refuse_foreign(content)
    # zipfile reads the whole directory, which takes far more memory than it has bytes.
    if content.count(_DIRECTORY_ENTRY) > MOST_ARRAYS:
        raise ValueError(f"has more than {MOST_ARRAYS:,} arrays, which is the limit")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {entry.filename: entry for entry in archive.infolist()}
        refuse_foreign_members(members)
        if len(members) < len(archive.infolist()):
            raise ValueError("two arrays have the same name")
        if names is None:
            names = [name.removesuffix(".npy") for name in members]
            _check_names(names)
        wanted = {name: members.get(f"{name}.npy") for name in names}
        absent = [name for name, entry in wanted.items() if entry is None]
        if absent:
            raise ValueError(f"array {shown(absent[0])} is missing")
        # The sizes in the zip directory can be trusted as limits: zipfile never decompresses more.
        total = sum(entry.file_size for entry in wanted.values() if entry is not None)
        if total > ARRAYS_LIMIT:
            raise ValueError(f"{size(total)} decompressed, but the limit is {size(ARRAYS_LIMIT)}")
        return {
            name: _member(archive, entry, name)
            for name, entry in wanted.items()
            if entry is not None
        }


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Array:
    try:
        return _npy(archive.read(entry))
    except Exception as error:
        raise ValueError(f"{name}: {error}") from None


def _npy(content: bytes) -> Array:
    """Decode one array.

    The size in its header is compared with the size of `content` first. A false header could
    otherwise make NumPy allocate any amount of memory.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"npy version {version} is not supported")
    if dtype.hasobject:
        raise ValueError("holds Python objects, and pickles are not read")
    promised = dtype.itemsize
    for length in shape:
        promised *= length
    held = len(content) - file.tell()
    if promised != held:
        raise ValueError(f"has {held} bytes, but its header says {promised}")
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _check_names(names: Collection[str]) -> None:
    """Names of arrays are printed, so an escape code in one could reach the terminal."""
    if len(names) > MOST_ARRAYS:
        raise ValueError(f"has {len(names):,} arrays, the limit is {MOST_ARRAYS:,}")
    for name in names:
        if not name.isprintable():
            raise ValueError(f"an array's name holds control characters: {shown(name)}")
