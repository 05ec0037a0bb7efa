"""The command line. Each command has one thin module that only calls the library.

These modules import nothing slow at the top, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
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

COMMANDS = (
    "train",
    "compare",
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
    as_json = "--json" in words
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
        if hasattr(error, "format_message"):
            # An error of Typer about the arguments. Its class is found by its method, because the
            # place of that class differs between Typer's versions.
            text = f"{error.format_message().rstrip('.')}; see --help"
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
    print(f"error: {error}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        if note:
            print(note, file=sys.stderr)
    if as_json:
        problem = {"kind": type(error).__name__, "message": str(error)}
        document = {"schema_version": 1, "exit_code": error.exit_code, "error": problem}
        with suppress(MnistMlpError):  # standard output itself may be what failed
            print(json.dumps(document, indent=2), flush=True)
    return error.exit_code
