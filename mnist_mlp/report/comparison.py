"""Read `compare.json`, check it, and match it with the runs of a report.

The file names its sides only by label and path, and a folder may have been moved or trained again
since. So a comparison is used if labels and folder names agree. It is refused if the folders
contradict it: their predictions, reports, digests and specifications are checked again. Results
that only a replay can show are quoted, and the page names the file that they come from.
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
from mnist_mlp.readers.regular import Origin
from mnist_mlp.readers.texts import read_json
from mnist_mlp.report.sides import ShownRun
from mnist_mlp.report.words import listed
from mnist_mlp.run.tensors import tensors_digest


@dataclass(frozen=True)
class Pair:
    """The first run and another one, with their comparison, or the reason why there is none.

    `names` maps the sides of the comparison to the labels in the report. `origin` names the file
    that the comparison is quoted from; it is empty for one that has just been computed.
    """

    a: ShownRun
    b: ShownRun
    comparison: Outcome | None = None
    problem: str = ""
    origin: str = ""

    @property
    def names(self) -> Mapping[str, str]:
        """The labels in the report for the sides `a` and `b` of the comparison."""
        if self.comparison is None or _is(self.comparison.sides["a"], self.a):
            return {"a": self.a.label, "b": self.b.label}
        return {"a": self.b.label, "b": self.a.label}


def pairs_from(sides: Sequence[ShownRun], document: Any, *, origin: str = "") -> tuple[Pair, ...]:
    """Match a given document with these runs; `origin` is the file that it was read from.

    Raises
    ------
    RunFolderError
        It is not a comparison, or it was made before one of the runs was trained again.
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
        raise UsageError(f"{name} compares {named}, and not these runs; compare these runs")
    return pairs


def pairs_beside(sides: Sequence[ShownRun]) -> tuple[Pair, ...]:
    """Use `compare.json` beside the runs. If one does not fit, its pair gets a `problem`."""
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
        if unfinished := [side.label for side in (pair.a, pair.b) if not side.run.is_complete]:
            text = f"That needs complete runs: finish {listed(unfinished)} first."
            pairs.append(Pair(pair.a, pair.b, problem=text))
            continue
        text = f"The compare.json beside the runs is not used: {pair.problem}."
        if pair.comparison is None:
            pairs.append(replace(pair, problem=text if pair.problem else problem))
        else:
            pairs.append(replace(pair, origin="the compare.json beside the runs"))
    return tuple(pairs)


def read_document(path: Path) -> Any:
    """Read a JSON file named by the user.

    Raises
    ------
    RunFolderError
        The file cannot be read, or is not JSON.
    """
    return read_json(path, Origin(RunFolderError))


def _parse(document: Any, *, origin: str) -> list[Outcome]:
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise RunFolderError(f"{origin}: not a comparison of schema_version {SCHEMA_VERSION}")
    parts = document.get("comparisons", [document])
    if not isinstance(parts, list):
        raise RunFolderError(f"{origin}: comparisons is not a list; compare the runs again")
    outcomes = []
    for number, part in enumerate(parts):
        where = f"comparisons.{number}." if "comparisons" in document else ""
        try:
            outcomes.append(Outcome.model_validate(part))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            # In JSON the fields of a place are fields of the break itself.
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
    for side in (a, b):
        if not side.run.is_complete:
            problem = f"it was made before {side.label} was trained again, which is not finished"
            return Pair(a, b, problem=problem)
    problem = _contradicted(fitting[0], a, b)
    return Pair(a, b, problem=problem) if problem else Pair(a, b, fitting[0])


def _contradicted(outcome: Outcome, a: ShownRun, b: ShownRun) -> str:
    """How the two folders contradict a comparison of them; empty if they do not.

    A page must not claim more than its folders show. So everything that the folders can show is
    checked again. Results that only a replay can show are quoted.
    """
    counted = outcome.predictions
    if a.same_rows(b):
        held = Predictions(total=len(a.predicted), different=a.flipped(b))
        if held != counted:
            return (
                f"it reports {counted.different} differing predictions of {counted.total}, but "
                f"in the folders {held.different} of {held.total} differ; compare the runs again"
            )
        equal = report_text(a.evidence) == report_text(b.evidence)
        if outcome.report_identical is not None and outcome.report_identical != equal:
            word = {True: "equal", False: "different"}
            return (
                f"it says the reports are {word[outcome.report_identical]}, but those in the "
                f"folders are {word[equal]}; compare the runs again"
            )
    if outcome.verdict not in ("identical", "equivalent"):
        return ""
    against = _against_agreement(a, b, verdict=outcome.verdict)
    if outcome.breaks or any(rung.status == "broken" for rung in outcome.rungs):
        against = "it lists a break"
    return f"it says {outcome.verdict}, but {against}; compare the runs again" if against else ""


def _against_agreement(a: ShownRun, b: ShownRun, *, verdict: Verdict) -> str:
    """Why the folders rule out that the runs agree; empty if nothing in them does."""
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
            return f"report.txt of {side.label} does not follow from its predictions"
        rows = side.run.history
        if rows and rows[-1].weights_sha256 != tensors_digest(side.run.weights):
            return f"the weights of {side.label} are not those at the end of its history"
    return ""


def _is(named: NamedSide, side: ShownRun) -> bool:
    return (
        named.label == side.run.label
        and Path(named.path).resolve().name == side.run.path.resolve().name
    )
