"""Runs that are stopped at a random moment, resumed, and compared with one that was not stopped."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torture.case import (
    LOST,
    MIB,
    OTHER,
    Answer,
    Fault,
    Result,
    Try,
    content_of,
    faults_of,
    result_of,
)
from torture.process import python, started
from torture.runs import contradiction, differences
from torture.world import World

SPECS: dict[str, Sequence[str]] = {
    "sgd": (),
    "momentum": ("--set", "optimizer.momentum=0.9", "--set", "optimizer.nesterov=true"),
    "adam": ("--set", "optimizer.name=adam", "--learning-rate", "0.01"),
    "schedule": (
        *("--set", "optimizer.schedule=[[40,0.1],[300,0.01]]", "--precision", "float64"),
        *("--set", "optimizer.clip_norm=1.0"),
    ),
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TARGETS = ("parent", "worker", "both")
LIMIT_S = 60.0
EPOCHS = {"numpy": "40", "torch": "6", "keras": "6"}

ENDED_BY: dict[signal.Signals, frozenset[int]] = {
    signal.SIGKILL: frozenset({-signal.SIGKILL}),
    signal.SIGTERM: frozenset({143, -signal.SIGTERM}),
    signal.SIGINT: frozenset({130, -signal.SIGINT}),
    signal.SIGHUP: frozenset({143, -signal.SIGHUP}),
}
"""How a command may end by a signal. Before it has begun, the system ends it, with minus the
number."""


def training(backend: str, spec: str, *options: str) -> tuple[str, ...]:
    """A run of about a second, besides the start."""
    return (
        *("train", "--backend", backend, "--set", "model.layer_sizes=[30,9,4]"),
        *("--epochs", EPOCHS[backend], "--batch-size", "32", "--progress", "none"),
        *SPECS[spec], *options,
    )  # fmt: skip


@dataclass(frozen=True)
class Straight:
    """A run that nobody stopped, and how long its command took in seconds."""

    path: Path
    seconds: float


@cache
def straight(world: World, backend: str, spec: str) -> Straight:
    """Train once in this process's life; the folder is kept until the world ends."""
    folder = Path(tempfile.mkdtemp(prefix=f"straight-{backend}-{spec}-", dir=world.kept))
    with world.copied() as place:
        start = time.monotonic()
        answer = started(
            python(*training(backend, spec, "--out", str(folder / "run"))),
            folder=place, environment=world.environment(place, {}), limit_s=120,
        )  # fmt: skip
    if answer.code != 0:
        raise RuntimeError(f"the straight run failed: {answer.said[-500:]}")
    return Straight(folder / "run", time.monotonic() - start)


@dataclass(frozen=True)
class Kill:
    """A run that is stopped at the share `moment` of the time that it takes."""

    backend: str
    spec: str
    way: str
    number: signal.Signals
    target: str
    moment: float
    order: int

    @property
    def name(self) -> str:
        """What is done, in words."""
        return (
            f"{self.backend} {self.spec}, {self.way}, {self.number.name} to {self.target} "
            f"at {self.moment:.2f} (#{self.order})"
        )

    def run(self, world: World) -> Result:
        """Stop, look at what is left, go on until it is complete, compare."""
        whole = straight(world, self.backend, self.spec)
        words = training(self.backend, self.spec, "--out", "new")
        with world.copied() as folder:
            story = _Story(world, folder)
            first = self.moment * whole.seconds
            if self.way == "overwrite":
                self._overwrite(story, words, whole, first)
            else:
                self._stopped(story, words, first)
                story.note(LOST, contradiction(folder / "new"))
            if self.way == "resume" and (again := self._rest(folder, words)):
                self._stopped(story, again, whole.seconds - first)
                story.note(LOST, contradiction(folder / "new"))
            if again := self._rest(folder, words):
                story.call(again, frozenset({0}))
            if story.last.code == 0:
                story.note(LOST, _other_than(whole, folder / "new"))
        return result_of(self.name, story.told)

    def _overwrite(
        self, story: _Story, words: Sequence[str], whole: Straight, moment: float
    ) -> None:
        """Stop a run that replaces another: one of both must be there, untouched or whole."""
        new = story.folder / "new"
        (story.folder / "twin").rename(new)
        old = content_of(new)
        self._stopped(story, (*words, "--overwrite"), moment)
        if content_of(new) != old and _other_than(whole, new):
            story.note(LOST, "neither the old run nor the whole new one is there")
        for path in story.folder.glob(".new.new-*"):
            story.note(OTHER, contradiction(path))

    def _stopped(self, story: _Story, words: Sequence[str], moment: float) -> None:
        """Run a command, and send the signal after `moment` seconds."""

        def stop(pid: int) -> None:
            time.sleep(moment)
            parent, workers = [pid], children_of(pid)
            pids = {"parent": parent, "worker": workers, "both": [*parent, *workers]}
            for each in pids[self.target]:
                with suppress(ProcessLookupError):
                    os.kill(each, self.number)

        # A worker that died is an error of the command's; a signal may also come too late.
        codes = ENDED_BY[self.number] | {0} | (set() if self.target == "parent" else {3})
        story.call(words, frozenset(codes), meanwhile=stop)

    def _rest(self, folder: Path, words: Sequence[str]) -> Sequence[str]:
        """The command that brings the run to its end; empty if it is complete."""
        if self.way == "overwrite":
            begun = [path.parent.name for path in folder.glob(".new.new-*/run.json")]
            return resuming(begun[0]) if begun else (*words, "--overwrite")
        record = folder / "new" / "run.json"
        if not record.exists():
            return words
        return () if '"status": "complete"' in record.read_text() else resuming("new")


def resuming(folder: str) -> tuple[str, ...]:
    """The command that goes on with a run."""
    return ("train", "--resume", folder, "--progress", "none")


def _other_than(whole: Straight, path: Path) -> str:
    """What a run does not share with the one that was not stopped; empty if they are the same."""
    return contradiction(path) or ", ".join(differences(path, whole.path))


class _Story:
    """The commands of one case, with their answers and what is wrong with them."""

    def __init__(self, world: World, folder: Path) -> None:
        self.folder = folder
        self.environment = world.environment(folder, {})
        self.told: list[tuple[Sequence[str], Answer, list[Fault]]] = []

    @property
    def last(self) -> Answer:
        """How the last command ended."""
        return self.told[-1][1]

    def call(
        self,
        words: Sequence[str],
        codes: frozenset[int],
        *,
        meanwhile: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Run a command."""
        attempt = Try(words, codes=codes, limit_s=LIMIT_S, memory=3072 * MIB)
        answer = started(
            python(*words), folder=self.folder, environment=self.environment, limit_s=LIMIT_S,
            meanwhile=meanwhile,
        )  # fmt: skip
        self.told.append((words, answer, faults_of(attempt, answer)))

    def note(self, kind: str, text: str) -> None:
        """Something is wrong with what the last command left, unless the text is empty."""
        if text:
            self.told[-1][2].append(Fault(kind, text))


def children_of(pid: int) -> list[int]:
    """Process ids of the children."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in text.split()]
    return []


def cases(seed: int, *, way: str, count: int, backends: Sequence[str] = ("numpy",)) -> list[Kill]:
    """Runs that are stopped at random; `way` is what is stopped.

    `new` is a new run, `overwrite` one that replaces another, `resume` one that goes on after it
    was stopped before.
    """
    draw = random.Random(f"{seed} {way}")
    return [
        Kill(
            backends[number % len(backends)],
            spec=list(SPECS)[number // len(backends) % len(SPECS)],
            way=way,
            number=draw.choice(SIGNALS),
            target=draw.choice(TARGETS),
            moment=draw.uniform(0, 1.05),
            order=number,
        )
        for number in range(count)
    ]
