"""Write files atomically: a reader sees either the old content or the new."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from mnist_mlp.errors import RunFolderError, SetupError
from mnist_mlp.leftovers import MARK, held, sweep

FULL = (errno.ENOSPC, errno.EDQUOT)


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file, and make its folder if needed; `SetupError` if that is not possible.

    With `durable`, the content is on the disk and was read back before the file gets its name, and
    the name is on the disk when this returns: both survive a power failure. That takes about 10 ms.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{MARK}")
    except OSError as error:
        raise _not_written(path, error) from None
    try:
        with held(Path(temporary)):
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(handle)
            if durable and Path(temporary).read_bytes() != content:
                raise OSError(errno.EIO, "what was read back is not what was written")
            # mkstemp lets only the owner read its file; the result gets the usual permissions.
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(path)
        if durable:
            sync(path.parent)
    except OSError as error:
        raise _not_written(path, error) from None
    finally:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()


def sync(folder: Path, *, content: bool = False) -> None:
    """Wait until the names in a folder are on the disk; with `content`, all files below it too.

    Raises
    ------
    OSError
        A file cannot be written to the disk.
    """
    if content:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                _fsync(path)
            elif path.is_dir() and not path.is_symlink():
                sync(path)
    with suppress(OSError):  # some file systems, and Windows, cannot do it for folders
        _fsync(folder)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_space(folder: Path, needed: int) -> None:
    """Raise `SetupError` if `needed` bytes certainly do not fit into an existing folder.

    They may not fit all the same: a quota is not seen, and other programs write, too.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # writing will tell
    if free < needed:
        raise SetupError(
            f"{folder}: at least {needed / 1e6:,.1f} MB will be written there, but only "
            f"{free / 1e6:,.1f} MB are free; free some space, or choose another --out"
        )


def require_place(path: Path, *, option: str) -> None:
    """Raise `SetupError` if a file certainly cannot be written: the nearest folder above it that
    exists is none, or is not ours to write to. `option` is the one that names it.

    Said before minutes of work; what else prevents it, writing will tell.
    """
    nearest = path.absolute().parent
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        reason = os.strerror(errno.ENOTDIR)
    elif not os.access(nearest, os.W_OK | os.X_OK):
        reason = os.strerror(errno.EACCES)
    else:
        return
    raise SetupError(f"cannot write {path}: {nearest}: {reason}; choose another {option}")


def _not_written(path: Path, error: OSError) -> SetupError:
    remedy = "free some space, or choose" if error.errno in FULL else "choose"
    return SetupError(f"cannot write {path}: {error.strerror}; {remedy} another --out")


def _umask() -> int:
    """The umask of this process. The only way to read it is to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def member(folder: Path, name: str) -> Path:
    """The path of a file inside a folder, safe for writing.

    Raises
    ------
    RunFolderError
        A folder on the path is a link. In a run folder from somebody else, it may lead anywhere.
    """
    path = folder
    for part in Path(name).parts[:-1]:
        path /= part
        if path.is_symlink():
            raise RunFolderError(
                f"{path}: is a link, expected a folder; remove the link and run again"
            )
    return folder / name


def json_bytes(value: Any) -> bytes:
    """Encode a value as indented strict JSON (no NaN) with a final newline."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
