"""What the doctor finds: one line about one subject."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. Only `broken` makes the command fail."""

    ok = "ok"
    note = "note"
    absent = "not installed"
    broken = "broken"


@dataclass(frozen=True)
class Finding:
    """One finding.

    Parameters
    ----------
    subject : str
        A package, a backend, or a part of the machine.
    level : Level
    text : str
        What was found, on one line.
    remedy : str
        What to do, if possible one command; empty if there is nothing to do.
    """

    subject: str
    level: Level
    text: str
    remedy: str = ""
