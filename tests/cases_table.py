"""The table of cases, `make cases`: every pair in `tests/cases` through `check`; `docs/cases.md`.

    python tests/cases_table.py [PATTERN ...] [--page FILE] [--details FILE]

A pattern is a part of a row's name; with one, and without `--page`, nothing is written. What must
be said stands in `tests/cases/cases.toml`. The pairs are of two kinds: models and ports as their
users would write them, after public reports, and pairs that differ in data and order alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from case_rows import Answer, Row, faults_of, kinds, table
from case_world import ROOT, World, world

from mnist_mlp.run.machine import describe_machine
from mnist_mlp.worker.warm import warm_workers

PAGE = ROOT / "docs" / "cases.md"
TIME_LIMIT = 600.0


@dataclass(frozen=True)
class Ran:
    """A row and its answer."""

    row: Row
    answer: Answer
    wrong: Sequence[str]

    @property
    def line(self) -> str:
        """One of the page."""
        row = self.row
        name = f"[{row.name}]({row.report})" if row.report.startswith("http") else row.name
        told = "right" if not self.wrong else f"**wrong**: {'; '.join(self.wrong)}"
        cells = (name, f"{row.truth}: {row.cause}", row.expected, self.answer.short, told)
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def run(row: Row, here: World) -> Ran:
    """Put one row through the real command."""
    folder = here.cases / row.place
    for script in row.prepare:
        subprocess.run(
            [sys.executable, script],
            cwd=folder, env=dict(here.environment), check=True, capture_output=True,
        )  # fmt: skip
    words = [
        *("-m", "mnist_mlp", "check", f"{folder / row.original}", f"{folder / row.port}"),
        *("--config", str(ROOT / "configs" / "tiny.toml"), "--set", "training.epochs=3"),
        *("--set", 'data.rows="all"' if row.rows == "all" else f"data.rows={row.rows}"),
        *(*row.options, "--json"),
    ]
    start = time.perf_counter()
    try:
        ended = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT, env=dict(here.environment), capture_output=True, text=True,
            timeout=TIME_LIMIT, check=False,
        )  # fmt: skip
        code, out, err = ended.returncode, ended.stdout, ended.stderr
    except subprocess.TimeoutExpired:
        code, out, err = None, "", ""
    # The folder is another one each time, and says nothing.
    home = here.cases.parent
    out, err = (text.replace(f"{here.cases}/", "").replace(f"{home}/", "") for text in (out, err))
    answer = Answer(code, out, err, time.perf_counter() - start)
    return Ran(row, answer, faults_of(row, answer))


def page(ran: Sequence[Ran], *, data: str, of: int) -> str:
    """`docs/cases.md`."""
    machine = describe_machine()
    good = sum(not item.wrong for item in ran)
    counted = Counter(kind for item in ran for kind in kinds(item.wrong))
    wrong = ", ".join(f"{count} {kind}" for kind, count in counted.most_common())
    seconds = sorted(item.answer.seconds for item in ran) or [0.0]
    verdicts = Counter(
        {0: "passed", 1: "different", 2: "refused", 6: "inconclusive"}.get(
            -1 if item.answer.code is None else item.answer.code, "crashed"
        )
        for item in ran
    )
    lines = [
        "# The table of cases",
        "",
        "This page shows what `check` answers about pairs of an original and its port, written as "
        "users would write them. `make cases` runs it. Some pairs follow public reports, which are "
        "linked; those that begin with `data_` are about data and order alone. An answer is right "
        "if it gives the true verdict and its causes, or names what was not judged. A false "
        "verdict, a crash, or a refusal that names no reason is wrong.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}: {len(ran)} of {of} rows, data set {data}, Python "
        f"{machine['python']}, {machine['processor']}. A check took "
        f"{seconds[len(seconds) // 2]:.0f} s (median; at most {seconds[-1]:.0f} s).",
        "",
        f"**{good} right, {len(ran) - good} wrong**" + (f" ({wrong})." if wrong else "."),
        "Answers: " + ", ".join(f"{count} {name}" for name, count in verdicts.most_common()) + ".",
        "",
        "| case | what is true | what is right to say | what `check` said | |",
        "|---|---|---|---|---|",
        *(item.line for item in ran),
    ]
    return "\n".join(lines) + "\n"


def details(ran: Sequence[Ran]) -> str:
    """The exact output of the wrong ones."""
    parts = []
    for item in ran:
        if item.wrong:
            told = "\n".join(f"- {text}" for text in item.wrong)
            parts.append(
                f"## {item.row.name}\n\n{told}\n\nexit code {item.answer.code}, "
                f"{item.answer.seconds:.0f} s\n\n```\n{_shown(item.answer)}\n```\n"
            )
    return "\n".join(parts)


def _shown(answer: Answer) -> str:
    found = answer.document
    lines = [answer.err.strip()]
    if not found:
        return "\n".join([*lines, answer.out]).strip()
    lines += [f"verdict: {found['verdict']}", f"text: {found['text']}"]
    for item in found["breaks"]:
        cause = item["cause"]
        place = {k: item.get(k) for k in ("side", "rung", "epoch", "step", "layer", "tensor")}
        at = " ".join(f"{key}={value}" for key, value in place.items() if value is not None)
        lines.append(f"break: {at} got={item.get('got')!r} expected={item.get('expected')!r}")
        lines.append(f"       {cause['name']} ({cause.get('value')}) {cause.get('text')}")
    lines += [
        f"rung {name}: {rung['status']} {rung['margin']} {rung['text']}"
        for name, rung in found["rungs"].items()
    ]
    lines += [f"noted: {cause['name']} ({cause.get('value')})" for cause in found["noted"]]
    lines += [f"not exercised: {text}" for text in found["not_exercised"]]
    return "\n".join(lines).strip()


def main() -> None:
    """Run the rows that were asked for, one on each core."""
    parser = argparse.ArgumentParser(description="Put the table of cases through check.")
    parser.add_argument("patterns", nargs="*", help="parts of rows' names; none means all")
    parser.add_argument("--share", action="store_true", help="the rows that the tests run")
    parser.add_argument("--page", type=Path, help="where the table goes; docs/cases.md for all")
    parser.add_argument("--details", type=Path, help="also the whole output of the wrong ones")
    asked = parser.parse_args()
    rows = [
        row
        for row in table()
        if (not asked.share or row.share)
        and (not asked.patterns or any(pattern in row.name for pattern in asked.patterns))
    ]
    if not rows:
        parser.error(f"no row is named so: {', '.join(asked.patterns)}")
    whole = not (asked.patterns or asked.share)
    target = asked.page or (PAGE if whole else None)
    ran: list[Ran] = []
    with world() as here, ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(lambda row: run(row, here), rows):
            ran.append(result)
            print(f"{ran[-1].answer.seconds:5.1f} s  {ran[-1].line}", flush=True)
            if target:  # after every row: a table that breaks off is a table still
                target.write_text(page(ran, data=here.data, of=len(rows)), encoding="utf-8")
            if asked.details:
                asked.details.write_text(details(ran), encoding="utf-8")
    bad = sum(bool(item.wrong) for item in ran)
    print(f"{len(ran) - bad} right, {bad} wrong")
    sys.exit(bad > 0)


if __name__ == "__main__":
    with warm_workers():
        main()
