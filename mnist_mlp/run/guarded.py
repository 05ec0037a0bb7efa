"""Read untrusted files safely, with one reader per format.

A run folder may come from anybody. A file in it may really be a pipe, a link, a decompression bomb
or another format. So only regular files are read, links are not followed, and at most a limited
number of bytes is read. If a parser fails, the error names the file.
"""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mnist_mlp.errors import RunFolderError
from mnist_mlp.reference import Array

T = TypeVar("T")

MIB = 2**20

# Far above any real run folder, and low enough for the memory of a small machine.
JSON_LIMIT = 64 * MIB
TEXT_LIMIT = 64 * MIB
ARRAYS_LIMIT = 2048 * MIB
"""Most bytes of a file of arrays, both compressed and decompressed. For comparison: the order of a
thousand epochs of MNIST takes 210 MB."""

# O_NONBLOCK: opening a pipe that nobody writes to must not wait. O_NOFOLLOW: links are not
# followed. Windows has neither flag.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def read_bytes(path: Path, *, limit: int, follow: bool = False) -> bytes:
    """Read the content of a regular file.

    Parameters
    ----------
    limit : int
        Most bytes; a larger file is refused before it is read.
    follow : bool
        Follow links. Only for files that the user named, not for files of a run folder.

    Raises
    ------
    RunFolderError
        The file is missing, a link, not a regular file, too large, or cannot be read.
    """
    try:
        handle = os.open(path, _FLAGS | _BINARY | (0 if follow else _NO_LINKS))
    except FileNotFoundError:
        raise RunFolderError(f"{path}: missing") from None
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.ELOOP, errno.EMLINK):
            raise RunFolderError(
                f"{path}: is a link; a run folder must hold the file itself: copy it there"
            ) from None
        details = getattr(error, "strerror", None) or error
        raise RunFolderError(f"{path}: cannot be read: {details}") from None
    # The open file is checked, not the path: between two look-ups a path may change.
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise RunFolderError(f"{path}: not a regular file")
    with os.fdopen(handle, "rb") as file:
        if found.st_size > limit:
            raise _too_large(path, limit)
        try:
            content = file.read(limit + 1)
        except (OSError, MemoryError) as error:
            raise RunFolderError(f"{path}: cannot be read: {error or 'out of memory'}") from None
    if len(content) > limit:  # the file has grown since its size was checked
        raise _too_large(path, limit)
    return content


def read_text(path: Path, *, limit: int = TEXT_LIMIT, follow: bool = False) -> str:
    """Read a UTF-8 text; `RunFolderError` if the file is something else."""
    content = read_bytes(path, limit=limit, follow=follow)
    return parsed(path, "readable UTF-8 text", content.decode)


def read_json(path: Path, *, follow: bool = False) -> Any:
    """Read a JSON value; `RunFolderError` if the file is something else."""
    content = read_bytes(path, limit=JSON_LIMIT, follow=follow)
    return parsed(path, "readable JSON", lambda: json.loads(content.decode()))


def read_npz(
    path: Path, names: Iterable[str] | None = None, *, follow: bool = False
) -> dict[str, Array]:
    """Read the named arrays of an npz file, or all of them. Pickles are not read.

    Raises
    ------
    RunFolderError
        The file is not an npz file, an array is missing or damaged, or all arrays together have
        more than `ARRAYS_LIMIT` bytes.
    """
    content = read_bytes(path, limit=ARRAYS_LIMIT, follow=follow)
    return parsed(path, "a readable npz file", lambda: _arrays(content, names))


def parsed(path: Path, kind: str, parse: Callable[[], T]) -> T:
    """Return the result of `parse`; any exception becomes a `RunFolderError` naming the file."""
    try:
        return parse()
    except (MemoryError, RecursionError) as error:
        details = "out of memory" if isinstance(error, MemoryError) else "nested too deeply"
    except Exception as error:  # on hostile bytes, parsers raise nearly any exception
        details = " ".join(str(error).split())[:200] or type(error).__name__
    raise RunFolderError(f"{path}: not {kind}: {details}")


def _arrays(content: bytes, names: Iterable[str] | None) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {entry.filename: entry for entry in archive.infolist()}
        if names is None:
            names = [name.removesuffix(".npy") for name in members]
        wanted = {name: members.get(f"{name}.npy") for name in names}
        absent = [name for name, entry in wanted.items() if entry is None]
        if absent:
            raise ValueError(f"array {absent[0][:60]!r} is missing")
        # The sizes in the zip directory can be trusted as limits: zipfile never decompresses more.
        total = sum(entry.file_size for entry in wanted.values() if entry is not None)
        if total > ARRAYS_LIMIT:
            raise ValueError(f"{total:,} bytes decompressed, but the limit is {ARRAYS_LIMIT:,}")
        return {
            name: _npy(archive.read(entry), name)
            for name, entry in wanted.items()
            if entry is not None
        }


def _npy(content: bytes, name: str) -> Array:
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
        raise ValueError(f"{name}: npy version {version} is not supported")
    if dtype.hasobject:
        raise ValueError(f"{name}: holds Python objects, and pickles are not read")
    promised = dtype.itemsize
    for length in shape:
        promised *= length
    if promised != len(content) - file.tell():
        raise ValueError(
            f"{name}: has {len(content) - file.tell()} bytes, but its header says {promised}"
        )
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _too_large(path: Path, limit: int) -> RunFolderError:
    return RunFolderError(f"{path}: larger than the limit of {limit // MIB} MiB")
