"""Several commands that write into one folder at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from torture.case import LOST, OTHER, Answer, Fault, Result, Try, faults_of, result_of
from torture.kills import resuming
from torture.process import MARK, python, started
from torture.runs import contradiction
from torture.world import SIZES, World

from mnist_mlp.run.folder import Run


def training(seed: int, *options: str) -> tuple[str, ...]:
    """A run that is told from others by its seed."""
    return (
        *("train", "--backend", "numpy", "--set", SIZES, "--epochs", "20", "--progress", "none"),
        *("--seed", str(seed), *options),
    )


IMPORT = (
    *("import", "run/weights.safetensors", "--layout", "keras", "--set", SIZES),
    *("--seed", "9", "--out", "new"),
)

WAYS: dict[str, Sequence[Sequence[str]]] = {
    "four runs without a name": [training(seed) for seed in (1, 2, 3, 4)],
    "two runs, one folder": [training(seed, "--out", "new") for seed in (1, 2)],
    "two runs replace a third": [
        training(seed, "--out", "twin", "--overwrite") for seed in (1, 2)
    ],
    "a run and an import": [training(1, "--out", "new"), IMPORT],
    "two comparisons": [
        ("compare", "numpy", "numpy", "--set", SIZES, "--epochs", "9", "--progress", "none",
         "--seed", str(seed), "--out", "new")
        for seed in (1, 2)
    ],
    "two go on with a run": [resuming("stopped")] * 2,
}  # fmt: skip


@dataclass(frozen=True)
class Sharing:
    """Commands that start at the same time; those that end with 0 must each have their run."""

    way: str
    number: int

    @property
    def name(self) -> str:
        """What is done, and for which time."""
        return f"{self.way}, {self.number}"

    def run(self, world: World) -> Result:
        """Start all of them, and look for the run of each that says it was done."""
        with world.copied() as folder:
            commands = WAYS[self.way]

            def start(number: int) -> Answer:
                # Each has a mark of its own, since processes are looked for and ended by it.
                environment = world.environment(folder, {MARK: f"{folder.name}-{number}"})
                return started(
                    python(*commands[number]), folder=folder, environment=environment, limit_s=60
                )

            with ThreadPoolExecutor(len(commands)) as pool:
                answers = list(pool.map(start, range(len(commands))))
            attempts = [Try(words, codes=frozenset({0, 2})) for words in commands]
            told = [
                (attempt.words, answer, faults_of(attempt, answer))
                for attempt, answer in zip(attempts, answers, strict=True)
            ]
            last = told[-1][2]
            done = [words for words, answer, _ in told if answer.code == 0]
            if not done:
                last.append(Fault(OTHER, "none of them succeeded"))
            last += [Fault(LOST, text) for text in _missing(folder, done)]
            left = [path.name for path in folder.glob(".*.new-*")]
            last += [Fault(OTHER, f"{name} was left") for name in left]
        return result_of(self.name, told)


def _missing(folder: Path, done: Sequence[Sequence[str]]) -> list[str]:
    """Runs of successful commands that are nowhere, and folders that contradict themselves."""
    paths = [path.parent for path in folder.rglob("run.json")]
    found = [text for path in paths if (text := contradiction(path))]
    seeds = {Run(path, complete=False).spec.seed for path in paths if not contradiction(path)}
    if done and "--resume" in done[0] and not Run(folder / "stopped", complete=False).is_complete:
        found.append("the resumed run is not complete")
    wanted = [int(words[words.index("--seed") + 1]) for words in done if "--seed" in words]
    gone = [seed for seed in wanted if seed not in seeds]
    # Of two commands that may replace a run, one after the other, the last one's run is there.
    if done and "--overwrite" in done[0]:
        gone = gone if len(gone) == len(wanted) else []
    return found + [f"the run with seed {seed} is gone" for seed in gone]


def cases() -> list[Sharing]:
    """Each way four times, since what happens is a matter of chance."""
    return [Sharing(way, number) for way in WAYS for number in range(1, 5)]
