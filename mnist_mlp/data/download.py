"""Download MNIST from a mirror into a folder, and check it first.

A user who is offline must learn so within seconds. The time-out of a connection cannot ensure this:
a name look-up has no time-out, and a host with eight addresses is tried eight times. So first, all
mirrors are contacted at the same time, with one deadline. Files are requested only from those that
answered.
"""

from __future__ import annotations

import hashlib
import logging
import re
import socket
import threading
import time
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mnist_mlp.data.cache import filling
from mnist_mlp.data.facts import FILES, MIRRORS, REMEDY, Say, quiet
from mnist_mlp.data.idx import open_unzipped
from mnist_mlp.errors import DataError, UsageError

CONNECT_S = 3.0
READ_S = 20.0
# The deadline for all mirrors: long enough for a slow look-up and one lost connection packet.
KNOCK_S = 4.0
_BLOCK = 1 << 20


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
    parts = urlsplit(mirror)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(
            f"the mirror {without_password(mirror)!r} is not an http or https address. "
            "For a folder on this machine, use --data-dir."
        )
    return mirror.rstrip("/") + "/"


def without_password(address: str) -> str:
    """A URL without user name and password, so that it may be shown and recorded.

    >>> without_password("https://me:secret@host.example/mnist/")
    'https://host.example/mnist/'
    """
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


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
        # All errors of the connection are OSErrors, including those of requests.
        except (OSError, EOFError, zlib.error, DataError) as err:
            failures[mirror] = _short(err)
            say(f"{shown} failed: {failures[mirror]}")
        else:
            return shown
    tried = "; ".join(f"{without_password(mirror)}: {failures[mirror]}" for mirror in mirrors)
    raise DataError(f"no mirror gave MNIST: {tried}.\n{REMEDY}")


def _fetch(mirror: str, name: str, folder: Path) -> None:
    """Download one file, unpack it, and check its MD5."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    packed = Path(
        pooch.retrieve(
            f"{mirror}{name}.gz",
            known_hash=None,  # the checksum of the decompressed bytes is checked below
            fname=f"{name}.gz",
            path=folder,
            downloader=pooch.HTTPDownloader(timeout=(CONNECT_S, READ_S), chunk_size=_BLOCK),
        )
    )
    md5 = hashlib.md5(usedforsecurity=False)
    with open_unzipped(packed) as source, (folder / name).open("wb") as target:
        while block := source.read(_BLOCK):
            md5.update(block)
            target.write(block)
    packed.unlink()
    if md5.hexdigest() != FILES[name]:
        (folder / name).unlink()
        raise DataError(
            f"wrong checksum of {name}: MD5 {md5.hexdigest()} unpacked, expected {FILES[name]}"
        )


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
    text = re.sub(r"//[^/@\s]*@", "//", text)  # requests quotes the URL, including a password
    return text.splitlines()[0][:160].rstrip(". ")
