"""Pictures of the first screenful, for the documentation."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

from browser import Browser, View
from PIL import Image

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
_COLOURS = 96
_LARGEST = 300_000

VIEWS = (
    ("faithful", "desktop", "light"),
    ("faithful", "desktop", "dark"),
    ("faithful", "phone", "light"),
    ("faithful", "phone", "dark"),
    ("different", "desktop", "light"),
    ("different", "phone", "dark"),
)


def shot(view: View) -> bytes:
    """The window as a small PNG: as many colours as text and lines need."""
    image = Image.open(io.BytesIO(view.page.screenshot())).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def renew(browser: Browser, target: Path, folder: Path, command: Callable[..., object]) -> None:
    """Train the tutorial in Keras and Lightning, and with torch's default weights; picture both."""
    words = ["compare", "--progress", "none"]
    if data := os.environ.get("MNIST_MLP_DATA"):
        # The page names the folder it was given: a name that means something to a reader.
        (folder / "mnist").symlink_to(Path(data).resolve())
        words += ["--data-dir", "mnist"]
    command(*words, "keras", "torch", "--out", "faithful", folder=folder)
    faulty = "faulty_backends:TorchDefaultsBackend"
    command(*words, "numpy", faulty, "--out", "different", folder=folder, allowed=(1,))
    target.mkdir(parents=True, exist_ok=True)
    for name, size, scheme in VIEWS:
        width, height = SIZES[size]
        path = folder / name / "report.html"
        with browser.view(path, width=width, height=height, scheme=scheme) as view:
            picture = shot(view)
        assert len(picture) < _LARGEST
        out = target / f"{name}-{size}-{scheme}.png"
        out.write_bytes(picture)
        print(f"{out.relative_to(target.parents[1])}: {len(picture):,} bytes")
