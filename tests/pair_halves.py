"""Are the limits on differences found, or made to fit? They are sought on one half of the pairs,
and tried on the other.

For each rung, the largest difference of faithful pairs and the smallest of faults are taken, both
as shares of the limit in use. Between them, half-way in orders of magnitude, would be the limit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mnist_mlp.parity.check.pair_verdict import MOST
from mnist_mlp.parity.outcome import Outcome

RUNGS = ("data", "forward", "loss", "gradient", "update")
"""Those whose differences are measured."""

SMALLEST = 1e-6
"""In place of no difference at all."""


def in_first_half(name: str) -> bool:
    """By its name alone, so that nobody chooses."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 0


@dataclass(frozen=True)
class Measured:
    """One rung of one pair: how far apart, as a share of the limit, and whether it broke."""

    pair: str
    rung: str
    margin: float
    broken: bool


def measured(pair: str, outcome: Outcome) -> Iterator[Measured]:
    """The rungs of an outcome; of those that broke, only the first, behind which others may."""
    for rung in outcome.rungs:
        if rung.name not in RUNGS:
            continue
        broken = rung.status == "broken"
        # A tensor that is missing is no matter of limits.
        if rung.margin is not None and rung.margin < MOST and rung.status != "not_exercised":
            yield Measured(pair, rung.name, max(rung.margin, SMALLEST), broken)
        if broken:
            return


@dataclass(frozen=True)
class Limit:
    """What the first half gives for a rung, and what becomes of the second by it."""

    rung: str
    faithful: float
    faults: float
    tested: int
    wrong: tuple[str, ...]

    @property
    def limit(self) -> float:
        """As a share of the one in use."""
        return float((self.faithful * self.faults) ** 0.5)


def limits(found: Sequence[Measured]) -> list[Limit]:
    """Of each rung that has both faithful pairs and faults in the first half."""
    made = []
    for rung in RUNGS:
        mine = [each for each in found if each.rung == rung]
        first = [each for each in mine if in_first_half(each.pair)]
        near = [each.margin for each in first if not each.broken]
        far = [each.margin for each in first if each.broken]
        if not near or not far:
            continue
        second = [each for each in mine if not in_first_half(each.pair)]
        by = (max(near) * min(far)) ** 0.5
        wrong = tuple(each.pair for each in second if (each.margin > by) != each.broken)
        made.append(Limit(rung, max(near), min(far), len(second), wrong))
    return made


def lines(found: Sequence[Measured]) -> list[str]:
    """The table, in Markdown."""
    made = [
        "| rung | faithful, at most | faults, at least | limit from the first half "
        "| second half by it: judged wrongly |",
        "|---|--:|--:|--:|---|",
    ]
    for each in limits(found):
        wrong = f"{len(each.wrong)} of {each.tested}"
        names = f": {', '.join(each.wrong)}" if each.wrong else ""
        made.append(
            f"| {each.rung} | {each.faithful:.2g} | {each.faults:.2g} | {each.limit:.2g} "
            f"| {wrong}{names} |"
        )
    return made
