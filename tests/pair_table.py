"""The table of pairs: originals and ports of any network, with one fault each or none.

    python tests/pair_table.py [PATTERN]     # for instance lenet/bn; `make faults` runs it whole

What must be said of each pair stands in `tests/pairs/expected.toml`. Each framework has one worker
for all pairs, so that a pair takes a second or two. At the end it says which limits one half of the
pairs would give, and what becomes of the other half by them (`pair_halves`).
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pair_halves import lines, measured

from mnist_mlp.data import Dataset, load_dataset
from mnist_mlp.parity.check.by_pair import check_pair
from mnist_mlp.parity.check.pair_side import Side
from mnist_mlp.parity.check.target import parse_target
from mnist_mlp.parity.findings import UNKNOWN
from mnist_mlp.parity.outcome import Outcome, as_text
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.parent import Worker
from mnist_mlp.worker.warm import warm_workers

PAIRS = Path(__file__).parent / "pairs"

TOLERATED = {
    *("flatten_order", "concatenation_order", "unbiased_variance", "repeated_rows"),
    *("decay_outside_loss", "padded_otherwise", "constant_in_loss"),
    *("clip_norm_slack", "schedule_in_float32", "constraint_epsilon"),
    *(f"{name}_epsilon_placement" for name in ("adam", "rmsprop", "adagrad", "adamax")),
}
"""What may be noted of two models; other notes are about data."""

Workers = Callable[[str], Worker]


@dataclass(frozen=True)
class PairEntry:
    """One pair, and what is expected of it."""

    name: str
    expected: Mapping[str, Any]

    @property
    def causes(self) -> list[str]:
        """What is named, in any order; empty for a faithful pair."""
        return list(self.expected.get("causes", ()))


@dataclass(frozen=True)
class PairResult:
    """What was said of it."""

    entry: PairEntry
    outcome: Outcome
    seconds: float

    @property
    def faults(self) -> list[str]:
        """How the answer is not as expected; empty if it is."""
        outcome, expected = self.outcome, self.entry.expected
        found = []
        verdict = expected.get("verdict", "different" if self.entry.causes else "identical")
        if outcome.verdict != verdict:
            found.append(f"{outcome.verdict} instead of {verdict}")
        named = {item.cause.name for item in outcome.breaks}
        if named != set(self.entry.causes):
            found.append(f"named {sorted(named)} instead of {self.entry.causes}")
        first = outcome.first_break
        if first is not None and first.rung != expected.get("rung", first.rung):
            found.append(f"rung {first.rung} instead of {expected['rung']}")
        noted = {cause.name for cause in outcome.noted} & TOLERATED
        if noted != set(expected.get("noted", ())):
            found.append(f"noted {sorted(noted)}")
        if expected.get("words", "") not in as_text(outcome):
            found.append(f"does not say {expected['words']!r}")
        return found


def pair_entries() -> list[PairEntry]:
    """All of them."""
    text = (PAIRS / "expected.toml").read_text(encoding="utf-8")
    return [PairEntry(name, expected) for name, expected in tomllib.loads(text).items()]


def judge_pair(entry: PairEntry, workers: Workers, dataset: Dataset) -> PairResult:
    """Put one pair through the judges of `check`."""
    start = time.perf_counter()
    sides = []
    for key in ("original", "port"):
        target = parse_target(str(PAIRS / entry.expected[key]))
        worker = workers(target.framework)
        sides.append(Side(target, worker, worker.describe_port(target.text)))
    spec = parse_spec({"data": {"rows": 2000}})
    outcome, _ = check_pair(sides[0], sides[1], spec=spec, dataset=dataset)
    return PairResult(entry, outcome, time.perf_counter() - start)


def summary(judged: Sequence[PairResult]) -> str:
    """Shares."""
    faulty = [item for item in judged if item.entry.causes]
    named = [item for item in faulty if UNKNOWN not in item.entry.causes]
    passing = [item for item in judged if not item.entry.causes]
    detected = sum(item.outcome.verdict == "different" for item in faulty)
    right = sum(not item.faults for item in named)
    passed = sum(not item.faults for item in passing)
    return (
        f"detected {detected} of {len(faulty)}; named rightly {right} of {len(named)}; faithful "
        f"and passed {passed} of {len(passing)}"
    )


def main() -> None:
    """Run the pairs that were asked for."""
    parser = argparse.ArgumentParser(description="Put the table of pairs through check.")
    parser.add_argument("pattern", nargs="?", default="", help="part of a pair's name")
    parser.add_argument("--all-words", action="store_true", help="show the whole of each answer")
    options = parser.parse_args()
    dataset = load_dataset("digits")
    running: dict[str, Worker] = {}

    def workers(name: str) -> Worker:
        if name not in running:
            running[name] = Worker(name, accelerator="cpu")
        return running[name]

    judged = []
    for entry in pair_entries():
        if options.pattern not in entry.name:
            continue
        result = judge_pair(entry, workers, dataset)
        judged.append(result)
        told = "; ".join(result.faults) or "as expected"
        print(
            f"{result.seconds:5.1f} s  {entry.name}: {entry.expected['what']}: {told}", flush=True
        )
        if options.all_words or result.faults:
            print(as_text(result.outcome))
    for worker in running.values():
        worker.close()
    print(summary(judged))
    found = [each for item in judged for each in measured(item.entry.name, item.outcome)]
    print(*lines(found), sep="\n")
    sys.exit(any(item.faults for item in judged))


if __name__ == "__main__":
    with warm_workers():
        main()
