"""Write files atomically: a reader sees either the old content or the new."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from mnist_mlp.errors import RunFolderError, SetupError


def write_atomically(path: Path, content: bytes, *, verify: bool = False) -> None:
    """Write a file, and make its folder if needed; `SetupError` if that is not possible.

    With `verify`, the new file is read back before it takes the place of the old one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}; choose another --out") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        if verify and Path(temporary).read_bytes() != content:
            raise OSError(errno.EIO, "what was read back is not what was written")
        # mkstemp lets only the owner read its file; the result gets the usual permissions.
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}; choose another --out") from None
    finally:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()


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
