"""Turn the options of `bench` into cases. All options are checked before a process is started."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from mnist_mlp.bench.answers import answer_cases
from mnist_mlp.bench.cases import (
    ACCELERATORS,
    EQUAL_THREADS,
    FIT_PATHS,
    Choice,
    checked_threads,
    checked_words,
    our_cases,
    peer_cases,
    thread_cases,
)
from mnist_mlp.bench.profile import profile_cases
from mnist_mlp.bench.record import Case, SittingKind
from mnist_mlp.bench.scale import checked_points, scale_cases, tiled
from mnist_mlp.contract import FitPath
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.plan import make_plan
from mnist_mlp.registry import target_of
from mnist_mlp.spec import Spec

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@dataclass(frozen=True)
class Agenda:
    """The options of `bench`. Lists are comma-separated texts; None stands for the default.

    Raises
    ------
    UsageError
        Unknown words, or options that cannot be combined.
    """

    backends: str
    accelerators: str
    paths: str
    peers: bool
    answers: bool
    equal_threads: str | None
    scale: str | None
    points: str | None
    profile: bool
    rounds: int | None
    epochs: int | None
    command_epochs: int
    threads: int
    examples: Path | None

    def __post_init__(self) -> None:
        modes = {
            "--peers": self.peers,
            "--answers": self.answers,
            EQUAL_THREADS: self.equal_threads is not None,
            "--scale": self.scale,
            "--profile": self.profile,
        }
        chosen = [name for name, on in modes.items() if on]
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)} cannot be combined: choose one")
        if self.points is not None and self.scale is None:
            raise UsageError("--points works only together with --scale")
        for backend in self.choice.backends:
            target_of(backend)
        if self.scale is not None:
            checked_points(self.scale, self.points)
        if self.equal_threads is not None:
            checked_threads(self.equal_threads)

    @property
    def kind(self) -> SittingKind:
        """Which kind of sitting it is."""
        if self.equal_threads is not None:
            return "threads"
        if self.answers:
            return "answers"
        return "scale" if self.scale else "profile" if self.profile else "cases"

    @property
    def rounds_or_default(self) -> int:
        """The number of rounds.

        By default, one for a scale series, whose many points lie on one line; five for answers,
        since each process gives a single time; otherwise three.
        """
        return self.rounds or (1 if self.scale else 5 if self.answers else 3)

    @cached_property
    def choice(self) -> Choice:
        """The chosen backends, accelerators and paths, checked."""
        return Choice(
            backends=checked_words(self.backends, known=None, option="--backends"),
            accelerators=checked_words(
                self.accelerators, known=ACCELERATORS, option="--accelerators"
            ),
            fit_paths=cast(
                "tuple[FitPath, ...]",
                checked_words(self.paths, known=FIT_PATHS, option="--paths"),
            ),
            epochs=self.epochs or (3 if self.scale else 7),
            command_epochs=self.command_epochs,
            threads=self.threads,
        )

    def cases(self, spec: Spec, dataset: Dataset) -> list[Case]:
        """All cases.

        Raises
        ------
        UsageError
            Sizes that do not fit the data, or `--peers` with another data set than MNIST.
        """
        if self.scale:
            points = checked_points(self.scale, self.points)
            return scale_cases(spec, self.choice, axis=self.scale, points=points)
        plan = make_plan(spec, dataset)
        if self.profile:
            return profile_cases(spec, self.choice, train_rows=len(plan.train_ids))
        examples, epochs = self.examples or EXAMPLES, self.command_epochs or 10
        option = "--answers" if self.answers else "--peers" if self.peers else EQUAL_THREADS
        scripts = self.answers or self.peers or self.equal_threads is not None
        if scripts and dataset.name != "mnist":
            raise UsageError(
                f"{option}: the scripts of examples/ train on MNIST, but the data set is "
                f"{dataset.name}"
            )
        if self.equal_threads is not None:
            threads = checked_threads(self.equal_threads)
            return thread_cases(
                spec, self.choice, threads=threads, examples=examples, epochs=epochs
            )
        if self.answers:
            return answer_cases(spec, examples=examples, epochs=epochs, threads=self.threads)
        cases = our_cases(spec, self.choice, training=self.peers)
        if self.peers:
            cases += peer_cases(spec, examples=examples, epochs=epochs)
        return cases

    def rows(self, spec: Spec, dataset: Dataset) -> Dataset:
        """The rows for a specification, repeated if `--scale rows` asks for more than there are."""
        n = spec.data.rows
        if self.scale == "rows" and n != "all" and n > len(dataset):
            return tiled(dataset, n)
        return dataset
