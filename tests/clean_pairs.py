"""No false alarm, `make faults`: correct pairs through `compare`, for `docs/false-alarms.md`.


    python tests/clean_pairs.py [PATTERN]     # for instance adam; then nothing is written

Every pair has to be `identical` or `equivalent`.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from joblib import Parallel, delayed

from mnist_mlp.data import Dataset, load_dataset
from mnist_mlp.parity.compare.runs import compare_runs
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.run.machine import describe_machine
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.training import train
from mnist_mlp.worker.warm import warm_workers

PAGE = Path(__file__).parent.parent / "docs" / "false-alarms.md"
BACKENDS = ("numpy", "keras", "torch")
SEEDS = (1, 2, 3)
CHAOS = {"learning_rate": 0.1}

SETTINGS: dict[str, dict[str, Any]] = {
    "tutorial": {},
    "relu": {"model": {"activations": ["relu", "relu", "softmax"]}, "optimizer": CHAOS},
    "gelu": {"model": {"activations": ["gelu", "gelu", "softmax"]}, "optimizer": CHAOS},
    "momentum and decay": {"optimizer": {"momentum": 0.9, "weight_decay": 1e-4}},
    "nesterov and schedule": {
        "model": {"activations": ["tanh", "silu", "softmax"]},
        "optimizer": {"momentum": 0.9, "nesterov": True, "schedule": [[20, 0.05], [50, 0.001]]},
    },
    "adam": {"optimizer": {"name": "adam", "learning_rate": 0.001}},
    "adam, decay and clip": {
        "model": {"activations": ["leaky_relu(0.1)", "elu", "softmax"]},
        "optimizer": {
            "name": "adam",
            "learning_rate": 0.003,
            "weight_decay": 1e-3,
            "clip_norm": 0.5,
        },
    },
    "clip": {"optimizer": {"clip_norm": 0.3, "learning_rate": 0.1}},
    "wide": {"model": {"layer_sizes": [784, 1024, 10]}, "training": {"batch_size": 100}},
    "deep": {
        "model": {
            "layer_sizes": [784, 64, 64, 32, 32, 10],
            "activations": ["selu", "softplus", "relu", "sigmoid", "softmax"],
        },
        "optimizer": {"learning_rate": 0.05, "momentum": 0.5},
    },
}
"""Laid over the tutorial with 6,000 rows and two epochs of 36 steps, the last one smaller."""


@dataclass(frozen=True)
class Pair:
    """Two backends' runs of one specification, compared."""

    name: str
    seed: int
    backends: tuple[str, str]
    outcome: Outcome
    seconds: float

    @property
    def good(self) -> bool:
        return self.outcome.verdict in ("identical", "equivalent")

    @property
    def row(self) -> str:
        """A line of the table."""
        told = self.outcome.verdict
        if self.outcome.predictions.different:
            told += f", {self.outcome.predictions.different} predictions differ"
        if not self.good:
            first = self.outcome.first_break
            where = f" at {first.rung}: {first.cause.name}" if first else ""
            told = f"**{told}**{where}: {self.outcome.text}"
        return f"| {self.name} | {self.seed} | {' and '.join(self.backends)} | {told} |"


def spec_of(name: str, seed: int) -> Spec:
    """One setting with one seed."""
    raw: dict[str, Any] = {
        "seed": seed,
        "data": {"rows": 6000},
        "training": {"epochs": 2},
    }
    for section, keys in SETTINGS[name].items():
        raw[section] = {**raw.get(section, {}), **keys}
    return parse_spec(raw)


def pairs(
    name: str, seed: int, dataset: Dataset, *, backends: Sequence[str] = BACKENDS
) -> Iterator[Pair]:
    """Train every backend once, and compare each with each."""
    spec = spec_of(name, seed)
    with TemporaryDirectory() as folder:
        runs = {
            backend: train(
                spec,
                backend=backend,
                dataset=dataset,
                out=Path(folder) / backend,
                accelerator="cpu",
            )
            for backend in backends
        }
        for a, b in combinations(backends, 2):
            start = time.perf_counter()
            outcome = compare_runs(runs[a], runs[b], dataset=dataset)
            yield Pair(name, seed, (a, b), outcome, time.perf_counter() - start)


def list_pairs(name: str, seed: int, dataset: Dataset) -> list[Pair]:
    """All pairs of a setting and a seed. A list, since a generator can't leave its process."""
    return list(pairs(name, seed, dataset))


def page(compared: list[Pair]) -> str:
    """`docs/false-alarms.md`."""
    machine = describe_machine()
    alarms = [pair for pair in compared if not pair.good]
    margins: Counter[str] = Counter()
    for pair in compared:
        for rung in pair.outcome.rungs:
            margins[rung.name] = max(margins[rung.name], rung.margin or 0.0)
    largest = ", ".join(f"{name} {margin:.2f}" for name, margin in margins.items() if margin)
    lines = [
        "# No false alarm",
        "",
        f"`make faults`, {datetime.now(UTC):%Y-%m-%d}: `compare` judged "
        f"{len(compared)} pairs of correct runs on MNIST, at every rung: {len(SETTINGS)} settings, "
        f"seeds {', '.join(map(str, SEEDS))}, and each pair of the backends "
        f"{', '.join(BACKENDS)}. Python {machine['python']}, {machine['processor']}, one thread.",
        "",
        f"**{len(alarms)} false alarms.**"
        if alarms
        else f"**No false alarm.** With none in {len(compared)}, the rate of false alarms is at "
        f"most {3 / len(compared):.1%}, at 95 % confidence (the rule of three). The faithful ports "
        "of [the fault table](faults.md) test the same for `check`.",
        "",
        f"Largest deviation of any pair, as a share of what each rung allows: {largest}.",
        "",
        "| setting | seed | backends | verdict |",
        "|---|--:|---|---|",
        *(pair.row for pair in compared),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    dataset = load_dataset("mnist")
    chosen = [(name, seed) for name in SETTINGS if pattern in name for seed in SEEDS]
    run = Parallel(n_jobs=os.cpu_count(), return_as="generator")
    compared = []
    for several in run(delayed(list_pairs)(name, seed, dataset) for name, seed in chosen):
        for pair in several:
            compared.append(pair)
            print(f"{pair.seconds:5.1f} s  {pair.row}", flush=True)
    if not pattern:
        PAGE.write_text(page(compared), encoding="utf-8")
    sys.exit(not all(pair.good for pair in compared))


if __name__ == "__main__":
    with warm_workers():
        main()
