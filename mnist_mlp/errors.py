"""All errors that are shown to a user, with their exit codes.

The text of an error says what was wrong, where, what was expected and what to do next, in one or
two lines. The command line prints the text and exits with `exit_code`. Only a bug shows a
traceback.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_DIFFERENT = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_DATA = 4
EXIT_DIVERGED = 5
EXIT_INCONCLUSIVE = 6
EXIT_INTERNAL = 70  # EX_SOFTWARE of sysexits.h
# By the shell's convention, a process ended by signal n has exit code 128 + n: SIGINT is 2, SIGPIPE
# 13, SIGTERM 15.
EXIT_INTERRUPTED = 130
EXIT_OUTPUT_CLOSED = 141
EXIT_TERMINATED = 143


class MnistMlpError(Exception):
    """Base of all errors that are shown to the user without a traceback."""

    exit_code: int = EXIT_ENVIRONMENT


class UsageError(MnistMlpError):
    """A command, a configuration or a combination of sizes that makes no sense."""

    exit_code = EXIT_USAGE


class FolderInUseError(UsageError):
    """Another process is writing to the folder."""


class SetupError(MnistMlpError):
    """A device or a framework is missing, or an output cannot be written."""

    exit_code = EXIT_ENVIRONMENT


class MissingPackagesError(SetupError):
    """A backend needs packages that are not installed; names the command that installs them."""


class OutputClosedError(MnistMlpError):
    """The reader of standard output ended early (`| head -1`). Nothing is said about it."""

    exit_code = EXIT_OUTPUT_CLOSED


class BackendError(SetupError):
    """A backend, or the code a user gave it, failed or died."""


class TimeLimitError(BackendError):
    """A worker reported nothing for as long as `--timeout` allows."""


class DataError(MnistMlpError):
    """A data file is missing, damaged or not the requested one."""

    exit_code = EXIT_DATA


class RunFolderError(DataError):
    """A run folder is missing, unfinished or damaged."""


class DivergedError(MnistMlpError):
    """Training produced NaN or infinity."""

    exit_code = EXIT_DIVERGED


class InternalError(MnistMlpError):
    """A bug in this program. Only the command line makes one, from an unexpected exception."""

    exit_code = EXIT_INTERNAL


class UserCodeError(SetupError):
    """A user's own code raised, or does not fit the framework; names the user's line."""


class Stop(BaseException):
    """This process was asked to end.

    A `BaseException`, so that no handler of ordinary errors swallows it.
    """

    exit_code: int = EXIT_TERMINATED


class InterruptedRun(Stop):
    """The user stopped the run (Ctrl-C).

    It is not a `KeyboardInterrupt`, because Typer turns that into an ordinary error of its own.
    """

    exit_code = EXIT_INTERRUPTED


class TerminatedRun(Stop):
    """Another process asked this one to end (SIGTERM), or the terminal closed (SIGHUP)."""

    exit_code = EXIT_TERMINATED
