"""Download MNIST from a mirror into a folder, and check it first.

A user who is offline must learn so within seconds. The time-out of a connection cannot ensure this:
a name look-up has no time-out, and a host with eight addresses is tried eight times. So first, all
mirrors are contacted at the same time, with one deadline. Files are requested only from those that
answered.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from mnist_mlp.data.cache import filling
from mnist_mlp.data.facts import FILES, MIRRORS, REMEDY, Say, quiet
from mnist_mlp.data.idx import open_unzipped
from mnist_mlp.errors import DataError, UsageError
from mnist_mlp.shown import one_line, size

CONNECT_S = 3.0
READ_S = 20.0
# The deadline for all mirrors: long enough for a slow look-up and one lost connection packet.
KNOCK_S = 4.0
# A time-out of 20 s between two packets still lets a mirror send a byte every 19 s, for ever. So a
# file has this time to begin, and from then on must come at this rate on average. The largest file
# then takes at most 9 minutes.
BEGIN_S = 20.0
SLOWEST = 20_000  # bytes a second
LARGEST = 64 * 2**20
"""Most bytes of a file, both packed and unpacked. MNIST's largest has 47 MB unpacked."""
_BLOCK = 1 << 16
_LOOK_S = 0.1


def download_mnist(folder: Path, *, mirror: str | None = None, say: Say = quiet) -> str:
    """Download MNIST's four files and put them, unpacked, into a folder.

    Parameters
    ----------
    folder : Path
        It is made if needed. It stays empty unless all four files have the right checksum.
    mirror : str, optional
        URL of a folder with the four .gz files; used instead of the known mirrors.
    say : function of one line
        Called with messages about the progress.

    Returns
    -------
    str
        The mirror or mirrors that the files came from.

    Raises
    ------
    DataError
        No mirror gave the right files. The first line says what was tried, the second what to do.
    SetupError
        The folder cannot be written.
    UsageError
        `mirror` is not an http or https address.
    """
    mirrors = MIRRORS if mirror is None else (check_mirror(mirror),)
    failures = _knock(mirrors)
    used: list[str] = []
    with filling(folder) as partial:
        for name in FILES:
            used.append(_from_first(mirrors, name, partial, failures, say))
    return ", ".join(dict.fromkeys(used))


def check_mirror(mirror: str) -> str:
    """Check the URL of a mirror, and return it with one slash at its end.

    Raises
    ------
    UsageError
        It is not an http or https address.
    """
    try:
        parts = urlsplit(mirror)
        right = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:  # such as a [ without its ]
        right = False
    if not right:
        raise UsageError(
            f"the mirror '{without_password(one_line(mirror))}' is not an http or https address. "
            "For a folder on this machine, use --data-dir."
        )
    return mirror.rstrip("/") + "/"


def without_password(text: str) -> str:
    """A URL, or a text with URLs in it, without user name and password, so that it may be shown.

    >>> without_password("https://me:secret@host.example/mnist/")
    'https://host.example/mnist/'
    """
    return re.sub(r"//[^/\s]*@", "//", text)


def _from_first(
    mirrors: Sequence[str], name: str, folder: Path, failures: dict[str, str], say: Say
) -> str:
    """Download one file from the first mirror that has not failed, and return that mirror."""
    for mirror in mirrors:
        if mirror in failures:
            continue
        shown = without_password(mirror)
        say(f"downloading {name} from {shown}")
        try:
            _fetch(mirror, name, folder)
        except Exception as err:  # a mirror's answer makes libraries raise nearly any exception
            failures[mirror] = _short(err)
            say(f"{shown} failed: {failures[mirror]}")
        else:
            return shown
    tried = "; ".join(f"{without_password(mirror)}: {failures[mirror]}" for mirror in mirrors)
    raise DataError(f"no mirror gave MNIST: {tried}.\n{REMEDY}")


def _fetch(mirror: str, name: str, folder: Path) -> None:
    """Download one file, unpack it, and check its MD5."""
    packed = folder / f"{name}.gz"
    _download(f"{mirror}{name}.gz", packed)
    md5, done = hashlib.md5(usedforsecurity=False), 0
    with open_unzipped(packed) as source, (folder / name).open("wb") as target:
        while block := source.read(_BLOCK):
            done += len(block)
            if done > LARGEST:
                raise DataError(f"{name} unpacks to more than {size(LARGEST)}, which is the limit")
            md5.update(block)
            target.write(block)
    packed.unlink()
    if md5.hexdigest() != FILES[name]:
        (folder / name).unlink()
        raise DataError(
            f"wrong checksum of {name}: MD5 {md5.hexdigest()} unpacked, expected {FILES[name]}"
        )


def _download(url: str, file: Path) -> None:
    """Download a file in a thread, and give it up if it is too slow or too large.

    Raises
    ------
    DataError
        More than `LARGEST` bytes came, or fewer than `BEGIN_S` and `SLOWEST` ask for.
    Exception
        Whatever the thread ended with.
    """
    failures: list[Exception] = []
    given_up = threading.Event()
    # A daemon thread: one that waits for its socket must not keep the program running.
    thread = threading.Thread(target=_receive, args=(url, file, given_up, failures), daemon=True)
    started = time.monotonic()
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_LOOK_S)
            _check_progress(file, seconds=time.monotonic() - started)
    finally:
        given_up.set()
    if failures:
        raise failures[0]


def _receive(url: str, file: Path, given_up: threading.Event, failures: list[Exception]) -> None:
    import requests

    try:
        with (
            requests.get(url, stream=True, timeout=(CONNECT_S, READ_S)) as response,
            file.open("wb", buffering=0) as target,
        ):
            response.raise_for_status()
            for block in response.iter_content(_BLOCK):
                target.write(block)
                if given_up.is_set():
                    return
    except Exception as err:  # handed to the thread that waits
        failures.append(err)


def _check_progress(file: Path, *, seconds: float) -> None:
    received = file.stat().st_size if file.exists() else 0
    if received > LARGEST:
        raise DataError(f"sends more than {size(LARGEST)}, which is the limit for one file")
    if seconds > BEGIN_S + received / SLOWEST:
        raise DataError(f"too slow: {size(received)} in {seconds:.0f} s")


def _knock(mirrors: Sequence[str]) -> dict[str, str]:
    """The mirrors that accept no connection within `KNOCK_S`, each with the reason."""
    failures: dict[str, str] = {}
    threads = {}
    for mirror in mirrors:
        # Daemon threads: a name look-up cannot be stopped, and must not keep the program running.
        threads[mirror] = threading.Thread(target=_connect, args=(mirror, failures), daemon=True)
        threads[mirror].start()
    deadline = time.monotonic() + KNOCK_S
    for mirror, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            failures[mirror] = f"no answer within {KNOCK_S:.0f} s"
    # A copy, because a thread that is still waiting may write into the original later.
    return dict(failures)


def _connect(mirror: str, failures: dict[str, str]) -> None:
    parts = urlsplit(mirror)
    host = parts.hostname or ""
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return  # behind a proxy, a direct connection proves nothing
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except (OSError, ValueError) as err:
        failures[mirror] = _short(err)


def _short(err: Exception) -> str:
    """The reason of an error, on one line of at most 160 characters."""
    text = (isinstance(err, OSError) and err.strerror) or str(err) or type(err).__name__
    # requests quotes the URL, including a password.
    return without_password(one_line(text, longest=160)).rstrip(". ")
