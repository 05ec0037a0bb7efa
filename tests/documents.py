"""Documentation that cannot drift: its commands are run, and what they print is what it shows."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")

ELSEWHERE = "..."
"""A line that stands for any number of lines."""


def blocks(page: str, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A command of a `console` block, and the lines shown below it."""

    words: tuple[str, ...]
    output: tuple[str, ...]


def shown(page: str) -> list[Shown]:
    """Every command of the `console` blocks."""
    found = []
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.rstrip().splitlines()
            found.append(Shown(tuple(shlex.split(command)), tuple(lines)))
    return found


def assert_prints(shown_lines: tuple[str, ...], printed: str) -> None:
    """What is shown was printed, in its order; numbers may be off by a little.

    A line is the same when its words are, and its numbers differ by at most 0.02 or 2 %: accuracies
    move in the last digits from one processor to the next. Seconds and margins may be any number.
    """
    lines, at, free = printed.splitlines(), 0, False
    for wanted in shown_lines:
        if wanted.strip() == ELSEWHERE:
            free = True
            continue
        there = next(
            (
                n
                for n in range(at, len(lines) if free else at + 1)
                if alike(wanted, lines[n : n + 1])
            ),
            None,
        )
        assert there is not None, f"not printed (from line {at + 1}):\n{wanted}\n\n{printed}"
        at, free = there + 1, False


def alike(wanted: str, got: list[str]) -> bool:
    """Whether a printed line, if there is one, is the shown one."""
    if not got or NUMBER.sub("#", wanted).split() != NUMBER.sub("#", got[0]).split():
        return False
    if "of what rounding allows" in wanted or re.search(r"\d s\b", wanted):
        return True
    pairs = zip(NUMBER.findall(wanted), NUMBER.findall(got[0]), strict=True)
    values = [[float(text.replace(",", "").rstrip(".")) for text in pair] for pair in pairs]
    return all(abs(a - b) <= max(0.02, 0.02 * abs(a)) for a, b in values)
