"""Places in users' files, as annotations and code scanning want them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnist_mlp.parity.findings import Break, Cause, Side
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.ports.user_code import path_of, without_cell


@dataclass(frozen=True)
class FilePlace:
    """A file, from the working directory if it lies below it, and a line of it.

    A notebook has no line: what a cell calls its third line is another one of the file.
    """

    file: Path
    line: int | None = None

    @property
    def inside(self) -> bool:
        """Whether it lies below the working directory."""
        return not self.file.is_absolute()


def place_of(item: Break, outcome: Outcome) -> FilePlace:
    """The port's own line of a break; where it is not known, the port's file."""
    line = item.lines.get("b")
    return file_of(outcome, "b") if line is None else place_of_line(line)


def place_of_line(line: UserLine) -> FilePlace:
    """A line in its file."""
    file = without_cell(line.file)
    return FilePlace(_from_here(Path(file)), line.line if file == line.file else None)


def file_of(outcome: Outcome, side: Side) -> FilePlace:
    """The file of a side."""
    return FilePlace(_from_here(path_of(outcome.sides[side].path)))


def noted_text(cause: Cause) -> str:
    """What is noted, in words."""
    return "\n".join(text for text in (cause.value, cause.text) if text) or cause.name


def _from_here(file: Path) -> Path:
    absolute = file.resolve()
    here = Path.cwd()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute
