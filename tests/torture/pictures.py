"""Broken pictures, given to `predict`."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from torture.broken import Broken
from torture.case import ANSWERED, Try
from torture.spoil import ANY_FILE, flipped, link_to, replacing, sparse, writing

NAME = "broken.png"


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def seven(mode: str = "L") -> Image.Image:
    """A bar and a stroke."""
    grey = np.full((40, 30), 255, np.uint8)
    grey[5:8, 5:25] = grey[5:35, 18:21] = 0
    return Image.fromarray(grey).convert(mode)


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png(
    width: int,
    height: int,
    *,
    depth: int = 8,
    colour: int = 0,
    data: bytes | None = None,
    chunks: bytes = b"",
) -> bytes:
    """A PNG file with this header, whatever its data."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = zlib.compress(bytes(100)) if data is None else data
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunks + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )  # fmt: skip


def bomb(width: int, height: int) -> bytes:
    """A PNG file whose header agrees with its content: all black but one pixel."""
    row = b"\0" + bytes(width)
    squeeze = zlib.compressobj(1)
    rows = b"".join(squeeze.compress(row) for _ in range(height))
    return png(width, height, data=rows + squeeze.flush())


def text_chunks() -> bytes:
    """A picture with a compressed text of 200 MB."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("comment", "x" * 200_000_000, zip=True)
    return saved(seven(), pnginfo=texts)


CONTENTS: dict[str, bytes | Callable[[], bytes]] = {
    "PNG, half": lambda: saved(seven())[: len(saved(seven())) // 2],
    "PNG, the signature alone": b"\x89PNG\r\n\x1a\n",
    "PNG, no data": lambda: png(30, 40, data=b""),
    "PNG, data that is not deflate": lambda: png(30, 40, data=b"noise"),
    "PNG, too few rows": lambda: png(30, 40),
    "PNG, no width": lambda: png(0, 40),
    "PNG, 2^31 wide": lambda: png(2**31 - 1, 2**31 - 1),
    "PNG, 60 million pixels announced": lambda: png(10_000, 6_000),
    "PNG, 62 million pixels": lambda: bomb(10_000, 6_200),
    "PNG, 30 million pixels": lambda: bomb(6_000, 5_000),
    "PNG, 90 million pixels": lambda: bomb(10_000, 9_000),
    "PNG, one pixel wide and 50 million high": lambda: png(1, 50_000_000),
    "PNG, an unknown depth": lambda: png(30, 40, depth=7),
    "PNG, an unknown colour type": lambda: png(30, 40, colour=9),
    "PNG, a palette without colours": lambda: png(30, 40, colour=3),
    "PNG, a text of 200 MB": text_chunks,
    "PNG, a damaged text": lambda: png(30, 40, chunks=chunk(b"zTXt", b"k\0\0noise")),
    "PNG, a damaged colour profile": lambda: png(30, 40, chunks=chunk(b"iCCP", b"p\0\0noise")),
    "PNG, a chunk of 2 GB announced": lambda: png(
        30, 40, chunks=struct.pack(">I", 2**31 - 1) + b"tEXt"
    ),
    "PNG, escape codes in a text": lambda: png(
        30, 40, chunks=chunk(b"tEXt", b"k\x1b[2J\0v\x1b]0;t\x07")
    ),
    "JPEG, half": lambda: saved(seven(), "JPEG")[:300],
    "JPEG, the beginning alone": b"\xff\xd8\xff\xe0",
    "JPEG, 65,000 x 65,000 announced": lambda: _jpeg_of(65_000, 65_000),
    "all white": lambda: saved(Image.new("L", (30, 40), "white")),
    "all black": lambda: saved(Image.new("L", (30, 40), "black")),
    "one pixel": lambda: saved(Image.new("L", (1, 1), "white")),
    "all transparent": lambda: saved(Image.new("RGBA", (30, 40), (0, 0, 0, 0))),
    "GIF": lambda: saved(seven(), "GIF"),
    "BMP": lambda: saved(seven(), "BMP"),
    "TIFF": lambda: saved(seven(), "TIFF"),
    "WebP": lambda: saved(seven(), "WEBP"),
    "PostScript": lambda: saved(seven("RGB"), "EPS"),
    "PDF": b"%PDF-1.7\n1 0 obj\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "a safetensors file": lambda: b"\x02\0\0\0\0\0\0\0{}",
}
"""Files that are no usable picture."""

ACCEPTED: dict[str, Callable[[], bytes]] = {
    "JPEG, 8,000 x 7,500 announced": lambda: _jpeg_of(7_500, 8_000),
    "JPEG, a damaged EXIF part": lambda: saved(seven(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff"),
    "16 bits": lambda: saved(Image.fromarray(np.asarray(seven()).astype(np.uint16) * 257)),
    "one bit": lambda: saved(seven("1")),
    "a palette": lambda: saved(seven("P")),
    "CMYK": lambda: saved(seven("CMYK"), "JPEG"),
    "two frames": lambda: saved(seven(), save_all=True, append_images=[seven()]),
    "very flat": lambda: saved(seven().resize((5000, 2))),
    "very narrow": lambda: saved(seven().resize((2, 5000))),
    "a flipped byte": lambda: flipped(saved(seven())),
    "noise after it": lambda: saved(seven()) + b"noise",
    "an EXIF rotation": lambda: saved(seven(), "JPEG", exif=_rotated()),
}
"""Odd pictures that may be read, if only nothing crashes."""


def _jpeg_of(height: int, width: int) -> bytes:
    """A JPEG file that announces other sizes than it has."""
    content = saved(seven(), "JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


OTHERS: dict[str, Callable[[Path], object]] = {
    "missing": lambda _: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "/dev/zero": link_to("/dev/zero"),
    "a link to itself": link_to(NAME),
    "a hole of 8 GiB": lambda path: sparse(path, saved(seven())[:60], size=2**33),
}


def cases() -> list[Broken]:
    """All of them."""
    refused = [Try(("predict", "run", NAME), names=NAME)]
    bad = {name: change(saved(seven())) for name, change in ANY_FILE.items()}
    return [
        *(Broken(name, writing(NAME, content), refused) for name, content in CONTENTS.items()),
        *(Broken(name, writing(NAME, content), refused) for name, content in bad.items()),
        *(Broken(name, replacing(NAME, make), refused) for name, make in OTHERS.items()),
        *(
            Broken(name, writing(NAME, content), [Try(("predict", "run", NAME), codes=ANSWERED)])
            for name, content in ACCEPTED.items()
        ),
        Broken(
            "the second of two",
            writing(NAME, b"noise"),
            [Try(("predict", "run", "seven.png", NAME, "--json"), names=NAME)],
        ),
    ]
