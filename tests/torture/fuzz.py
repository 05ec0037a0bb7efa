"""Random inputs for every reader: the tests' own properties, with ten thousand inputs for each."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from torture.case import TRACEBACK, Fault, Result, Try, faults_of, result_of
from torture.process import started
from torture.world import ROOT, World

TESTS = ROOT / "tests" / "test_readers_property.py"
LIMIT_S = 900.0


@dataclass(frozen=True)
class Property:
    """A property test, by its name."""

    name: str

    def run(self, world: World) -> Result:
        """In a process of its own, since a parser may crash it."""
        words = (f"{TESTS}::{self.name}", "--hypothesis-profile=torture")
        options = ("-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"))
        with world.copied() as folder:
            answer = started(
                [sys.executable, "-m", "pytest", *options, *words],
                folder=folder,
                environment=world.environment(folder, {"MNIST_MLP_DATA": None}),
                limit_s=LIMIT_S,
            )
        found = faults_of(Try(words, codes=frozenset({0, 1}), limit_s=LIMIT_S), answer)
        if answer.code == 1:  # pytest's own: a test failed
            found.append(Fault(TRACEBACK, answer.said.strip()[-600:]))
        return result_of(self.name, [(words, answer, found)])


def cases() -> list[Property]:
    """One for each property test."""
    names = re.findall(r"^def (test_\w+)", TESTS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [Property(name) for name in names]
