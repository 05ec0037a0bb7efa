"""A share of the table of scripts; `make faults` runs all of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import blocks
from script_table import (
    SCRIPTS,
    Place,
    ScriptEntry,
    changed,
    judge_scripts,
    place_for_scripts,
    script_entries,
)

ENTRIES = script_entries()
SHARE = [entry for entry in ENTRIES if entry.expected.get("share")]
README = Path(__file__).parent.parent.parent / "README.md"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with place_for_scripts() as found:
        yield found


@pytest.mark.parametrize("entry", SHARE, ids=lambda entry: entry.name)
def test_check_says_what_it_must(entry: ScriptEntry, place: Place) -> None:
    result = judge_scripts(entry, place)
    assert not result.faults, (result.faults, result.text)
    if entry.name == "sgd/uncleared":
        _as_the_readme_shows(result.text)


def _as_the_readme_shows(text: str) -> None:
    shown = next(
        block
        for block in blocks(README.read_text(encoding="utf-8"), "console")
        if "train_torch.py" in block.splitlines()[0]
    )
    lines = [line.strip() for line in shown.splitlines()[2:] if line != "..."]
    assert len(lines) == 2
    assert lines[0] in text
    assert lines[1].removeprefix("cure:").strip() in text


def test_the_table_is_whole() -> None:
    """Every script is in use, half of the pairs have faults, and each change changes something."""
    used = {str(entry.expected[key]) for entry in ENTRIES for key in ("original", "port")}
    assert used == {path.name for path in SCRIPTS.iterdir() if path.suffix in (".py", ".ipynb")}
    assert len(ENTRIES) >= 16
    assert sum(bool(entry.causes) for entry in ENTRIES) >= 8
    for entry in ENTRIES:
        text = (SCRIPTS / entry.expected["port"]).read_text(encoding="utf-8")
        changes = entry.expected.get("change_port", ())
        assert (changed(text, changes) != text) == bool(changes)
        ast.parse(changed(text, changes))
    with pytest.raises(AssertionError, match="is not in the script"):
        changed("x = 1", [["y", "z"]])
