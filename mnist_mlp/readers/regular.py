"""Open a regular file, read a limited number of bytes of it, and guard what parses them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from mnist_mlp.errors import DataError, MnistMlpError, RunFolderError
from mnist_mlp.shown import one_line, size

T = TypeVar("T")


class OtherFormatError(ValueError):
    """A file is of another known format. The text completes "is ..." and says what to do."""


# O_NONBLOCK: opening a pipe that nobody writes to must not wait. Windows has none of these flags.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True)
class Origin:
    """Where a file comes from. This decides whether links are followed, and the class of errors.

    Parameters
    ----------
    error : type
        The class of every error about the file.
    follow : bool
        Whether the file may be a link. A link in a stranger's folder may lead anywhere.
    absent : str
        What is said of a file that does not exist.
    """

    error: type[MnistMlpError]
    follow: bool = True
    absent: str = "no such file"


NAMED = Origin(DataError)
"""A file that the user named."""

MEMBER = Origin(RunFolderError, follow=False, absent="missing")
"""A file of a run folder."""


def open_regular(path: Path, origin: Origin) -> BinaryIO:
    """Open a regular file for reading.

    Raises
    ------
    origin.error
        The file is missing, a folder, a link that must not be followed, something else than a
        regular file, or cannot be opened.
    """
    try:
        handle = os.open(path, _FLAGS | (0 if origin.follow else _NO_LINKS))
    except FileNotFoundError:
        raise origin.error(f"{path}: {origin.absent}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        if not origin.follow and getattr(error, "errno", None) in (errno.ELOOP, errno.EMLINK):
            raise origin.error(
                f"{path}: is a link; a run folder must hold the file itself: copy it there"
            ) from None
        raise origin.error(f"{path}: cannot be read: {_reason(error)}") from None
    # The open file is checked, not the path: between two look-ups a path may change.
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file (a pipe or a device)"
        raise origin.error(f"{path}: is {what}, expected a file")
    return os.fdopen(handle, "rb")


def read_start(path: Path, origin: Origin, length: int) -> bytes:
    """Read the first `length` bytes of a regular file, or all of a shorter one.

    Raises
    ------
    origin.error
        As for `open_regular`; or the file cannot be read.
    """
    with open_regular(path, origin) as file:
        try:
            return file.read(length)
        except OSError as error:
            raise origin.error(f"{path}: cannot be read: {_reason(error)}") from None


def read_bytes(path: Path, origin: Origin, *, limit: int) -> bytes:
    """Read the content of a regular file.

    Parameters
    ----------
    limit : int
        Most bytes; a larger file is refused before it is read.

    Raises
    ------
    origin.error
        As for `open_regular`; or the file is too large, cannot be read, or changes meanwhile.
    """
    with open_regular(path, origin) as file:
        length = os.fstat(file.fileno()).st_size
        if length > limit:
            raise origin.error(f"{path}: has {size(length)}, but the limit is {size(limit)}")
        try:
            content = file.read(length + 1)
        except (OSError, MemoryError) as error:
            raise origin.error(f"{path}: cannot be read: {_reason(error)}") from None
    if len(content) != length:  # such as a file that is still being written, or one in /proc
        raise origin.error(f"{path}: changed while it was read; run again when it is whole")
    return content


def parsed(path: Path, origin: Origin, kind: str, parse: Callable[[], T]) -> T:
    """Return the result of `parse`; any exception becomes an `origin.error` that names the file.

    `kind` completes the sentence "not ...".
    """
    try:
        return parse()
    except OtherFormatError as error:
        raise origin.error(f"{path}: is {error}") from None
    except (MemoryError, RecursionError) as error:
        details = "out of memory" if isinstance(error, MemoryError) else "nested too deeply"
    except Exception as error:  # on hostile bytes, parsers raise nearly any exception
        details = one_line(str(error)) or type(error).__name__
    raise origin.error(f"{path}: not {kind}: {details}")


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    return getattr(error, "strerror", None) or str(error)
