"""What `compare.json` says of the runs of a report: read, checked, and matched with them.

It names its sides by label and path only, and a folder may have been moved or trained anew since.
So a comparison is taken for the report's own when labels and folder names agree, and refused when
the folders themselves speak against it: their predictions, reports, digests and specifications are
looked at anew. What only a replay shows is quoted, and the page says from which file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mnist_mlp.errors import RunFolderError, UsageError
from mnist_mlp.evaluate.report import report_text
from mnist_mlp.parity.outcome import SCHEMA_VERSION, NamedSide, Outcome, Predictions, Verdict
from mnist_mlp.report.sides import ShownRun
from mnist_mlp.run.guarded import read_json
from mnist_mlp.run.tensors import tensors_digest


@dataclass(frozen=True)
class Pair:
    """The first run and another one, with what a comparison says of them, or why it says nothing.

    `names` holds the report's labels of the comparison's sides. `origin` names the file that the
    comparison is quoted from; it is empty for one that has just been made.
    """

    a: ShownRun
    b: ShownRun
    comparison: Outcome | None = None
    problem: str = ""
    origin: str = ""

    @property
    def names(self) -> Mapping[str, str]:
        """Sides `a` and `b` of the comparison by the report's labels."""
        if self.comparison is None or _is(self.comparison.sides["a"], self.a):
            return {"a": self.a.label, "b": self.b.label}
        return {"a": self.b.label, "b": self.a.label}


def pairs_from(sides: Sequence[ShownRun], document: Any, *, origin: str = "") -> tuple[Pair, ...]:
    """Match a document that was given for these runs; `origin` is the file that it was read from.

    Raises
    ------
    RunFolderError
        It is no comparison, or it was made before one of the runs was trained anew.
    UsageError
        It compares other runs.
    """
    name = origin or "the comparison"
    comparisons = _parse(document, origin=name)
    pairs = tuple(
        replace(_matched(sides[0], other, comparisons), origin=origin) for other in sides[1:]
    )
    for pair in pairs:
        if pair.problem:
            raise RunFolderError(f"{name}: {pair.problem}")
    if all(pair.comparison is None for pair in pairs):
        named = ", ".join(f"{c.sides['a'].path} with {c.sides['b'].path}" for c in comparisons)
        raise UsageError(f"{name} compares {named}, and not these runs")
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
        if pair.comparison is None:
            pairs.append(replace(pair, problem=text if pair.problem else problem))
        else:
            pairs.append(replace(pair, origin="the compare.json beside the runs"))
    return tuple(pairs)


def read_document(path: Path) -> Any:
    """A JSON file that a user names; `RunFolderError` when it is none."""
    return read_json(path, follow=True)


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
    problem = _contradicted(fitting[0], a, b)
    return Pair(a, b, problem=problem) if problem else Pair(a, b, fitting[0])


def _contradicted(outcome: Outcome, a: ShownRun, b: ShownRun) -> str:
    """In what the two folders refute a comparison of them; empty where they bear it out.

    A page must not say more than its folders do. What the folders themselves show is looked up
    anew; what only a replay shows, the page quotes.
    """
    counted = outcome.predictions
    if a.same_rows(b):
        held = Predictions(total=len(a.predicted), different=a.flipped(b))
        if held != counted:
            return (
                f"it tells of {counted.different} differing predictions of {counted.total}, "
                f"the folders hold {held.different} of {held.total}; compare the runs again"
            )
        equal = report_text(a.evidence) == report_text(b.evidence)
        if outcome.report_identical is not None and outcome.report_identical != equal:
            word = {True: "equal", False: "different"}
            return (
                f"it calls the reports {word[outcome.report_identical]}, the folders' are "
                f"{word[equal]}; compare the runs again"
            )
    if outcome.verdict not in ("identical", "equivalent"):
        return ""
    against = _against_agreement(a, b, verdict=outcome.verdict)
    if outcome.breaks or any(rung.status == "broken" for rung in outcome.rungs):
        against = "it tells of a break itself"
    return f"it says {outcome.verdict}, but {against}; compare the runs again" if against else ""


def _against_agreement(a: ShownRun, b: ShownRun, *, verdict: Verdict) -> str:
    """What in the folders rules out that two runs are the same one."""
    left, right = (side.spec.model_dump(exclude={"name"}) for side in (a, b))
    if left != right:
        return "the specifications differ"
    if a.run.dataset.sha256 != b.run.dataset.sha256:
        return "the data sets differ"
    if not a.same_rows(b):
        return "the runs were tested on different rows"
    if verdict == "identical" and a.flipped(b):
        return f"{a.flipped(b):,} predictions differ"
    if len(a.run.history) != len(b.run.history):
        return f"the histories have {len(a.run.history)} and {len(b.run.history)} epochs"
    for side in (a, b):
        if side.run.report_text != report_text(side.evidence):
            return f"report.txt of {side.label} is not what its predictions give"
        rows = side.run.history
        if rows and rows[-1].weights_sha256 != tensors_digest(side.run.weights):
            return f"the weights of {side.label} are not those that its history ends with"
    return ""


def _is(named: NamedSide, side: ShownRun) -> bool:
    return (
        named.label == side.run.label
        and Path(named.path).resolve().name == side.run.path.resolve().name
    )
