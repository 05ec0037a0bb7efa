"""A share of the torture run; `make torture` runs all of it. And what its judge must see."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from torture.broken import Broken
from torture.case import ANSWERED, HANG, LOST, MIB, OTHER, TRACEBACK, Answer, Try, faults_of
from torture.process import import_everything, left_over, python, started
from torture.table import KINDS, cases_of, page, row_of
from torture.world import World, made_world

SEED = 1

SHARES = {
    "overwrite": 45,
    "resume": 45,
    "sharing": 20,
    "idx": 14,
    "folders": 43,
    "weights": 19,
    "pictures": 19,
    "toml": 23,
    "words": 27,
}
"""Of these kinds every n-th case is run here."""

NAMED = {
    "networks": ("a wrong hash", "closes early", "redirects to itself"),
    "fatal": ("exits at once when imported (when it is imported)",),
}
"""Of these, cases that end soon."""


def shared() -> Iterator[tuple[str, int]]:
    """Kind and number of each case that is run here."""
    for kind, step in SHARES.items():
        yield from ((kind, number) for number in range(0, len(cases_of(kind, SEED)), step))
    for kind, names in NAMED.items():
        known = [case.name for case in cases_of(kind, SEED)]
        yield from ((kind, known.index(name)) for name in names)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    import_everything()
    with made_world() as made:
        yield made


# --- The share ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "number"), list(shared()))
def test_it_survives(kind: str, number: int, world: World) -> None:
    result = cases_of(kind, SEED)[number].run(world)
    assert not result.faults, f"{result.name}\n{result.details}"


def test_there_are_as_many_cases_as_promised_and_each_has_a_name() -> None:
    for kind, about in KINDS.items():
        names = [case.name for case in cases_of(kind, SEED)]
        assert len(names) >= about.least, kind
        assert len(set(names)) == len(names), kind


# --- The judge ------------------------------------------------------------------------------------

GOOD = Answer(4, b"", b"error: run/weights.safetensors: half\n", seconds=0.1, memory=100 * MIB)
TRY = Try(("evaluate", "run"), names="weights.safetensors")


def test_a_refusal_that_names_the_file_is_right() -> None:
    assert faults_of(TRY, GOOD) == []


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (replace(GOOD, code=None), HANG, "no end after 20 s"),
        (replace(GOOD, code=0, err=b""), OTHER, "exit code 0"),
        (replace(GOOD, code=70), TRACEBACK, ""),
        (replace(GOOD, code=-11), OTHER, "exit code -11"),
        (replace(GOOD, traces=["ValueError: x"]), TRACEBACK, "ValueError: x"),
        (replace(GOOD, err=GOOD.err + b"Traceback (most recent call last)"), TRACEBACK, ""),
        (replace(GOOD, err=b"error: it failed\n"), OTHER, "does not name 'weights.safetensors'"),
        (replace(GOOD, err=b"weights.safetensors: half\n"), OTHER, "0 lines begin with"),
        (replace(GOOD, err=GOOD.err * 2), OTHER, "2 lines begin with"),
        (replace(GOOD, err=GOOD.err + b"more\n" * 3), OTHER, "an error of 4 lines"),
        (replace(GOOD, err=GOOD.err + b"x" * 5000), OTHER, "an error of 2 lines, 50"),
        (replace(GOOD, err=GOOD.err + b"\x1b[31m"), OTHER, "control characters"),
        (replace(GOOD, out=b"\xff"), OTHER, "not UTF-8"),
        (replace(GOOD, out=b"a.py:3: RuntimeWarning: x"), OTHER, "a warning of Python's"),
        (replace(GOOD, memory=2048 * MIB), OTHER, "2048 MiB of memory"),
        (replace(GOOD, left=["sleep 600"]), OTHER, "processes outlive it: sleep 600"),
    ],
)
def test_the_judge_sees(answer: Answer, kind: str, words: str) -> None:
    found = faults_of(TRY, answer)
    assert any(fault.kind == kind and words in fault.text for fault in found), found


def test_a_file_of_the_user_that_is_touched_counts_as_lost(world: World) -> None:
    """A page written into the user's folder stands for one; also what the table makes of it."""
    report = Try(("report", "run", "--out", "page.html"), codes=ANSWERED)
    astray = replace(report, words=("report", "run", "--out", "precious/page.html"))
    good, bad = (
        Broken("a report", lambda _: None, [attempt]).run(world) for attempt in (report, astray)
    )
    assert good.faults == []
    assert [fault.kind for fault in bad.faults] == [LOST]
    row = row_of("folders", [good, bad], date="2026-01-01", seed=0)
    assert (row.tried, row.survived, row.lost) == (2, 1, 1)
    shown = page([row])
    assert f"| 2 of {len(cases_of('folders', 0))} | 1 | 1 | 0 | 0 | 1 |" in shown
    assert "Not run yet: New runs stopped by a signal" in shown


def test_a_program_is_watched(world: World) -> None:
    """Its processes that outlive it are seen and killed, and so is one that hangs."""
    script = "import subprocess, sys; subprocess.Popen(['sleep', '77'], start_new_session=True)"
    with world.copied() as folder:
        environment = world.environment(folder, {})
        answer = started(
            [sys.executable, "-c", script], folder=folder, environment=environment, limit_s=20
        )
        assert (answer.code, answer.left) == (0, ["sleep 77"])
        assert left_over(folder.name) == []
        hung = started(["sleep", "78"], folder=folder, environment=environment, limit_s=0.2)
        assert (hung.code, left_over(folder.name)) == (None, [])
        version = started(python("--version"), folder=folder, environment=environment, limit_s=20)
        assert (version.code, version.out[:9]) == (0, b"mnist-mlp")
    assert not os.path.lexists(folder)
