"""Broken IDX files."""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torture.broken import Broken
from torture.case import Try
from torture.spoil import Change, changing, link_to, npy, replacing, sparse
from torture.world import SIZES

IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"


def header(*shape: int, kind: int = 8, dimensions: int | None = None, zeros: int = 0) -> bytes:
    """The header of an IDX file."""
    count = len(shape) if dimensions is None else dimensions
    return struct.pack(f">HBB{len(shape)}I", zeros, kind, count, *shape)


HUGE = 2**33 // 30
"""Rows of a set of images that takes 8 GiB."""


def bomb(*shape: int) -> bytes:
    """A small gzip file of zeros whose header agrees with its content.

    One block is compressed and then repeated. The checksum at the end is wrong, but whoever reads
    that far has already unpacked everything.
    """
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = squeeze.compress(header(*shape)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(bytes(2**24)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    whole, rest = divmod(math.prod(shape), 2**24)
    end = squeeze.compress(bytes(rest)) + squeeze.flush()
    return b"\x1f\x8b\x08" + bytes(6) + b"\x03" + start + block * whole + end + bytes(8)


def bombs(folder: Path) -> None:
    """Images of 8 GiB and as many labels, both packed into few megabytes."""
    (folder / "data" / IMAGES).write_bytes(bomb(HUGE, 6, 5))
    (folder / "data" / LABELS).write_bytes(bomb(HUGE))


def holes(folder: Path) -> None:
    """The same, unpacked, as files that take no room on the disk."""
    sparse(folder / "data" / IMAGES, header(HUGE, 6, 5), size=16 + 30 * HUGE)
    sparse(folder / "data" / LABELS, header(HUGE), size=8 + HUGE)


def zipped(content: bytes) -> bytes:
    """A zip archive with one member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("images", content)
    return out.getvalue()


def gz(content: bytes) -> bytes:
    """A gzip file."""
    return gzip.compress(content, mtime=0)


OF_IMAGES: dict[str, Change] = {
    "empty": lambda _: b"",
    "one byte": lambda c: c[:1],
    "three bytes": lambda c: c[:3],
    "the magic number alone": lambda c: c[:4],
    "ends within the header": lambda c: c[:11],
    "the header alone": lambda c: c[:16],
    "one value short": lambda c: c[:-1],
    "half": lambda c: c[: len(c) // 2],
    "one value too many": lambda c: c + b"\0",
    "twice": lambda c: c * 2,
    "another magic number": lambda c: b"\1\2" + c[2:],
    "zeros": lambda c: bytes(len(c)),
    "noise": lambda c: np.random.default_rng(0).bytes(len(c)),
    "int8": lambda c: c[:2] + b"\x09" + c[3:],
    "int16": lambda c: c[:2] + b"\x0b" + c[3:],
    "int32": lambda c: c[:2] + b"\x0c" + c[3:],
    "float32": lambda c: c[:2] + b"\x0d" + c[3:],
    "float64": lambda c: c[:2] + b"\x0e" + c[3:],
    "an unknown type": lambda c: c[:2] + b"\xff" + c[3:],
    "no dimension": lambda c: c[:3] + b"\x00" + c[4:],
    "one dimension": lambda c: c[:3] + b"\x01" + c[4:],
    "two dimensions": lambda c: c[:3] + b"\x02" + c[4:],
    "four dimensions": lambda c: c[:3] + b"\x04" + c[4:],
    "255 dimensions": lambda c: c[:3] + b"\xff" + c[4:],
    "no rows": lambda c: header(0, 6, 5),
    "no height": lambda c: header(200, 0, 5) + c[16:],
    "no width": lambda c: header(200, 6, 0) + c[16:],
    "the largest shape": lambda c: header(2**32 - 1, 2**32 - 1, 2**32 - 1) + c[16:],
    "a product beyond 64 bits": lambda c: header(2**31, 2**31, 4) + c[16:],
    "a negative count": lambda c: header(2**32 - 200, 6, 5) + c[16:],
    "199 images for 200 labels": lambda c: header(199, 6, 5) + c[16:-30],
    "201 images for 200 labels": lambda c: header(201, 6, 5) + c[16:] + bytes(30),
    "little-endian": lambda c: c[:4] + struct.pack("<3I", 200, 6, 5) + c[16:],
    "labels in the images' place": lambda c: header(200) + bytes(200),
    "gzip, half": lambda c: gz(c)[:-40],
    "gzip, no checksum": lambda c: gz(c)[:-8],
    "gzip, a wrong checksum": lambda c: gz(c)[:-8] + b"abcd" + gz(c)[-4:],
    "gzip, a wrong length": lambda c: gz(c)[:-4] + b"abcd",
    "gzip, flipped byte": lambda c: gz(c)[:600] + bytes([gz(c)[600] ^ 0x24]) + gz(c)[601:],
    "gzip, magic number alone": lambda _: b"\x1f\x8b",
    "gzip, unknown method": lambda c: b"\x1f\x8b\x07" + gz(c)[3:],
    "gzip, endless name": lambda c: b"\x1f\x8b\x08\x08" + gz(c)[4:10] + b"n" * 10**6,
    "gzip, noise after it": lambda c: gz(c) + b"noise that is no member",
    "gzip of gzip": lambda c: gz(gz(c)),
    "gzip of an empty file": lambda _: gz(b""),
    "gzip of one value too many": lambda c: gz(c + b"\0"),
    "gzip, two members, too long": lambda c: gz(c) + gz(b"more"),
    "gzip bomb behind a true image": lambda c: gz(c) + gz(bytes(2**28)),
    "zip": zipped,
    "npy": lambda _: npy(np.zeros((200, 6, 5), np.uint8)),
    "a web page": lambda _: b"<!DOCTYPE html><html><body>log in first</body></html>",
    "a pointer of Git LFS": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "escape codes": lambda _: b"\x1b[2J\x1b]0;title\x07" * 99,
}
"""Changes of the file of training images."""


OTHERS: dict[str, Callable[[Path], object]] = {
    "missing": replacing(f"data/{IMAGES}", lambda _: None),
    "a folder": replacing(f"data/{IMAGES}", Path.mkdir),
    "a pipe": replacing(f"data/{IMAGES}", os.mkfifo),
    "a link to nothing": replacing(f"data/{IMAGES}", link_to("nowhere")),
    "a link to itself": replacing(f"data/{IMAGES}", link_to(IMAGES)),
    "a link to /dev/zero": replacing(f"data/{IMAGES}", link_to("/dev/zero")),
    "a link to /proc/self/mem": replacing(f"data/{IMAGES}", link_to("/proc/self/mem")),
    "gzip bombs whose headers agree": bombs,
    "holes of 8 GiB whose headers agree": holes,
    "labels: empty": changing(f"data/{LABELS}", lambda _: b""),
    "labels: one short": changing(f"data/{LABELS}", lambda c: c[:-1]),
    "labels: images": changing(f"data/{LABELS}", lambda _: header(200, 6, 5) + bytes(6000)),
    "labels: 199 of them": changing(f"data/{LABELS}", lambda c: header(199) + c[8:-1]),
    "labels: a pipe": replacing(f"data/{LABELS}", os.mkfifo),
    "test images: half": changing(f"data/{TEST_IMAGES}", lambda c: c[: len(c) // 2]),
    "test images: gzip, half": changing(f"data/{TEST_IMAGES}", lambda c: gz(c)[:-50]),
    "pixels of another size": changing(f"data/{IMAGES}", lambda c: header(200, 5, 6) + c[16:]),
}

NAMED = {"labels": LABELS, "test images": TEST_IMAGES, "pixels of another size": "data"}


def cases() -> list[Broken]:
    """About 70 ways to break one of the four files."""
    changes = {name: changing(f"data/{IMAGES}", change) for name, change in OF_IMAGES.items()}
    return [
        Broken(name, spoil, _tries(NAMED.get(name.partition(":")[0], IMAGES)))
        for name, spoil in {**changes, **OTHERS}.items()
    ]


def _tries(names: str) -> list[Try]:
    weights = ("run/weights.safetensors", "--layout", "keras", "--set", SIZES)
    return [
        Try(("data",), names=names),
        Try(("import", *weights, "--out", "new", "--json"), names=names),
    ]
