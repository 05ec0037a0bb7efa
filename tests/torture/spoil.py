"""Ways to break a file; shared by several kinds."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Change = Callable[[bytes], bytes]
Array = np.ndarray[Any, Any]


def changing(name: str, change: Change) -> Callable[[Path], None]:
    """Rewrite the file `name` of the case's folder."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return spoil


def writing(name: str, content: bytes | Callable[[], bytes]) -> Callable[[Path], None]:
    """Write a file; content that is large is made only when it is needed."""

    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content() if callable(content) else content)

    return spoil


def replacing(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Put something else into the place of a file."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.unlink(missing_ok=True)
        make(path)

    return spoil


def link_to(target: str) -> Callable[[Path], None]:
    """Make a link with this target."""
    return lambda path: path.symlink_to(target)


def sparse(path: Path, start: bytes, *, size: int) -> None:
    """A file that takes no room on the disk but has this size."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)


def same_length_noise(content: bytes) -> bytes:
    """Random bytes."""
    return np.random.default_rng(0).bytes(len(content))


def flipped(content: bytes) -> bytes:
    """The content with a bit of its middle byte changed."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


ANY_FILE: dict[str, Change] = {
    "empty": lambda _: b"",
    "one byte": lambda c: c[:1],
    "half": lambda c: c[: len(c) // 2],
    "zeros": lambda c: bytes(len(c)),
    "noise": same_length_noise,
    "gzipped": lambda c: gzip.compress(c, mtime=0),
    "a JPEG's beginning": lambda c: b"\xff\xd8\xff\xe0" + c,
    "a pickle": lambda _: pickle.dumps({"weights": [1.0]}),
    "UTF-16": lambda _: "\ufeffnot what was expected".encode("utf-16"),
}
"""Changes that make a file of any format unreadable."""

ODD_FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda _: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to a file of the user": link_to("../precious/thesis.txt"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": link_to("nowhere"),
    "a link to /dev/zero": link_to("/dev/zero"),
    "a hole of 8 GiB": lambda path: sparse(path, b"", size=2**33),
}
"""What may stand in a file's place. Inside a run folder each of them is refused."""


# --- npz ------------------------------------------------------------------------------------------


def npy(array: Array) -> bytes:
    """An `.npy` file; objects are pickled."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def npy_header(text: str, *, version: bytes = b"\x01\x00", data: bytes = b"") -> bytes:
    """An `.npy` file with this header."""
    head = text.encode("latin1")
    length = struct.pack("<H" if version[0] == 1 else "<I", len(head))
    return b"\x93NUMPY" + version + length + head + data


def npz(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def members_of(path: Path) -> dict[str, bytes]:
    """The members of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def array_changed(
    file: str, array: str, change: Callable[[Array], Array | bytes]
) -> Callable[[Path], None]:
    """Change one array of an npz file; bytes take the place of its npy file."""

    def spoil(folder: Path) -> None:
        path = folder / file
        members = members_of(path)
        found = change(np.load(io.BytesIO(members[f"{array}.npy"])))
        members[f"{array}.npy"] = found if isinstance(found, bytes) else npy(found)
        path.write_bytes(npz(members))

    return spoil


# --- JSON -----------------------------------------------------------------------------------------


def json_changed(name: str, key: str, value: Any) -> Callable[[Path], None]:
    """Set a key of a JSON file, such as `backend.name`; `...` removes it."""

    def spoil(folder: Path) -> None:
        path = folder / name
        document = json.loads(path.read_text())
        *outer, last = key.split(".")
        place = document
        for part in outer:
            place = place[part]
        if value is ...:
            del place[last]
        else:
            place[last] = value
        path.write_text(json.dumps(document))

    return spoil


def json_text(name: str, key: str, text: str) -> Callable[[Path], None]:
    """Set a key to a value that only text can say, such as a number of 5,000 digits."""

    def spoil(folder: Path) -> None:
        json_changed(name, key, "PLACE")(folder)
        path = folder / name
        path.write_text(path.read_text().replace('"PLACE"', text))

    return spoil


# --- safetensors ----------------------------------------------------------------------------------


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with this header (JSON, or bytes) and these bytes after it."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def copied(source: str, target: str) -> Callable[[Path], None]:
    """Copy a file of the case's folder over another one."""
    return lambda folder: shutil.copyfile(folder / source, folder / target) and None
