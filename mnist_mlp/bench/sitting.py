"""A sitting: rounds of fresh processes, their cases in a new shuffled order every round.

Whatever changes with time (another program, a processor that grows hot) then falls on all cases
alike and not on the one that happened to run last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mnist_mlp.bench import environment
from mnist_mlp.bench.measure import Bench, sample
from mnist_mlp.bench.process import load
from mnist_mlp.bench.record import FILE_NAME, Case, Document, Sample


@dataclass(frozen=True)
class Sitting:
    """What is done with the cases.

    Parameters
    ----------
    kind : {"cases", "scale", "profile"}
        Which table and figure belong to it.
    axis : str
        The axis of a scale series.
    rounds : int
        Fresh processes of each case.
    seed : int
        Of the order of the cases.
    out : Path
        Folder; `bench.json` is written after every sample, so that a stop loses nothing.
    say : callable
        Told a line per sample.
    """

    kind: Literal["cases", "scale", "profile"]
    rounds: int
    out: Path
    seed: int = 0
    axis: str = ""
    say: Callable[[str], None] = lambda _: None

    def run(self, cases: Sequence[Case], bench: Bench) -> Document:
        """Measure everything and write it down."""
        plan, dataset = bench.plan(cases[0])
        document = Document(
            kind=self.kind,
            axis=self.axis,
            started=_now(),
            rounds=self.rounds,
            seed=self.seed,
            train_rows=len(plan.train_ids),
            test_rows=len(plan.test_ids),
            dataset={"name": dataset.name, "rows": len(dataset), "sha256": dataset.digest},
            environment=environment.describe(),
            cases=tuple(cases),
        )
        absent: set[str] = set()
        document.write(self.out / FILE_NAME)
        for number, order in enumerate(shuffled(len(cases), rounds=self.rounds, seed=self.seed)):
            for place, index in enumerate(order):
                case = cases[index]
                if case.key in absent:
                    continue
                taken = sample(case, bench, number=number + 1, place=place + 1)
                if taken.status == "absent":
                    absent.add(case.key)
                document = self._with(document, taken)
                done = f"{number * len(cases) + place + 1}/{self.rounds * len(cases)}"
                self.say(f"{done}  {case.key}: {_line(taken)}")
        return document

    def _with(self, document: Document, taken: Sample) -> Document:
        machine: dict[str, Any] = {**document.environment, "load_after": load()}
        document = document.model_copy(
            update={
                "samples": (*document.samples, taken),
                "finished": _now(),
                "environment": machine,
            }
        )
        document.write(self.out / FILE_NAME)
        return document


def shuffled(cases: int, *, rounds: int, seed: int) -> list[list[int]]:
    """The order of the cases in each round."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(cases).tolist() for _ in range(rounds)]


def _line(taken: Sample) -> str:
    if taken.status != "ok":
        return taken.message
    parts = []
    if taken.epochs_s:
        parts.append(f"{np.median(taken.epochs_s):.3f} s an epoch")
    if "process_s" in taken.phases:
        parts.append(f"{taken.phases['process_s']:.1f} s in all")
    return ", ".join(parts)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
