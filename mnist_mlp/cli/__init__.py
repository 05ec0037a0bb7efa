"""The command line. One module a command; each is thin and only calls the library.

Nothing slow is imported at the top of these modules: `--help` has to answer at once.
"""

from __future__ import annotations

import json
import signal
import sys
from types import FrameType
from typing import NoReturn

from mnist_mlp.errors import InterruptedRun, MnistMlpError, TerminatedRun, UsageError

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
    "bench",
)

_TOP_LEVEL = ("--help", "--version", "--install-completion", "--show-completion")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command; with no command named, `train`."""
    words = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if words[0].startswith("-") and words[0] not in _TOP_LEVEL:
        words = ["train", *words]
    from mnist_mlp.cli.app import app

    signal.signal(signal.SIGTERM, _terminate)
    as_json = "--json" in words
    try:
        code = app(args=words, prog_name="mnist_mlp", standalone_mode=False)
    except MnistMlpError as error:
        code = _tell(error, as_json=as_json)
    except KeyboardInterrupt:
        code = InterruptedRun.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        # Typer's own, about the words themselves: wherever it keeps the class in this version.
        text = f"{error.format_message().rstrip('.')}; see --help"
        code = _tell(UsageError(text), as_json=as_json)
    sys.exit(code or 0)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise TerminatedRun("terminated")


def _tell(error: MnistMlpError, *, as_json: bool) -> int:
    print(f"error: {error}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        if note:
            print(note, file=sys.stderr)
    if as_json:
        problem = {"kind": type(error).__name__, "message": str(error)}
        document = {"schema_version": 1, "exit_code": error.exit_code, "error": problem}
        print(json.dumps(document, indent=2))
    return error.exit_code
