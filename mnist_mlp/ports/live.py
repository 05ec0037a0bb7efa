"""A user's object from a running Python process, such as a notebook, on its way to a worker.

It travels as a pickle that this package has just made, from one of its processes to another. None
is ever read from a file.
"""

from __future__ import annotations

import linecache
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mnist_mlp.errors import UserCodeError
from mnist_mlp.ports.user_code import CELLS, HELD


@dataclass(frozen=True)
class Cell:
    """Code that lies in no file: what it is called, and its lines."""

    name: str
    text: str = ""


@dataclass(frozen=True)
class Live:
    """An object, pickled.

    `cells` are the cells of its notebook, by what Python calls their file. `folders` are where its
    process looks for modules.
    """

    payload: bytes = field(repr=False)
    cells: Mapping[str, Cell] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


def hold(target: str, live: Live) -> None:
    """In a worker: let `load_object(target)` give the object, made anew each time."""
    sys.path += [folder for folder in live.folders if folder not in sys.path]
    for file, cell in live.cells.items():
        CELLS[file] = cell.name
        lines = cell.text.splitlines(keepends=True)
        linecache.cache[file] = (len(cell.text), None, lines, file)
    HELD[target] = lambda: _made(target, live)


def _made(target: str, live: Live) -> Any:
    try:
        return pickle.loads(live.payload)
    except Exception as error:
        raise UserCodeError(
            f"{target}: it was taken apart here, and cannot be put together in a process of its "
            f"own: {type(error).__name__}: {error}\nGive a function that makes it instead."
        ) from error
