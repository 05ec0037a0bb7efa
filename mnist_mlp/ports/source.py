"""The code of a user's file: one piece of a script, one for each cell of a notebook.

A notebook (nbformat 4) is JSON. Only code cells are taken. Lines that are IPython's own (magics,
shell commands, questions for help) can't run here and are left out.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.user_code import cell_name
from mnist_mlp.readers.regular import Origin, parsed
from mnist_mlp.readers.texts import read_text

NOTEBOOK = ".ipynb"

KEPT_MAGICS = ("%%time", "%%capture", "%%timeit", "%%prun")
"""Cell magics behind which the cell itself is Python."""

_IPYTHON = re.compile(r"^\s*(?:[%!]|\?)|^\s*[\w.]+\?\??\s*$|^\s*\w[\w, ]*=\s*[%!]")


@dataclass(frozen=True)
class Piece:
    """Some lines of Python, and what Python calls their file."""

    file: str
    text: str


@dataclass(frozen=True)
class Source:
    """All pieces in order; `left_out` says which lines don't run, in words."""

    pieces: tuple[Piece, ...]
    left_out: tuple[str, ...] = ()

    def trees(self) -> list[ast.Module]:
        """Their syntax trees.

        Raises
        ------
        UsageError
            It is not valid Python; with the place.
        """
        return [_parsed(piece) for piece in self.pieces]


def read_source(path: Path) -> Source:
    """Read a script or a notebook.

    Raises
    ------
    UsageError
        There is no such file, it is not a notebook of format 4, or not valid Python.
    """
    text = read_text(path, Origin(UsageError))
    if path.suffix != NOTEBOOK:
        return Source((Piece(str(path), text),))
    return _of_notebook(path, text)


def _of_notebook(path: Path, text: str) -> Source:
    book = parsed(path, Origin(UsageError), "a notebook", lambda: json.loads(text))
    if not isinstance(book, dict) or book.get("nbformat") != 4:
        raise UsageError(
            f"{path}: expected a notebook of format 4; save it again with Jupyter, or convert it: "
            f"jupyter nbconvert --to notebook {path}"
        )
    pieces, left_out = [], []
    code = [cell for cell in book.get("cells", []) if _is_code(cell)]
    for number, cell in enumerate(code, start=1):
        source = cell.get("source", "")
        lines = ("".join(source) if isinstance(source, list) else str(source)).splitlines()
        kept, removed = _python_of(lines)
        pieces.append(Piece(cell_name(path, number), "\n".join(kept) + "\n"))
        left_out += [f"{cell_name(path, number)}: {line.strip()}" for line in removed]
    return Source(tuple(pieces), tuple(left_out))


def _is_code(cell: Any) -> bool:
    return isinstance(cell, dict) and cell.get("cell_type") == "code"


def _python_of(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines that Python can run, as many as there were, and the others."""
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("%%") and first.split()[0] not in KEPT_MAGICS:
        return ["" for _ in lines], [f"{first} (the whole cell)"]
    kept, removed = list(lines), []
    for _ in lines:
        try:
            ast.parse("\n".join(kept))
        except (SyntaxError, ValueError) as error:
            # What looks like a magic may stand within a string: only what cannot be parsed goes.
            place = (getattr(error, "lineno", None) or 1) - 1
            if place >= len(kept) or not _IPYTHON.search(kept[place]):
                break  # it is told when the whole is parsed
            removed.append(kept[place])
            # `pass` keeps the body of an `if` whole.
            kept[place] = re.sub(r"^(\s*).*", r"\1pass", kept[place])
        else:
            break
    return kept, removed


def _parsed(piece: Piece) -> ast.Module:
    try:
        return ast.parse(piece.text, filename=piece.file)
    except SyntaxError as error:
        place = piece.file if error.lineno is None else f"{piece.file}:{error.lineno}"
        raise UsageError(f"{place}: not valid Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL; brackets in brackets
        reason = str(error) or "nested too deeply"
        raise UsageError(f"{piece.file}: not valid Python: {reason}") from None
