"""Which line of the user's own code made a layer, a loss, an optimizer, or called `fit`.

A backend that runs a user's file calls `follow` for it, and from then on `mark` for whatever is
made and `note` for whatever is called. The line is that of the innermost frame of the user's code:
of the file, or of another beside or below it. Where there is none, nothing is known, and nothing is
guessed.

A line is kept as an attribute of what was made, so that copies have it too.
"""

from __future__ import annotations

import functools
import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from mnist_mlp.ports.user_code import belongs_to_user, shown_path

LONGEST = 200
"""Most characters of a line that is quoted."""

MARK = "_line_of_user"


@dataclass(frozen=True)
class UserLine:
    """A line of the user's code, and what is made or done there.

    Parameters
    ----------
    file : str
        The file as the user named it, or the cell (`port.ipynb, cell 3`).
    line : int
        From 1.
    text : str
        The line without its indentation.
    role : str
        `layer` (it is made there, or called), `before` (after this layer something is missing),
        `loss`, `backward` (a loop's gradients are asked for), `optimizer`, `schedule`, `callback`,
        `compile`, `fit`, `trainer`, `loader`, `step`.
    """

    file: str
    line: int
    text: str
    role: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"

    def as_role(self, role: str) -> UserLine:
        """The same line, for another reason."""
        return replace(self, role=role)


Line = tuple[str, int]
"""File, as Python names it, and number. Plain values, since a user may pickle what has them."""

_followed: list[Path] = []
_noted: dict[str, UserLine] = {}


def follow(path: Path) -> None:
    """From now on, this file's code is the user's."""
    _followed[:] = [path]
    _noted.clear()
    _is_user.cache_clear()
    _shown.cache_clear()


@functools.cache
def _is_user(file: str) -> bool:
    return bool(_followed) and belongs_to_user(Path(file), _followed[0])


def here(made: Any = None, *, name: str = "") -> Line | None:
    """The line that the user's code is at.

    Frames of `made`'s own method `name` are passed by: where a class of the user's is made is not
    where its `__init__` calls another.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if _is_user(code.co_filename) and not (code.co_name == name and _is_of(frame, made)):
            return code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None


def _is_of(frame: FrameType, made: Any) -> bool:
    names = frame.f_code.co_varnames[:1]
    return bool(names) and frame.f_locals.get(names[0]) is made


def mark(made: Any, *, name: str = "", role: str = "") -> None:
    """Keep where something is made; the first time counts."""
    key = MARK + role
    if key not in made.__dict__ and (line := here(made, name=name)) is not None:
        made.__dict__[key] = line


def note(role: str, made: Any = None, *, name: str = "") -> None:
    """Keep where something is called; the last time counts."""
    if (line := here(made, name=name)) is not None:
        _noted[role] = shown(line, role)


def note_line(role: str, line: UserLine | None) -> None:
    """Keep a line for a role, if it is known."""
    if line is not None:
        _noted[role] = line


def marking(own: Callable[..., Any]) -> Callable[..., Any]:
    """An `__init__` that marks what it makes."""

    @functools.wraps(own)
    def init(self: Any, *args: Any, **options: Any) -> None:
        mark(self, name="__init__")
        own(self, *args, **options)

    return init


# --- Asking ---------------------------------------------------------------------------------------


def line_of(made: Any, role: str = "layer", *, of: str = "") -> UserLine | None:
    """Where something was made; `of` says in which respect it was marked."""
    found = getattr(made, "__dict__", {}).get(MARK + of)
    return None if found is None else shown(found, role)


def noted(role: str) -> UserLine | None:
    """Where something was called last."""
    return _noted.get(role)


def line_of_function(function: Any, role: str) -> UserLine | None:
    """Where a function of the user's begins."""
    code = getattr(function, "__code__", None)
    if code is None or not _is_user(code.co_filename):
        return None
    return shown((code.co_filename, code.co_firstlineno), role)


def shown(line: Line, role: str) -> UserLine:
    """A line for a reader."""
    return _shown(*line).as_role(role)


@functools.cache
def _shown(file: str, number: int) -> UserLine:
    text = linecache.getline(file, number).strip()
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return UserLine(_as_named(file), number, text)


def _as_named(file: str) -> str:
    """A path beside the user's file is told from where the user named that."""
    assert _followed
    own = _followed[0]
    name = shown_path(Path(file), own)
    folder = own.parent.resolve()
    if name == file and Path(file).is_absolute() and Path(file).is_relative_to(folder):
        return str(own.parent / Path(file).relative_to(folder))
    return name
