"""Run the commands of a case, each in a process of its own, and watch what they do.

Most commands are run in a forked child of this process, which has imported everything before. That
saves a second for each. `started` runs a command as a shell does.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from torture.case import MIB, Answer

from mnist_mlp.run.evaluation import import_evaluator

MARK = "MNIST_TORTURE_CASE"
"""A variable in the environment of each command. Its processes are found by it, even those that
have left its process group."""

ADDRESS_SPACE = 6 * 1024 * MIB
CPU_S = 120
"""Limits of a forked command, so that a fault does not bring down the machine, even where the
torture run itself is killed before it can end the command."""


USED = (
    *("jinja2", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    *("PIL.JpegImagePlugin", "PIL.PngImagePlugin", "safetensors.numpy", "scipy.special"),
    *("mnist_mlp.cli.app", "mnist_mlp.cli.dry_run", "mnist_mlp.cli.output", "mnist_mlp.report"),
    *("mnist_mlp.exchange.exporting", "mnist_mlp.exchange.importing"),
    *("mnist_mlp.exchange.pictures", "mnist_mlp.parity.compare.runs"),
    *("mnist_mlp.report.comparison", "mnist_mlp.training"),
)
"""What the commands import when they need it."""


def import_everything() -> None:
    """Import what the commands import, so that forked children need not."""
    for name in USED:
        import_module(name)
    import_evaluator()


def heed_interrupts() -> None:
    """Let the programs that are started here heed SIGINT.

    Where this runs as a shell's background job, they would ignore it by inheritance.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def forked(
    words: Sequence[str], *, folder: Path, environment: Mapping[str, str], limit_s: float
) -> Answer:
    """Run a command line in a forked child.

    Parameters
    ----------
    folder : Path
        The working directory.
    environment : mapping
        The whole environment.
    limit_s : float
        Seconds after which the child is killed.
    """

    def child(out: int, err: int) -> int:
        pid = os.fork()
        if pid == 0:
            _be_the_command(words, folder=folder, environment=environment, out=out, err=err)
        return pid

    return _watched(child, environment=environment, limit_s=limit_s)


def started(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    limit_s: float,
    meanwhile: Callable[[int], object] = lambda _: None,
) -> Answer:
    """Run a program as a shell does; `meanwhile` is called with its process id."""

    def child(out: int, err: int) -> int:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        process.returncode = 0  # `_watched` waits for it, not this object
        return process.pid

    return _watched(child, environment=environment, limit_s=limit_s, meanwhile=meanwhile)


def python(*words: str) -> list[str]:
    """The command line of the program itself."""
    return [sys.executable, "-m", "mnist_mlp", *words]


def _watched(
    child: Callable[[int, int], int],
    *,
    environment: Mapping[str, str],
    limit_s: float,
    meanwhile: Callable[[int], object] = lambda _: None,
) -> Answer:
    temporary = Path(environment["TMPDIR"])
    known = set(temporary.glob("mnist-mlp-*.txt"))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        pid = child(out.fileno(), err.fileno())
        meanwhile(pid)
        ended = _ended(pid, start + limit_s)
        seconds = time.monotonic() - start
        if not ended:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        left = [] if not ended else left_over(environment[MARK])
        kill_all(environment[MARK])
        traces = sorted(set(temporary.glob("mnist-mlp-*.txt")) - known)
        return Answer(
            code=os.waitstatus_to_exitcode(status) if ended else None,
            out=_whole(out.fileno()),
            err=_whole(err.fileno()),
            seconds=seconds,
            memory=usage.ru_maxrss * 1024,
            traces=[path.read_text(errors="replace") for path in traces],
            left=left,
        )


def _ended(pid: int, deadline: float) -> bool:
    handle = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        os.close(handle)
    return bool(ready)


def _whole(handle: int) -> bytes:
    """The content of a file, but at most 1 MiB of it."""
    return os.pread(handle, MIB, 0)


def _be_the_command(
    words: Sequence[str], *, folder: Path, environment: Mapping[str, str], out: int, err: int
) -> NoReturn:
    """In the child: become the command, and never return."""
    code = 1
    try:
        os.setsid()
        # Text buffers of the parent must not be flushed by the child once more.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None
        signal.signal(signal.SIGINT, signal.default_int_handler)
        warnings.resetwarnings()  # the tests turn them into errors
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        from mnist_mlp.cli import main

        main(list(words))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # as the interpreter does it
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _marked(mark: str) -> Iterator[tuple[int, str]]:
    """The started programs of a case that are alive, with their command lines."""
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if command:  # a zombie has none
                    yield int(entry.name), command.strip()[:120]


def left_over(mark: str, *, patience_s: float = 2.0) -> list[str]:
    """Command lines of a case's processes that are still alive after some patience."""
    end = time.monotonic() + patience_s
    while (found := list(_marked(mark))) and time.monotonic() < end:
        time.sleep(0.05)
    return [command for _, command in found]


def kill_all(mark: str) -> None:
    """Kill every process of a case."""
    for pid, _ in _marked(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def case_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder, which is removed whatever a case has put into it."""
    folder = tempfile.TemporaryDirectory(prefix="torture-", dir=parent, ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name)
