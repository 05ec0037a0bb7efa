"""The command line. Each command has one thin module that only calls the library.

These modules import nothing slow at the top, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import json
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from mnist_mlp import streams
from mnist_mlp.cli.signals import raise_on_signals
from mnist_mlp.errors import (
    InternalError,
    InterruptedRun,
    MnistMlpError,
    OutputClosedError,
    SetupError,
    Stop,
    UsageError,
)
from mnist_mlp.shown import one_line

COMMANDS = (
    "train",
    "compare",
    "sweep",
    "check",
    "evaluate",
    "report",
    "explain",
    "export",
    "import",
    "predict",
    "data",
    "backends",
    "doctor",
    "bench",
)

_TOP_LEVEL = ("--help", "--version", "--install-completion", "--show-completion")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its exit code. Without a command, `train` is run."""
    streams.secure()
    words = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if words[0].startswith("-") and words[0] not in _TOP_LEVEL:
        words = ["train", *words]
    as_json = not {"--json", "--format=json"}.isdisjoint(words)
    as_json = as_json or ("--format", "json") in pairwise(words)
    try:
        raise_on_signals()
        from mnist_mlp.cli.app import app

        code = app(args=words, prog_name="mnist_mlp", standalone_mode=False)
        sys.stdout.flush()  # now, not at Python's own end: an error must still be told
    except OutputClosedError as error:
        code = error.exit_code  # as quiet as other programs are
    except (MnistMlpError, Stop) as error:
        code = _tell(error, as_json=as_json)
    except KeyboardInterrupt:
        code = _tell(InterruptedRun("interrupted"), as_json=as_json)
    except MemoryError:
        text = "out of memory: use fewer rows, a smaller batch or smaller layers"
        code = _tell(SetupError(text), as_json=as_json)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            text = f"{one_line(str(error.filename))}: {error.strerror}"
            code = _tell(UsageError(text), as_json=as_json)
        elif hasattr(error, "format_message"):
            # An error of Typer about the arguments. Its class is found by its method, because the
            # place of that class differs between Typer's versions.
            # Typer breaks a list of choices into lines.
            message = " ".join(error.format_message().split()).rstrip(".")
            text = f"{message}; see --help"
            code = _tell(UsageError(text), as_json=as_json)
        else:
            code = _tell(_own_fault(error, command=words[0]), as_json=as_json)
    sys.exit(code or 0)


def _own_fault(error: Exception, *, command: str) -> InternalError:
    """Turn an unexpected exception into an error, and write its traceback to a file."""
    import tempfile
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    what = f"{type(error).__name__}: {str(error).strip()[:200] or 'no message'}"
    trace = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="mnist-mlp-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"mnist_mlp {command}\n\n{trace}")
        where = f"the traceback is in {file.name}"
    except OSError as problem:
        where = f"the traceback could not be written ({problem.strerror}): {trace}"
    return InternalError(
        f"mnist_mlp itself failed, in {place}: {what}\n"
        f"This is a bug of mnist_mlp, not a mistake of yours. Please report it; {where}"
    )


def _tell(error: MnistMlpError | Stop, *, as_json: bool) -> int:
    text = readable(str(error))
    print(f"error: {text}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        if note:
            print(_printable(note), file=sys.stderr)
    if as_json:
        problem = {"kind": type(error).__name__, "message": text}
        document = {"schema_version": 1, "exit_code": error.exit_code, "error": problem}
        with suppress(MnistMlpError):  # standard output itself may be what failed
            print(json.dumps(document, indent=2), flush=True)
    return error.exit_code


_LONGEST = 1000
"""Most characters of an error. Any real one is shorter, unless it quotes something huge."""


def readable(text: str) -> str:
    """The text of an error as a terminal may show it.

    An error quotes what it refuses: a name, a path, an option. Control characters in a quote would
    reach the terminal, and a quote of a megabyte would hide what to do, which stands at the end.

    >>> readable("no such run: \\x1b[2Jx")
    'no such run: \\\\x1b[2Jx'
    """
    if len(text) > _LONGEST:
        half = _LONGEST // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return _printable(text)


def _printable(text: str) -> str:
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
