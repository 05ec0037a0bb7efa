"""A case whose input is broken in one way: a file, a folder, a command line, a user's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torture.case import LOST, OTHER, Fault, Result, Try, content_of, faults_of, result_of
from torture.process import forked
from torture.world import World


@dataclass(frozen=True)
class Broken:
    """An input that is broken in one way, and the commands to run on it.

    `spoil` breaks it, in a new folder with a finished run (`run`), its data (`data`), and files of
    the user that must stay as they are (`precious`).
    """

    name: str
    spoil: Callable[[Path], object]
    tries: Sequence[Try]

    def run(self, world: World) -> Result:
        """Run all commands in a folder of its own."""
        told = []
        with world.copied() as folder:
            try:
                self.spoil(folder)
            except Exception as error:  # what cannot be made has tested nothing
                fault = Fault(OTHER, f"could not be made: {type(error).__name__}: {error}")
                return Result(self.name, [fault], waited_s=0.0, memory=0)
            for attempt in self.tries:
                before = content_of(folder / "precious")
                answer = forked(
                    attempt.words,
                    folder=folder,
                    environment=world.environment(folder, attempt.environment),
                    limit_s=attempt.limit_s,
                )
                found = faults_of(attempt, answer)
                if content_of(folder / "precious") != before:
                    found.insert(0, Fault(LOST, "files of the user were touched"))
                told.append((attempt.words, answer, found))
        return result_of(self.name, told)
