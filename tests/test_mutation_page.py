"""The page about mutants: what counts as killed, and which reason a survivor gets."""

from __future__ import annotations

import re

import pytest
from mutation import WORDS, Mutant, page, reason_of

REASONS = {"plan.split": {"dtype=None": "It is the default.", "n_splits": "The first is taken."}}


def survivor(before: str, after: str, function: str = "split") -> Mutant:
    return Mutant("plan", function, "survived", before, after)


@pytest.mark.parametrize(
    ("before", "after", "only_words"),
    [
        ('raise E("Get it again.")', 'raise E("XXGet it again.XX")', True),
        ('raise E("Get it again.")', 'raise E("get it again.")', True),
        ('raise E("Get it again.")', "raise E(None)", False),
        ('x["key"]', 'x["XXkeyXX"]', False),  # no words: a name
        ('x["key"]', 'x["KEY"]', False),
        ('say("a text", n + 1)', 'say("a text", n - 1)', False),
        ('say("a text", True)', 'say("A TEXT", true)', False),
    ],
)
def test_only_words(before: str, after: str, only_words: bool) -> None:
    assert survivor(before, after).only_words is only_words


def test_a_reason_belongs_to_its_function_and_line() -> None:
    assert reason_of(survivor("f(dtype=int)", "f(dtype=None)"), REASONS) == "It is the default."
    assert reason_of(survivor("f(n_splits=1)", "f()"), REASONS) == "The first is taken."
    assert reason_of(survivor("f(dtype=int)", "f(dtype=None)", "other"), REASONS) == ""
    assert reason_of(survivor("a < b", "a <= b"), REASONS) == ""
    assert reason_of(survivor('E("two words")', 'E("TWO WORDS")'), REASONS) == WORDS


def test_the_page() -> None:
    mutants = [
        Mutant("plan", "split", "killed"),
        Mutant("plan", "split", "timeout"),
        Mutant("spec", "parse", "not checked"),
        survivor("f(n_splits=1)", "f()"),
        Mutant("plan", "order", "no tests", "a | b", "a & b"),
    ]
    text = page(mutants, REASONS, when="on 2026-01-01")
    assert "Written by `make mutation` on 2026-01-01." in text
    assert "| `plan` | 4 | 2 | 2 | 50 % |" in text
    assert "| `spec` | 1 | not run | | |" in text
    assert "| all | 4 (1 not run) | 2 | 2 | 50 % |" in text
    assert "| The first is taken. | 1 | `plan.split` |" in text
    open_ones = text.split("nobody has looked at yet")[1]
    assert re.findall(r"^\| `([\w.]+)` \| (\d+)", open_ones, flags=re.MULTILINE) == [
        ("plan.order", "1")
    ]
    assert "`` a \\| b `` becomes `` a & b ``" in open_ones
    assert "nobody has looked at" not in page(mutants[:4], REASONS, when="")
