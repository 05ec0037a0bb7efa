"""Reading files that may be anything: a pipe, a link, a bomb, or another format under this name.

A run folder may come from anywhere. Its members are regular files of the folder itself, opened
without following a link and read up to a limit, and whatever a parser makes of their bytes, the
user is told which file it was. Here is one reader for each format.
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

JSON_LIMIT = 64 * MIB
TEXT_LIMIT = 64 * MIB
ARRAYS_LIMIT = 2048 * MIB
"""Bytes of a file of arrays, packed and unpacked. A thousand epochs of MNIST's order are 210 MB."""

# Links are not followed, and opening a pipe that nobody writes to does not wait. Windows has
# neither flag.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def read_bytes(path: Path, *, limit: int, follow: bool = False) -> bytes:
    """The content of a regular file.

    Parameters
    ----------
    limit : int
        Bytes; a larger file is refused before it is read.
    follow : bool
        Take a link, too: for files that a user names, not for members of a folder.

    Raises
    ------
    RunFolderError
        Missing, a link, no regular file, too large, or not to be read.
    """
    try:
        handle = os.open(path, _FLAGS | _BINARY | (0 if follow else _NO_LINKS))
    except FileNotFoundError:
        raise RunFolderError(f"{path}: missing") from None
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.ELOOP, errno.EMLINK):
            raise RunFolderError(
                f"{path}: is a link; a run folder holds its files itself: copy the file"
            ) from None
        told = getattr(error, "strerror", None) or error
        raise RunFolderError(f"{path}: cannot be read: {told}") from None
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
    if len(content) > limit:  # it has grown meanwhile
        raise _too_large(path, limit)
    return content


def read_text(path: Path, *, limit: int = TEXT_LIMIT, follow: bool = False) -> str:
    """A UTF-8 text; `RunFolderError` where it is none."""
    content = read_bytes(path, limit=limit, follow=follow)
    return parsed(path, "readable UTF-8 text", content.decode)


def read_json(path: Path, *, follow: bool = False) -> Any:
    """A JSON value; `RunFolderError` where it is none."""
    content = read_bytes(path, limit=JSON_LIMIT, follow=follow)
    return parsed(path, "readable JSON", lambda: json.loads(content.decode()))


def read_npz(
    path: Path, names: Iterable[str] | None = None, *, follow: bool = False
) -> dict[str, Array]:
    """Arrays of an npz file: those named, or all of them. Pickles are not read.

    Raises
    ------
    RunFolderError
        No npz file, a member that is missing or no npy, or more than `ARRAYS_LIMIT` unpacked.
    """
    content = read_bytes(path, limit=ARRAYS_LIMIT, follow=follow)
    return parsed(path, "a readable npz file", lambda: _arrays(content, names))


def parsed(path: Path, kind: str, parse: Callable[[], T]) -> T:
    """What `parse` answers; whatever it raises becomes a `RunFolderError` that names the file."""
    try:
        return parse()
    except (MemoryError, RecursionError) as error:
        told = "out of memory" if isinstance(error, MemoryError) else "nested too deeply"
    except Exception as error:  # hostile bytes make parsers raise nearly anything
        told = " ".join(str(error).split())[:200] or type(error).__name__
    raise RunFolderError(f"{path}: not {kind}: {told}")


def _arrays(content: bytes, names: Iterable[str] | None) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {entry.filename: entry for entry in archive.infolist()}
        if names is None:
            names = [name.removesuffix(".npy") for name in members]
        wanted = {name: members.get(f"{name}.npy") for name in names}
        absent = [name for name, entry in wanted.items() if entry is None]
        if absent:
            raise ValueError(f"no array {absent[0][:60]!r} in it")
        # The declared sizes bound the real ones: zipfile reads no further than these.
        total = sum(entry.file_size for entry in wanted.values() if entry is not None)
        if total > ARRAYS_LIMIT:
            raise ValueError(f"{total:,} bytes unpacked, at most {ARRAYS_LIMIT:,} are read")
        return {
            name: _npy(archive.read(entry), name)
            for name, entry in wanted.items()
            if entry is not None
        }


def _npy(content: bytes, name: str) -> Array:
    """One array, allocated only where the bytes that its header promises are there."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"{name}: npy version {version} is not read")
    if dtype.hasobject:
        raise ValueError(f"{name}: holds Python objects, and a pickle is not read")
    promised = dtype.itemsize
    for length in shape:
        promised *= length
    if promised != len(content) - file.tell():
        raise ValueError(f"{name}: {len(content) - file.tell()} bytes, its header says {promised}")
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _too_large(path: Path, limit: int) -> RunFolderError:
    return RunFolderError(f"{path}: larger than {limit // MIB} MiB, the most that is read")
