"""A share of the fault table and of the honest pairs; `make faults` runs them all."""

from __future__ import annotations

import pytest
from clean_pairs import SETTINGS, pairs, spec_of
from fault_table import FAULTS, Entry, entries, judge

from mnist_mlp.data import Dataset

SHARE = entries()[5::32]
"""Not picked: every thirty-second."""


def test_the_tables_are_whole() -> None:
    """Each file has an entry and each entry a file; at least five faults have no hypothesis."""
    files = {f"{path.parent.name}/{path.name}" for path in FAULTS.glob("*/*.py")}
    assert {entry.number for entry in entries()} == files
    causes = [entry.expected.get("cause") for entry in entries()]
    assert causes.count("unknown") >= 5
    assert len({entry.number for entry in SHARE}) >= 7


def test_every_classic_fault_is_there() -> None:
    """F01 to F24, the classic ones."""
    named = {str(entry.expected["what"])[:3] for entry in entries()}
    assert {f"F{number:02}" for number in range(1, 25)} <= named


@pytest.mark.parametrize("entry", SHARE, ids=lambda entry: entry.number)
def test_check_says_what_it_must(entry: Entry, mnist: Dataset) -> None:
    judged = judge(entry, mnist)
    assert judged.good, judged.row


@pytest.mark.long
def test_honest_pairs_pass(mnist: Dataset) -> None:
    for pair in pairs("adam, decay and clip", 4, mnist, backends=("keras", "torch")):
        assert pair.good, pair.row


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_specifications(name: str) -> None:
    assert spec_of(name, 1).data.rows == 6000
