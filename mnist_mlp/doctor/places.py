"""The places that a run writes to and reads from: space, cache, data set."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mnist_mlp.doctor.finding import Finding, Level

MB = 10**6
LITTLE = 200 * MB
"""Less than this is worth a note: MNIST takes 55 MB, a run of the tutorial about 4 MB."""
NOTHING = 10 * MB
"""With less than this, even a run of the tutorial may fail."""


def place_findings(cache: Path) -> Iterator[Finding]:
    """The folder for runs, the folder for temporary files, and the cache."""
    yield writable("runs", Path("runs"), remedy="cd to a folder of yours, or give --out")
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError as error:
        yield Finding("temporary files", Level.broken, str(error), "export TMPDIR=$HOME/tmp")
    else:
        yield writable("temporary files", temporary, remedy="export TMPDIR=$HOME/tmp")
    found = writable("cache", cache, remedy="export MNIST_MLP_CACHE=$HOME/mnist-mlp-cache")
    if found.level is not Level.broken:
        found = Finding("cache", found.level, f"{found.text}; {_content(cache)}", found.remedy)
    yield found


def writable(subject: str, folder: Path, *, remedy: str) -> Finding:
    """Whether a folder can be written, or made where it does not exist, and the space there."""
    nearest = folder.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"x")
            file.flush()
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        text = f"{folder.absolute()} cannot be written: {error.strerror or error}"
        return Finding(subject, Level.broken, text, remedy)
    text = f"{folder.absolute()}, {free / MB:,.0f} MB free"
    if free < LITTLE:
        level = Level.broken if free < NOTHING else Level.note
        return Finding(subject, level, f"{text}: little", f"free some space, or {remedy}")
    return Finding(subject, Level.ok, text)


def _content(cache: Path) -> str:
    """What lies in the cache, with its size."""
    if not cache.is_dir():
        return "empty"
    sizes = {
        folder.name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in sorted(cache.iterdir())
    }
    return ", ".join(f"{name} {size / MB:,.0f} MB" for name, size in sizes.items()) or "empty"


def data_finding(cache: Path) -> Finding:
    """The data set that a run would use, as far as that is known without a download."""
    from mnist_mlp.data import load_dataset
    from mnist_mlp.data.load import DATA_VARIABLE
    from mnist_mlp.errors import MnistMlpError

    named = os.environ.get(DATA_VARIABLE)
    folder = Path(named).expanduser() if named else cache / "mnist"
    if not named and not folder.is_dir():
        return Finding(
            "data set",
            Level.note,
            "no MNIST here; a run downloads it, or uses the embedded digits without a network",
            "python -m mnist_mlp data",
        )
    try:
        data = load_dataset("auto", data_dir=folder)
    except MnistMlpError as error:
        reason = str(error).splitlines()[0]
        if named:
            return Finding("data set", Level.broken, reason, f"unset {DATA_VARIABLE}")
        return Finding("data set", Level.note, reason, "python -m mnist_mlp data")
    kind = "MNIST" if data.name == "mnist" else "other data than MNIST"
    return Finding("data set", Level.ok, f"{kind} in {folder}, {len(data):,} images")
