"""Parts in their order, within a time: what each gave is written down before the next begins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


class PartError(Exception):
    """A part that cannot be measured; its text becomes a row."""


@dataclass(frozen=True)
class Row:
    """A line of the table; `passed` is None for a figure that is only told."""

    what: str
    found: str
    passed: bool | None = None


@dataclass(frozen=True)
class Part:
    """One thing to measure: `measure(seconds left)` answers with rows."""

    name: str
    measure: Callable[[float], list[Row]]


Results = dict[str, list[Row]]


def run_parts(
    parts: Sequence[Part],
    *,
    budget_s: float,
    write: Callable[[Results], None],
    clock: Callable[[], float] = time.monotonic,
) -> Results:
    """Run what fits into the time; a part that fails is a row in words, and the others go on."""
    start, results = clock(), Results()
    stopped = ""
    for part in parts:
        left = budget_s - (clock() - start)
        if left <= 0:
            stopped = stopped or "the time was up"
        if stopped:
            results[part.name] = [Row("not measured", stopped)]
        else:
            try:
                results[part.name] = part.measure(left)
            except KeyboardInterrupt:
                stopped = "stopped by hand"
                results[part.name] = [Row("not measured", stopped)]
            except Exception as error:
                results[part.name] = [Row("failed", failure_words(error), passed=False)]
        write(results)
    return results


def failure_words(error: Exception) -> str:
    """A failure in one line."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, PartError) else f"{type(error).__name__}: {text}"


def call(
    python: str, words: Sequence[object], *, seconds: float, folders: Sequence[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """Run an interpreter, in the checkout, with its own libraries; end it when the time is up."""
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    with subprocess.Popen(
        [python, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    ) as process:
        try:
            out, told = process.communicate(timeout=max(seconds, 1))
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # its workers end with it
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise PartError(f"stopped after {seconds:.0f} s, the time was up") from None
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, told)


def answer(done: subprocess.CompletedProcess[str], *, codes: Sequence[int] = (0,)) -> Any:
    """The JSON document that a command printed last; `PartError` with its own words otherwise."""
    if done.returncode not in codes:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PartError(f"exit code {done.returncode}: {last[:300]}")
    at = done.stdout.find("{")
    return json.loads(done.stdout[at:])


def crossover(cpu: Mapping[int, float], gpu: Mapping[int, float]) -> int | None:
    """The smallest point from which on the GPU is faster at every point that both have."""
    found = None
    for point in sorted(cpu.keys() & gpu.keys(), reverse=True):
        if gpu[point] >= cpu[point]:
            break
        found = point
    return found


def page(about: Mapping[str, str], results: Results, *, day: str) -> str:
    """`docs/gpu.md` of a measurement."""
    lines = ["# On a GPU", "", f"`make gpu`, {day}.", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in about.items()]
    for name, rows in results.items():
        lines += ["", f"## {name}", "", "| what | found | |", "|---|---|---|"]
        lines += [f"| {_cell(r.what)} | {_cell(r.found)} | {_judged(r.passed)} |" for r in rows]
    return "\n".join(lines) + "\n"


def _judged(passed: bool | None) -> str:
    return "" if passed is None else "passed" if passed else "**failed**"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
