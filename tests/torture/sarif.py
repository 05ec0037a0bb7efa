"""`--sarif` where it cannot be written, or must not be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from torture.broken import Broken
from torture.case import MIB, Try
from torture.ports import text_of
from torture.world import SIZES

Spoil = Callable[[Path], object]


def _with(make: Spoil) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "port.py").write_bytes(text_of("TOP", "pass"))
        make(folder)

    return spoil


def _linked(folder: Path) -> None:
    (folder / "out.sarif").symlink_to("precious/thesis.txt")


def _dangling(folder: Path) -> None:
    (folder / "out.sarif").symlink_to("nowhere/out.sarif")


def _of_another(folder: Path) -> None:
    (folder / "out.sarif").write_text('{"version": "2.1.0", "runs": []}')


def _large(folder: Path) -> None:
    with (folder / "out.sarif").open("wb") as file:
        file.truncate(2**33)


WAYS: dict[str, tuple[str, Spoil, tuple[str, ...], frozenset[int]]] = {
    "a folder": ("precious", lambda _: None, ("--overwrite",), frozenset({2})),
    "a file of the user": ("precious/thesis.txt", lambda _: None, ("--overwrite",), frozenset({2})),
    "a link to a file of the user": ("out.sarif", _linked, ("--overwrite",), frozenset({2})),
    "another tool's": ("out.sarif", _of_another, ("--overwrite",), frozenset({2})),
    "an empty file": (
        "out.sarif", lambda folder: (folder / "out.sarif").touch(), (), frozenset({2})),
    "a named pipe": (
        "out.sarif", lambda folder: os.mkfifo(folder / "out.sarif"), ("--overwrite",),
        frozenset({2, 3})),
    "8 GiB of nothing": ("out.sarif", _large, ("--overwrite",), frozenset({2, 3})),
    "below a file": ("port.py/out.sarif", lambda _: None, (), frozenset({2, 3})),
    "a device that is full": ("/dev/full", lambda _: None, ("--overwrite",), frozenset({2, 3})),
    "below /proc": ("/proc/out.sarif", lambda _: None, (), frozenset({2, 3})),
    "no name": ("", lambda _: None, (), frozenset({2, 3})),
    "a name that is too long": ("x" * 300, lambda _: None, (), frozenset({2, 3})),
    "a link to nowhere": ("out.sarif", _dangling, ("--overwrite",), frozenset({0, 2, 3})),
    "a new folder": ("new/folder/out.sarif", lambda _: None, (), frozenset({0})),
}  # fmt: skip
"""The file, what is there, more options, and right exit codes."""


def cases() -> list[Broken]:
    """One command each."""
    words = (
        *("check", "port.py:Port", "--set", SIZES, "--learning-rate", "0.5"),
        *("--batch-size", "32", "--epochs", "1"),
    )
    return [
        Broken(
            name,
            _with(make),
            [Try((*words, "--sarif", path, *more), codes=codes, limit_s=60, memory=4096 * MIB)],
        )
        for name, (path, make, more, codes) in WAYS.items()
    ]
