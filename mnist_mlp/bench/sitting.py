"""Run a sitting: rounds of fresh processes, with the cases in a new random order each round.

Things that change with time (other programs, a processor that gets hot) then affect all cases
alike, and not only the one that runs last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.bench import environment
from mnist_mlp.bench.measure import Bench, sample
from mnist_mlp.bench.process import load
from mnist_mlp.bench.record import FILE_NAME, Case, Document, Sample, SittingKind


@dataclass(frozen=True)
class Sitting:
    """The settings of a sitting.

    Parameters
    ----------
    kind : {"cases", "scale", "profile", "answers", "threads"}
        Selects the table and the figure.
    axis : str
        The axis of a scale series.
    rounds : int
        Number of fresh processes for each case.
    seed : int
        Seed of the order of the cases.
    out : Path
        Output folder. `bench.json` is written after every sample, so that an interruption loses
        nothing.
    say : callable
        Called with one line of text after each sample.
    """

    kind: SittingKind
    rounds: int
    out: Path
    seed: int = 0
    axis: str = ""
    say: Callable[[str], None] = lambda _: None

    def run(self, cases: Sequence[Case], bench: Bench) -> Document:
        """Measure all cases and write the result file; returns its content."""
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
                # What is not installed now will not be there in the next round either.
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
