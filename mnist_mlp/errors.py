"""Every error a user can meet, with its exit code.

An error's text names what was wrong, where, what was expected and what to do next, in one or two
lines. The command line prints the text and leaves with `exit_code`; a traceback is only for bugs.
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
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class MnistMlpError(Exception):
    """Base of all errors that are told to the user without a traceback."""

    exit_code: int = EXIT_ENVIRONMENT


class UsageError(MnistMlpError):
    """A command, a configuration or a combination of sizes that makes no sense."""

    exit_code = EXIT_USAGE


class SetupError(MnistMlpError):
    """A device or a framework is missing, or an output cannot be written."""

    exit_code = EXIT_ENVIRONMENT


class BackendError(SetupError):
    """A backend, or the code a user gave it, failed or died."""


class DataError(MnistMlpError):
    """A data file is missing, damaged or not the one that was asked for."""

    exit_code = EXIT_DATA


class RunFolderError(DataError):
    """A run folder is missing, unfinished or damaged."""


class DivergedError(MnistMlpError):
    """Training produced NaN or infinity."""

    exit_code = EXIT_DIVERGED


class InternalError(MnistMlpError):
    """A fault of this program itself. Only the command line makes one, of what nobody foresaw."""

    exit_code = EXIT_INTERNAL


class UserCodeError(SetupError):
    """A user's own code raised, or is not what the framework wants; names the user's line."""


class Stop(BaseException):
    """Somebody wants this process to end. No handler of ordinary errors may swallow that."""

    exit_code: int = EXIT_TERMINATED


class InterruptedRun(Stop):
    """The user stopped the run (Ctrl-C).

    No `KeyboardInterrupt`: Typer would turn one into an ordinary error of its own.
    """

    exit_code = EXIT_INTERRUPTED


class TerminatedRun(Stop):
    """Another process asked this one to end (SIGTERM), or the terminal is gone (SIGHUP)."""

    exit_code = EXIT_TERMINATED
