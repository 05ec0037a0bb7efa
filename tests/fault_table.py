"""The fault table, `make faults`: every port in `tests/faults` through `check`; `docs/faults.md`.

    python tests/fault_table.py [PATTERN]     # for instance torch/t0; then nothing is written

Ports are checked side by side, one on each core: each is a process of its own on one thread.

A port's number says nothing of its fault, and nothing of a port but its code reaches the checker.
What it must say stands in `tests/faults/expected_*.toml`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from mnist_mlp.data import Dataset, load_dataset
from mnist_mlp.parity.check.port import check_port
from mnist_mlp.parity.check.target import parse_target
from mnist_mlp.parity.findings import UNKNOWN
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.run.machine import describe_machine
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.worker.warm import warm_workers

FAULTS = Path(__file__).parent / "faults"
PAGE = Path(__file__).parent.parent / "docs" / "faults.md"

PLACE = ("epoch", "step", "batch", "layer", "tensor")
"""What is compared of a break's place, as far as it is expected."""


@dataclass(frozen=True)
class Entry:
    """A port, and what `check` must say of it: `expected` as in the TOML files."""

    number: str
    expected: Mapping[str, Any]

    @property
    def faithful(self) -> bool:
        """Whether it must pass; a tolerated difference is noted and passes too."""
        return "cause" not in self.expected

    @property
    def spec(self) -> Spec:
        """The tutorial with 4,000 rows and three epochs of 24 steps, and what the entry sets."""
        raw: dict[str, Any] = {"data": {"rows": 4000}, "training": {"epochs": 3}}
        for section, keys in self.expected.get("spec", {}).items():
            raw[section] = {**raw.get(section, {}), **keys}
        return parse_spec(raw)


@dataclass(frozen=True)
class EntryResult:
    """How `check` did on one entry; `wrong` holds names that should not have been given."""

    entry: Entry
    outcome: Outcome
    seconds: float

    @property
    def detected(self) -> bool:
        return self.outcome.verdict == "different"

    @property
    def place(self) -> bool:
        """Whether rung and place of the first break are as expected."""
        first, expected = self.outcome.first_break, self.entry.expected
        if first is None:
            return False
        found = first.model_dump(mode="json")
        return all(found[key] == expected[key] for key in ("rung", *PLACE) if key in expected)

    @property
    def cause(self) -> bool:
        first = self.outcome.first_break
        return first is not None and first.cause.name == self.entry.expected["cause"]

    @property
    def wrong(self) -> list[str]:
        """Causes that were named and are not there."""
        right = {UNKNOWN, self.entry.expected.get("cause"), *self.entry.expected.get("also", ())}
        return sorted({item.cause.name for item in self.outcome.breaks} - right)

    @property
    def good(self) -> bool:
        """Whether everything is as it must be."""
        if not self.entry.faithful:
            return self.detected and self.place and self.cause and not self.wrong
        noted = {cause.name for cause in self.outcome.noted}
        asked = {self.entry.expected["noted"]} if "noted" in self.entry.expected else set()
        return self.outcome.verdict in ("identical", "equivalent") and asked <= noted

    @property
    def row(self) -> str:
        """A line of the table."""
        first, expected = self.outcome.first_break, self.entry.expected
        told = "passed"
        if self.outcome.noted and first is None:
            told = "noted: " + ", ".join(cause.name for cause in self.outcome.noted)
        if self.outcome.verdict == "inconclusive":
            told = "inconclusive"
        if first is not None:
            at = "stress batch" if first.batch else f"epoch {first.epoch}, step {first.step}"
            layer = "" if first.layer is None else f", layer {first.layer}"
            told = f"{first.rung}: {at}{layer}, {first.tensor or '-'}: `{first.cause.name}`"
            told += f" ({first.cause.value})" if first.cause.value else ""
        mark = "" if self.good else " **not as expected**"
        return f"| {self.entry.number} | {expected['what']} | {told}{mark} |".replace("\n", " ")


def entries() -> list[Entry]:
    """Every entry of both tables, faults and faithful ports."""
    return [
        Entry(number, expected)
        for framework in ("torch", "keras")
        for number, expected in tomllib.loads(
            (FAULTS / f"expected_{framework}.toml").read_text(encoding="utf-8")
        ).items()
    ]


def judge(entry: Entry, dataset: Dataset) -> EntryResult:
    """Run one port through `check`."""
    start = time.perf_counter()
    name = entry.expected.get("name") or ("Port" if "torch" in entry.number else "build")
    port = parse_target(f"{FAULTS / entry.number}:{name}")
    shape = tuple(entry.expected.get("image_shape", ()))
    outcome = check_port(port, spec=entry.spec, dataset=dataset, image_shape=shape).outcome
    return EntryResult(entry, outcome, time.perf_counter() - start)


def summary(judged: list[EntryResult]) -> list[str]:
    """Shares, of the faults that must be found; and false alarms."""
    faults = [item for item in judged if not item.entry.faithful]
    passing = [item for item in judged if item.entry.faithful]
    named = [item for item in faults if item.entry.expected["cause"] != UNKNOWN]
    wrong = [item for item in faults if item.wrong]

    def share(what: str, count: int, of: int, target: str) -> str:
        return f"| {what} | {count} of {of} | {count / max(of, 1):.1%} | {target} |"

    return [
        "| | | | target |",
        "|---|--:|--:|--:|",
        share("detected", sum(item.detected for item in faults), len(faults), "100 %"),
        share("rung and place", sum(item.place for item in faults), len(faults), "95 %"),
        share(
            "cause named, of those that have one", sum(i.cause for i in named), len(named), "85 %"
        ),
        share(
            "`unknown`, of those without a hypothesis",
            sum(i.cause for i in faults) - sum(i.cause for i in named),
            len(faults) - len(named),
            "100 %",
        ),
        share("with a wrong name", len(wrong), len(faults), "0"),
        share(
            "faithful or tolerated, and passed", sum(i.good for i in passing), len(passing), "100 %"
        ),
    ]


def page(judged: list[EntryResult]) -> str:
    """`docs/faults.md`."""
    machine = describe_machine()
    seconds = sorted(item.seconds for item in judged)
    lines = [
        "# The fault table",
        "",
        "This page shows how often `check` is right. `make faults` runs it on ports with one fault "
        "each and on faithful ports, all written as users would write them. The checker sees only "
        "the port, whose number says nothing about its fault. F01 to F24 are the best-known "
        "faults. Each port trains the tutorial's network on 4,000 rows of MNIST for three epochs "
        "of 24 steps.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}: Python {machine['python']}, {machine['processor']}, one "
        f"thread. A check took {seconds[len(seconds) // 2]:.1f} s (median; at most "
        f"{seconds[-1]:.1f} s), including the start of the framework.",
        "",
        *summary(judged),
    ]
    for title, chosen in (
        ("Faults in Lightning ports", "torch/"),
        ("Faults in Keras ports", "keras/"),
        ("Faithful Lightning ports", "faithful_torch/"),
        ("Faithful Keras ports", "faithful_keras/"),
    ):
        rows = [item.row for item in judged if item.entry.number.startswith(chosen)]
        lines += [
            "",
            f"## {title}",
            "",
            "| port | what it does | what `check` says |",
            "|---|---|---|",
        ]
        lines += rows
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="", help="part of a port's number")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="ports at a time")
    options = parser.parse_args()
    dataset = load_dataset("mnist")
    chosen = [entry for entry in entries() if options.pattern in entry.number]
    run = Parallel(n_jobs=options.jobs, return_as="generator")
    judged = []
    for result in run(delayed(judge)(entry, dataset) for entry in chosen):
        judged.append(result)
        print(f"{result.seconds:5.1f} s  {result.row}", flush=True)
    print("\n".join(summary(judged)))
    if not options.pattern:
        PAGE.write_text(page(judged), encoding="utf-8")
    sys.exit(not all(item.good for item in judged))


if __name__ == "__main__":
    with warm_workers():
        main()
