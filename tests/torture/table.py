"""The kinds of the torture run, and the page that shows how they ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from typing import Protocol

from torture import (
    folders,
    fuzz,
    idx,
    kills,
    live,
    networks,
    pictures,
    ports,
    sarif,
    sharing,
    toml,
    weights,
    words,
)
from torture.case import HANG, LOST, MIB, TRACEBACK, Result
from torture.process import import_everything
from torture.world import World


class Case(Protocol):
    """One case of any kind."""

    @property
    def name(self) -> str: ...

    def run(self, world: World) -> Result: ...


@dataclass(frozen=True)
class Kind:
    """Cases that are alike. `least` is how many there have to be; `cases` makes them of a seed."""

    what: str
    least: int
    cases: Callable[[int], Sequence[Case]]


KINDS = {
    "new": Kind(
        "New runs stopped by a signal, resumed, compared bit for bit",
        60,
        partial(kills.cases, way="new", count=60),
    ),
    "overwrite": Kind(
        "Runs stopped that replace another",
        45,
        partial(kills.cases, way="overwrite", count=45),
    ),
    "resume": Kind(
        "Runs stopped twice",
        45,
        partial(kills.cases, way="resume", count=45),
    ),
    "frameworks": Kind(
        "The same with Keras and Lightning",
        24,
        partial(kills.cases, way="new", count=24, backends=("keras", "torch")),
    ),
    "sharing": Kind("Several commands, one folder", 5, lambda _: sharing.cases()),
    "idx": Kind("Broken IDX files, gzipped ones too", 60, lambda _: idx.cases()),
    "folders": Kind("Broken run folders", 180, lambda _: folders.cases()),
    "weights": Kind("Broken files of weights", 50, lambda _: weights.cases()),
    "pictures": Kind("Broken pictures", 40, lambda _: pictures.cases()),
    "toml": Kind("Broken specifications", 60, lambda _: toml.cases()),
    "words": Kind("Wrong command lines", 80, lambda _: words.cases()),
    "networks": Kind("Mirrors that misbehave", 25, lambda _: networks.cases()),
    "ports": Kind("Odd ports that can be judged", 20, lambda _: ports.harmless()),
    "fatal": Kind("Ports that raise, end or break themselves", 35, lambda _: ports.fatal()),
    "hangs": Kind("Ports that never end", 7, lambda _: ports.hanging()),
    "live": Kind("Live objects of a user's program", 15, lambda _: live.live()),
    "forks": Kind("Forked workers after odd ones", 8, lambda _: live.forked()),
    "sarif": Kind("`--sarif` where it cannot be written", 12, lambda _: sarif.cases()),
    "fuzz": Kind("Properties of readers, 10,000 random inputs each", 8, lambda _: fuzz.cases()),
}


@cache
def cases_of(kind: str, seed: int) -> Sequence[Case]:
    """The cases of a kind, always in the same order."""
    return KINDS[kind].cases(seed)


def run_kind(
    kind: str, numbers: Sequence[int], world: World, *, seed: int, jobs: int
) -> Iterator[Result]:
    """Run the cases with these numbers, `jobs` at a time, and yield results as they end."""
    import_everything()
    run = partial(_run_one, kind, seed, world)
    if jobs == 1:
        yield from map(run, numbers)
        return
    # Forked, since everything is imported already. Cases hold functions, which cannot be sent to
    # another process, so only their numbers are.
    with get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(run, numbers)


def _run_one(kind: str, seed: int, world: World, number: int) -> Result:
    return cases_of(kind, seed)[number].run(world)


@dataclass(frozen=True)
class Row:
    """A kind's line in the table.

    `waited_s` is the longest wait for a command, and `memory` the most bytes that one took; `fell`
    names the cases that did not survive.
    """

    kind: str
    tried: int
    survived: int
    lost: int
    traceback: int
    hang: int
    waited_s: float
    memory: int
    date: str
    seed: int
    fell: Sequence[str] = ()

    @property
    def line(self) -> str:
        """Of the table."""
        every = len(cases_of(self.kind, self.seed))
        tried = self.tried if self.tried == every else f"{self.tried} of {every}"
        cells = (
            KINDS[self.kind].what, tried, self.survived, self.lost, self.traceback, self.hang,
            self.tried - self.survived, f"{self.waited_s:.1f} s", f"{self.memory // MIB:,} MiB",
            self.date, self.seed,
        )  # fmt: skip
        return "| " + " | ".join(map(str, cells)) + " |"


def row_of(kind: str, results: Sequence[Result], *, date: str, seed: int) -> Row:
    """Count the results of a kind."""

    def count(fault: str) -> int:
        return sum(any(found.kind == fault for found in result.faults) for result in results)

    fell = [result for result in results if result.faults]
    return Row(
        kind,
        tried=len(results),
        survived=len(results) - len(fell),
        lost=count(LOST),
        traceback=count(TRACEBACK),
        hang=count(HANG),
        waited_s=max((result.waited_s for result in results), default=0.0),
        memory=max((result.memory for result in results), default=0),
        date=date,
        seed=seed,
        fell=[f"{result.name}: {result.faults[0].text.splitlines()[-1][:160]}" for result in fell],
    )


def page(rows: Sequence[Row]) -> str:
    """`docs/torture.md`."""
    lines = [
        "# The torture run",
        "",
        "Written by `make torture`. Everything that we could think of that goes wrong around this "
        "program: it is stopped, it is given broken files, odd models, bad networks. A case has "
        "survived if every command ends in time with one of the documented exit codes, says in "
        "one short error what is wrong and where, prints no traceback and no control characters, "
        "keeps its memory below a limit, leaves no process behind, and touches no file of the "
        "user. What is broken must also be refused: a damaged file that passes as whole has not "
        "survived. `fell` counts all cases that did not survive, for whatever reason.",
        "",
        "| what | tried | survived | lost | traceback | hang | fell | longest wait | "
        "largest memory | date | seed |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|",
        *(row.line for row in rows),
    ]
    absent = KINDS.keys() - {row.kind for row in rows}
    if absent:
        names = "; ".join(kind.what for name, kind in KINDS.items() if name in absent)
        lines += ["", f"Not run yet: {names}."]
    fell = [f"- {row.kind}: {text}" for row in rows for text in row.fell]
    if fell:
        lines += ["", "## What fell", "", *fell]
    return "\n".join(lines) + "\n"
