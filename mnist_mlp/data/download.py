"""MNIST from a mirror into a folder, checked before it arrives there.

An offline machine must be told so in seconds. A connection's own time-out does not give that: a
name look-up has none, and a host with eight addresses is tried eight times. So all mirrors are
knocked at together first, with one deadline, and only those that answer are asked for files.
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
# All mirrors together: long enough for a slow look-up and one lost connection packet.
KNOCK_S = 4.0
_BLOCK = 1 << 20


def download_mnist(folder: Path, *, mirror: str | None = None, say: Say = quiet) -> str:
    """Download MNIST's four files and put them, unpacked, into a folder.

    Parameters
    ----------
    folder : Path
        Made if need be. Nothing is left in it unless all four files have the right checksum.
    mirror : str, optional
        Address of a folder that holds the four files with .gz; asked instead of the known mirrors.
    say : function of one line
        Told what is going on.

    Returns
    -------
    str
        The mirror or mirrors that gave the files.

    Raises
    ------
    DataError
        No mirror gave the right files. The first line says what was tried, the second what helps.
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
    """Address of a mirror with one slash at its end.

    Raises
    ------
    UsageError
        It is not an http or https address.
    """
    parts = urlsplit(mirror)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(
            f"the mirror {without_password(mirror)!r} is not an http or https address. "
            "For a folder on this machine use --data-dir."
        )
    return mirror.rstrip("/") + "/"


def without_password(address: str) -> str:
    """An address as it may be shown and recorded: who logs in, and with what, is nobody's business.

    >>> without_password("https://me:secret@host.example/mnist/")
    'https://host.example/mnist/'
    """
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _from_first(
    mirrors: Sequence[str], name: str, folder: Path, failures: dict[str, str], say: Say
) -> str:
    """Put one file into the folder from the first mirror that has not failed; return the mirror."""
    for mirror in mirrors:
        if mirror in failures:
            continue
        shown = without_password(mirror)
        say(f"downloading {name} from {shown}")
        try:
            _fetch(mirror, name, folder)
        # Whatever fails on the way, requests' own errors included, is an OSError.
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
            known_hash=None,  # the checksum that counts is that of the unpacked bytes, below
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
    """Mirrors that accept no connection within `KNOCK_S`, each with the reason."""
    failures: dict[str, str] = {}
    threads = {}
    for mirror in mirrors:
        # Daemons: a name look-up cannot be stopped, and must not keep the program from ending.
        threads[mirror] = threading.Thread(target=_connect, args=(mirror, failures), daemon=True)
        threads[mirror].start()
    deadline = time.monotonic() + KNOCK_S
    for mirror, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            failures[mirror] = f"no answer within {KNOCK_S:.0f} s"
    # A copy: a thread that is still looking up a name may yet write into the other one.
    return dict(failures)


def _connect(mirror: str, failures: dict[str, str]) -> None:
    parts = urlsplit(mirror)
    host = parts.hostname or ""
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return  # behind a proxy only the proxy can tell
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except (OSError, ValueError) as err:
        failures[mirror] = _short(err)


def _short(err: Exception) -> str:
    """What went wrong in at most 160 characters of one line."""
    text = (isinstance(err, OSError) and err.strerror) or str(err) or type(err).__name__
    text = re.sub(r"//[^/@\s]*@", "//", text)  # requests quotes the address, password and all
    return text.splitlines()[0][:160].rstrip(". ")
