"""Workers that start at once, for a session with many of them: each is forked from a process that
has imported the framework (`fork_server`).

Within `warm_workers()`, the first worker of a backend starts as always, the second starts such a
process beside itself, and the later ones are forked from it. A worker that must not be is not, and
starts as always: one with other threads, limits, or an environment that its framework reads when it
is imported.
"""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from mnist_mlp.leftovers import temporary_folder

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

PLAIN = "plain.json"
"""The conditions of a worker with one thread and nothing special, in the folder of the sockets."""

FOLDER = "_MNIST_MLP_WARM_WORKERS"
"""Environment variable: the folder of the sockets, and a colon, and the process that made it."""

SERVER = "mnist_mlp.worker.fork_server"

PATIENCE_S = 10.0
"""How long to wait for a forked worker. Without an answer, one is started as always."""

LARGEST = 2**20
"""Bytes of a request; an environment is part of it."""

READ_LATER = (
    *("MNIST_MLP_", "PYTEST_", "CUDA_VISIBLE_DEVICES", "TMPDIR", "COLUMNS", "LINES", "TERM", "_"),
)
"""Beginnings of variables that no framework reads when it is imported."""

OF_SCIKIT_LEARN = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")
"""Variables that importing scikit-learn sets, sooner or later; for an OpenMP that neither framework
brings."""

_servers: dict[Path, list[subprocess.Popen[bytes]]] = {}
"""Those that this process has started, by folder."""


@contextmanager
def warm_workers() -> Iterator[None]:
    """Let later workers of this process, and of those that it starts, be forked.

    It does nothing where that cannot be done: on other systems than Linux.

    Examples
    --------
    ::

        with warm_workers():
            for port in ports:
                assert_same_training(port, "original.py:build", dataset="digits")
    """
    if not sys.platform.startswith("linux") or FOLDER in os.environ:
        yield
        return
    parent = Path(tempfile.gettempdir())
    with temporary_folder(parent, prefix="mnist_mlp-warm-") as folder:
        plain = json.dumps(conditions(environment_of_worker(1)))
        (folder / PLAIN).write_text(plain, encoding="utf-8")
        os.environ[FOLDER] = f"{folder}:{os.getpid()}"
        try:
            yield
        finally:
            del os.environ[FOLDER]
            for server in _servers.pop(folder, ()):
                server.terminate()
                server.wait()


def environment_of_worker(threads: int) -> dict[str, str]:
    """This process's environment, for a worker with so many threads."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    environment["PYTHONUNBUFFERED"] = "1"  # if it is killed, its last line must not be lost
    # Its temporary files are its own (`Worker`). What `torch.compile` has compiled is for all.
    with suppress(OSError, KeyError):  # nobody may have a name here
        compiled = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"
        environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled))
    return environment


class ForkedProcess:
    """A forked worker, with as much of `subprocess.Popen` as a worker's parent uses."""

    def __init__(
        self, pid: int, connection: socket.socket, stdin: IO[bytes], stdout: IO[bytes]
    ) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._connection = connection

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that killed it.

        Raises
        ------
        subprocess.TimeoutExpired
            It still runs.
        """
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int(_received(self._connection)["code"])
            except TimeoutError:
                raise subprocess.TimeoutExpired("worker", timeout or 0) from None
            except OSError:  # whoever waited for it was killed, and so nobody knows
                self.returncode = -signal.SIGKILL
            self._connection.close()
        return self.returncode

    def kill(self) -> None:
        """Kill it."""
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)


def forked(
    target: str,
    name: str,
    *,
    limit: str,
    environment: Mapping[str, str],
    stderr: int,
    stacks: int,
) -> ForkedProcess | None:
    """A worker from the process that has imported its framework; None where there is none.

    Parameters
    ----------
    target, name, limit : str
        Arguments of `mnist_mlp.worker.child`.
    environment : mapping
        The worker's whole environment.
    stderr, stacks : int
        Numbers of open files.
    """
    folder, _, owner = environment.get(FOLDER, "").rpartition(":")
    if not folder:
        return None
    connection = _connected(socket_of(Path(folder), target))
    if connection is None:
        _prepare(target, Path(folder), owner, environment)
        return None
    umask = os.umask(0o077)
    os.umask(umask)
    request = {
        "name": name,
        "limit": limit,
        "environment": dict(environment),
        "folder": str(Path.cwd()),
        "umask": umask,
        "conditions": conditions(environment),
    }
    (their_in, stdin), (stdout, their_out) = os.pipe(), os.pipe()
    try:
        files = [their_in, their_out, stderr, stacks]
        connection.settimeout(PATIENCE_S)
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], files)
        pid = _received(connection)["pid"]
    except OSError:
        pid = None
    finally:
        os.close(their_in)
        os.close(their_out)
    if pid is None:
        os.close(stdin)
        os.close(stdout)
        connection.close()
        return None
    return ForkedProcess(pid, connection, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"))


def socket_of(folder: Path, target: str) -> Path:
    """Where the process of a backend listens."""
    return folder / f"{target.partition(':')[0]}.socket"


def listening(path: Path) -> socket.socket:
    """A socket at a path. It has its name only once it can be connected to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    hidden = path.with_suffix(".new")
    listener.bind(str(hidden))
    listener.listen(64)
    hidden.rename(path)
    return listener


def conditions(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What must be the same in a process that forks a worker: what cannot be set afterwards.

    `environment` is that of the worker; by default it is this process's own.
    """
    import resource  # not on Windows

    given = os.environ if environment is None else environment
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    own = {
        name: value
        for name, value in sorted(given.items())
        if not name.startswith(READ_LATER) and name not in OF_SCIKIT_LEARN
    }
    return {
        "environment": own,
        "limits": {name: list(resource.getrlimit(getattr(resource, name))) for name in limits},
        "cores": sorted(os.sched_getaffinity(0)),
    }


def _received(connection: socket.socket) -> dict[str, Any]:
    """The next message, a line of JSON; `OSError` if the other side has ended."""
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(1)
        if not part:
            raise ConnectionResetError("the process that forks workers has ended")
        line += part
    message: dict[str, Any] = json.loads(line)
    return message


def _connected(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    return connection


def _prepare(target: str, folder: Path, owner: str, environment: Mapping[str, str]) -> None:
    """At the second plain worker of a backend, start the process that later ones are forked from.

    One that was started for another worker would serve no other.
    """
    name = target.partition(":")[0]
    try:
        plain = json.loads((folder / PLAIN).read_text(encoding="utf-8"))
    except OSError:  # it has ended
        return
    if conditions(environment) != plain:
        return
    for mark in (f"{name}.once", f"{name}.started"):
        try:
            (folder / mark).mkdir()
        except FileExistsError:
            continue
        except OSError:
            return
        if mark.endswith("started"):
            server = subprocess.Popen(
                [sys.executable, "-P", "-m", SERVER, target, str(folder), owner],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**environment, "TMPDIR": str(folder)},  # the worker's own does not last
                cwd="/",
                start_new_session=True,
            )
            _servers.setdefault(folder, []).append(server)
        return
