"""A process that has imported a backend's framework, and forks workers from itself.

    python -m mnist_mlp.worker.fork_server module:Class FOLDER PID

Importing a framework takes seconds, most of the time that a short test needs. Forking a process
that has done so takes milliseconds. It is safe as long as that process has one thread: nothing else
holds a lock then, and no framework has made its thread pools or looked at a GPU.

It listens at a socket in FOLDER, as long as that folder and the process PID exist. `warm` asks it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mnist_mlp.worker.warm import LARGEST, conditions, listening, socket_of

LOOK_S = 1.0
"""Seconds between two looks whether anybody still needs this process."""


def main() -> None:
    """Import, then serve until the folder or its owner is gone."""
    target, folder, owner = sys.argv[1:]
    own, before = conditions(), set(os.environ)
    _import_all(target.partition(":")[0].partition(".")[0])
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        sys.exit("it has several threads, so it cannot be forked safely")
    added = {key: value for key, value in os.environ.items() if key not in before}
    gc.freeze()  # collecting would copy the pages that all workers share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    listener = listening(socket_of(Path(folder), target))
    listener.settimeout(LOOK_S)
    while _needed(Path(folder), int(owner)):
        with suppress(TimeoutError):
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _keep(connection, target, own, added)
            connection.close()


def _needed(folder: Path, owner: int) -> bool:
    try:
        os.kill(owner, 0)
    except ProcessLookupError:
        return False
    return folder.is_dir()


def _import_all(package: str) -> None:
    """All modules of a backend, and with them its framework."""
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(getattr(found, "__path__", ()), f"{package}."):
        importlib.import_module(module.name)


def _keep(
    connection: socket.socket, target: str, own: Mapping[str, Any], added: Mapping[str, str]
) -> NoReturn:
    """In a process of its own: fork one worker, and tell how it ended.

    `own` are the conditions in which the framework was imported, and `added` the variables that it
    has set.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        content, files, _, _ = socket.recv_fds(connection, LARGEST, 4)
        while not content.endswith(b"\n"):
            content += connection.recv(LARGEST)
        request: dict[str, Any] = json.loads(content)
        if request["conditions"] != own:
            _send(connection, {"pid": None})
            os._exit(0)
        begun, begins = os.pipe()
        pid = os.fork()
        if pid == 0:
            connection.close()
            os.setsid()
            os.close(begun)
            os.close(begins)
            request["environment"] = {**added, **request["environment"]}
            _work(request, files, target)
        os.close(begins)
        os.read(begun, 1)  # it ends once the worker leads a group that can be killed
        _send(connection, {"pid": pid})
        for file in files:
            os.close(file)
        # Its number must not be given to another process while somebody may kill it.
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        with suppress(OSError):  # nobody may want to know any more
            _send(connection, {"code": code})
            connection.recv(1)  # until the other side closes it
    finally:
        os._exit(0)


def _send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _work(request: Mapping[str, Any], files: list[int], target: str) -> NoReturn:
    """Become what `python -m mnist_mlp.worker.child` would be."""
    try:
        for number, file in enumerate(files[:3]):
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        os.umask(request["umask"])
        tempfile.tempdir = None  # found anew, in the worker's environment
        np.random.seed()  # noqa: NPY002 - the global one: all forks would draw the same numbers
        name, limit = request["name"], request["limit"]
        sys.argv = ["mnist_mlp.worker.child", target, name, limit, str(files[3])]
        from mnist_mlp.worker.child import main as serve

        serve()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
