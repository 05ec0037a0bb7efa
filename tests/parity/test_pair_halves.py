"""Limits from one half of the pairs, tried on the other."""

from __future__ import annotations

import pytest
from pair_halves import Measured, in_first_half, limits, lines, measured
from pair_table import pair_entries

from mnist_mlp.parity.findings import RUNGS, Break, Cause, Place
from mnist_mlp.parity.outcome import NamedSide, Outcome, Predictions, Proof, Rung

NAMES = [f"pair/{number}" for number in range(40)]
FIRST = [name for name in NAMES if in_first_half(name)]
SECOND = [name for name in NAMES if not in_first_half(name)]


def test_the_halves_of_the_table_are_about_equal() -> None:
    first = sum(in_first_half(entry.name) for entry in pair_entries())
    assert 0.4 < first / len(pair_entries()) < 0.6


def pairs(names: list[str], *, faithful: float, fault: float) -> list[Measured]:
    return [
        Measured(names[0], "forward", faithful, broken=False),
        Measured(names[1], "forward", faithful / 10, broken=False),
        Measured(names[2], "forward", fault, broken=True),
        Measured(names[3], "forward", fault * 10, broken=True),
    ]


def test_the_limit_is_half_way_between_faithful_and_faulty() -> None:
    first = pairs(FIRST, faithful=1e-4, fault=1e4)
    (found,) = limits(first + pairs(SECOND, faithful=0.5, fault=3.0))
    assert (found.faithful, found.faults, found.tested) == (1e-4, 1e4, 4)
    assert found.limit == pytest.approx(1.0)
    assert found.wrong == ()


def test_what_the_second_half_shows_wrongly_is_named() -> None:
    first = pairs(FIRST, faithful=1e-4, fault=1e4)
    (found,) = limits(first + pairs(SECOND, faithful=1.5, fault=0.7))
    assert found.wrong == (SECOND[0], SECOND[2])
    assert SECOND[0] in lines(first + pairs(SECOND, faithful=1.5, fault=0.7))[-1]


def test_a_rung_that_never_breaks_gives_no_limit() -> None:
    assert limits([Measured(FIRST[0], "loss", 0.1, broken=False)]) == []


def outcome(**margins: tuple[str, float]) -> Outcome:
    known = [
        Rung(name=name, status=margins[name][0], margin=margins[name][1], text="-")  # type: ignore[arg-type]
        if name in margins
        else Rung(name=name, status="not_exercised", text="not here")
        for name in RUNGS
    ]
    broken = [name for name, (status, _) in margins.items() if status == "broken"]
    sides = {side: NamedSide(label=side, path=side) for side in ("a", "b")}
    return Outcome(
        verdict="different" if broken else "inconclusive",
        text="-",
        sides=sides,  # type: ignore[arg-type]
        rungs=tuple(known),
        breaks=tuple(
            Break(side="b", rung=name, place=Place(), cause=Cause("unknown")) for name in broken
        ),
        noted=(),
        not_exercised=(),
        predictions=Predictions(total=0, different=0),
        proof=Proof(status="not_run", reason="-"),
    )


def test_behind_a_break_nothing_is_measured() -> None:
    found = measured(
        "x", outcome(forward=("broken", 50.0), loss=("broken", 9.0), data=("clean", 0.0))
    )
    assert not list(measured("x", outcome(forward=("not_exercised", 50.0))))
    assert [(each.rung, each.margin, each.broken) for each in found] == [
        ("data", 1e-6, False),
        ("forward", 50.0, True),
    ]
