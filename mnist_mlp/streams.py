"""Make a process's standard streams safe to use, whatever they were connected to at its start.

A shell may close a stream (`2>&-`), send it to a full disk (`/dev/full`), or connect it to a
program that ends early (`| head -1`). None of that may end a training run, whose product is its run
folder. So what cannot be written to stderr is dropped. What cannot be written to stdout raises an
error, once; everything after it is dropped. Any text can be printed, whatever the encoding is.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from mnist_mlp.errors import OutputClosedError, SetupError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDIN, STDOUT, STDERR = 0, 1, 2


def secure() -> None:
    """Open closed streams, and replace `sys.stdout` and `sys.stderr`.

    Streams that somebody else has already replaced, such as a test runner, are left alone.
    """
    open_closed()
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        output: Any = io.BufferedWriter(_Output(STDOUT, "wb", closefd=False))
        sys.stdout = _text(output, like=sys.stdout, by_lines=output.isatty())
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = lossy_stderr()


def lossy_stderr() -> TextIO:
    """A stream to standard error that drops what it cannot write."""
    file: Any = _Lossy(STDERR, "wb", closefd=False)  # unbuffered: what is dropped stays dropped
    return _text(file, like=sys.stderr, by_lines=True)


def open_closed() -> None:
    """Connect each closed standard stream to the null device.

    Otherwise the next file that is opened would get the stream's number, and what is printed would
    be written into that file.
    """
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            # The system gives the lowest free number, which is this one: the lower ones are open.
            os.open(os.devnull, os.O_RDONLY if number == STDIN else os.O_WRONLY)
            os.set_inheritable(number, True)  # noqa: FBT003 - it takes no keywords


AS_GIVEN = "mnist_mlp.as_given"
"""Error handler for printing any text: a path may hold bytes that are no UTF-8, and any letters."""


def _as_given(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes that could not be decoded are written as they were; other letters are escaped."""
    with suppress(UnicodeError):
        return codecs.lookup_error("surrogateescape")(error)
    return codecs.lookup_error("backslashreplace")(error)


codecs.register_error(AS_GIVEN, _as_given)


class _Lossy(io.FileIO):
    """A file that drops what cannot be written."""

    def write(self, content: ReadableBuffer) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


class _Output(io.FileIO):
    """A file that raises our own errors, so that no handler takes them for those of another file.

    Raises
    ------
    OutputClosedError
        Its reader has ended.
    SetupError
        It cannot be written for another reason.
    """

    def write(self, content: ReadableBuffer) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self._drop_the_rest()
            if error.errno == errno.EPIPE:
                raise OutputClosedError("the reader of standard output has ended") from None
            raise SetupError(
                f"standard output cannot be written: {error.strerror}; send it elsewhere"
            ) from None

    def _drop_the_rest(self) -> None:
        # The failed text is still in the buffer. Python writes it again at its end, and must not
        # fail then.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def _text(file: BinaryIO, *, like: Any, by_lines: bool) -> TextIO:
    """A text stream with the encoding and buffering of another one, which may be None."""
    return io.TextIOWrapper(
        file,
        encoding=like.encoding if like else "utf-8",
        errors=AS_GIVEN,
        line_buffering=by_lines,
        write_through=getattr(like, "write_through", False),
    )
