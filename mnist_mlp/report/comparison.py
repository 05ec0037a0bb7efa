"""What `compare.json` says of the runs of a report: read, checked, and matched with them.

It names its sides by label and path only, and a folder may have been moved or trained anew since.
So a comparison is taken for the report's own when labels and folder names agree, and refused when
it counts other predictions than the folders hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mnist_mlp.errors import RunFolderError, UsageError
from mnist_mlp.parity.outcome import SCHEMA_VERSION, NamedSide, Outcome, Predictions
from mnist_mlp.report.sides import ShownRun


@dataclass(frozen=True)
class Pair:
    """The first run and another one, with what a comparison says of them, or why it says nothing.

    `names` holds the report's labels of the comparison's sides.
    """

    a: ShownRun
    b: ShownRun
    comparison: Outcome | None = None
    problem: str = ""

    @property
    def names(self) -> Mapping[str, str]:
        """Sides `a` and `b` of the comparison by the report's labels."""
        if self.comparison is None or _is(self.comparison.sides["a"], self.a):
            return {"a": self.a.label, "b": self.b.label}
        return {"a": self.b.label, "b": self.a.label}


def pairs_from(sides: Sequence[ShownRun], document: Any, *, origin: str) -> tuple[Pair, ...]:
    """Match a document that was given for these runs.

    Raises
    ------
    RunFolderError
        It is no comparison, or it was made before one of the runs was trained anew.
    UsageError
        It compares other runs.
    """
    comparisons = _parse(document, origin=origin)
    pairs = tuple(_matched(sides[0], other, comparisons) for other in sides[1:])
    for pair in pairs:
        if pair.problem:
            raise RunFolderError(f"{origin}: {pair.problem}")
    if all(pair.comparison is None for pair in pairs):
        named = ", ".join(f"{c.sides['a'].path} with {c.sides['b'].path}" for c in comparisons)
        raise UsageError(f"{origin} compares {named}, and not these runs")
    return pairs


def pairs_beside(sides: Sequence[ShownRun]) -> tuple[Pair, ...]:
    """Look for `compare.json` beside the runs; one that does not fit becomes a `problem`."""
    found: list[Outcome] = []
    problem = ""
    for folder in dict.fromkeys(side.run.path.resolve().parent for side in sides):
        path = folder / "compare.json"
        try:
            if path.is_file():
                found += _parse(read_document(path), origin=path.name)
        except RunFolderError as error:
            problem = f"The compare.json beside the runs is not used: {error}."
    pairs = []
    for other in sides[1:]:
        pair = _matched(sides[0], other, found)
        text = f"The compare.json beside the runs is not used: {pair.problem}."
        pairs.append(
            Pair(pair.a, pair.b, pair.comparison, text if pair.problem else problem)
            if pair.comparison is None
            else pair
        )
    return tuple(pairs)


def read_document(path: Path) -> Any:
    """A JSON file; `RunFolderError` when it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunFolderError(f"{path}: not readable JSON: {error}") from None


def _parse(document: Any, *, origin: str) -> list[Outcome]:
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise RunFolderError(f"{origin}: not a comparison of schema_version {SCHEMA_VERSION}")
    parts = document.get("comparisons", [document])
    if not isinstance(parts, list):
        raise RunFolderError(f"{origin}: comparisons is no list; compare the runs again")
    outcomes = []
    for number, part in enumerate(parts):
        where = f"comparisons.{number}." if "comparisons" in document else ""
        try:
            outcomes.append(Outcome.model_validate(part))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            # In JSON the fields of a place stand in the break itself.
            field = where + ".".join(str(part) for part in problem["loc"] if part != "place")
            message = f"{field.strip('.') or 'the document'}: {problem['msg']}"
            raise RunFolderError(f"{origin}: {message}; compare the runs again") from None
    return outcomes


def _matched(a: ShownRun, b: ShownRun, comparisons: Sequence[Outcome]) -> Pair:
    fitting = [
        c
        for c in comparisons
        if (_is(c.sides["a"], a) and _is(c.sides["b"], b))
        or (_is(c.sides["a"], b) and _is(c.sides["b"], a))
    ]
    if not fitting:
        return Pair(a, b)
    counted = fitting[0].predictions
    if a.same_rows(b):
        held = Predictions(total=len(a.predicted), different=a.flipped(b))
        if held != counted:
            return Pair(
                a,
                b,
                problem=f"it tells of {counted.different} differing predictions of "
                f"{counted.total}, the folders hold {held.different} of {held.total}; "
                f"compare the runs again",
            )
    return Pair(a, b, fitting[0])


def _is(named: NamedSide, side: ShownRun) -> bool:
    return (
        named.label == side.run.label
        and Path(named.path).resolve().name == side.run.path.resolve().name
    )
