"""Writing whole files: a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from mnist_mlp.errors import RunFolderError, SetupError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, creating its folder; `SetupError` where that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}; choose another --out") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}; choose another --out") from None
    finally:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()


def _umask() -> int:
    """The process's umask. It can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def member(folder: Path, name: str) -> Path:
    """The path of a folder's member, to be written.

    Raises
    ------
    RunFolderError
        A folder on the way to it is a link: a stranger's run folder may lead anywhere.
    """
    path = folder
    for part in Path(name).parts[:-1]:
        path /= part
        if path.is_symlink():
            raise RunFolderError(f"{path}: is a link; remove it, and its place is made anew")
    return folder / name


def json_bytes(value: Any) -> bytes:
    """Indented strict JSON (no NaN) with a final newline."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
