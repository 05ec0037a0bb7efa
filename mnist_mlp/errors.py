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


class InterruptedRun(MnistMlpError):  # noqa: N818 - what happened, not what is wrong
    """The user stopped the run (Ctrl-C)."""

    exit_code = EXIT_INTERRUPTED


class TerminatedRun(MnistMlpError):  # noqa: N818
    """Another process asked this one to end (SIGTERM)."""

    exit_code = EXIT_TERMINATED


class UserCodeError(SetupError):
    """A user's own code raised, or is not what the framework wants; names the user's line."""
