"""The table of cases, `tests/cases/cases.toml`, and whether an answer of `check` is right.

A row says what is true of the pair, not which form today's answer has: right is the true verdict,
with its causes, or a refusal or an open verdict whose words name what was not judged. Wrong are a
false verdict, a cause that is not there, a crash, and a refusal that names nothing.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

TABLE = Path(__file__).parent / "cases" / "cases.toml"

Truth = Literal["faithful", "faulty", "noted"]
Group = list[str]
"""Regular expressions, of which one is enough; upper and lower case are the same."""

CLEAN, DIFFERENT, USAGE, INCONCLUSIVE = 0, 1, 2, 6
LONGEST_LINE, MOST_LINES = 1200, 25
"""Of a refusal that can be read."""
PROGRESS = re.compile(r"^(starting|running|training) ")
NAMELESS = ("unknown", "left_out")
"""Causes that say no more than that something differs: neither right nor wrong."""
NOT_FOR_PEOPLE = ("Traceback (most recent call last)", " object at 0x")


class Row(BaseModel):
    """One pair, run once.

    Parameters
    ----------
    truth : {"faithful", "faulty", "noted"}
        What is right in principle; `noted` is a difference that may be noted or may break.
    cause : str
        The one-line cause, or why it is faithful.
    causes : list of groups
        Of a faulty pair: each group is met by what some break tells.
    also : group
        What breaks may tell beside that.
    never : group
        What no break may tell, such as rows that only the plan would hold out, where the original
        brings its own.
    rungs : list of str
        Where the first break may stand; empty is anywhere.
    noted : group
        Of a pair that is `noted`: what a clean answer notes.
    words : group
        What the verdict line of a clean answer says, such as "but for the data".
    judged, open : list of str
        Rungs that a clean answer has looked at, and rungs that it must call not exercised.
    refusal : list of groups
        What a refusal (2) or an open verdict (6) must name; without any, neither is right.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    folder: str = ""
    original: str = "original.py:build"
    port: str = "port.py:Port"
    report: str = ""
    truth: Truth
    cause: str
    causes: list[Group] = []
    also: Group = []
    never: Group = []
    rungs: list[str] = []
    noted: Group = []
    words: Group = []
    judged: list[str] = []
    open: list[str] = []
    refusal: list[Group] = []
    prepare: list[str] = []
    options: list[str] = []
    rows: int | Literal["all"] = 4000
    share: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Row:
        if (self.truth == "faulty") != bool(self.causes):
            raise ValueError(f"{self.name}: causes belong to a faulty pair, and to no other")
        for pattern in chain(
            self.also, self.never, self.noted, self.words, *self.causes, *self.refusal
        ):
            re.compile(pattern)
        return self

    @property
    def place(self) -> str:
        return self.folder or self.name

    @property
    def expected(self) -> str:
        """In words, for the page."""
        told = {
            "faithful": "identical",
            "noted": "noted, or different",
            "faulty": "different: " + " and ".join("/".join(group) for group in self.causes),
        }[self.truth]
        if self.words:
            told += f", saying {'/'.join(self.words)}"
        if self.refusal:
            told += "; or refused, naming " + ", ".join("/".join(group) for group in self.refusal)
        return told


class Table(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: list[Row]


def table() -> list[Row]:
    """All rows, in their order."""
    return Table.model_validate(tomllib.loads(TABLE.read_text(encoding="utf-8"))).row


@dataclass(frozen=True)
class Answer:
    """What the command said."""

    code: int | None
    """None where it did not end in time."""
    out: str
    err: str
    seconds: float = 0.0

    @property
    def document(self) -> Mapping[str, Any]:
        """The outcome as JSON; empty where there is none."""
        found = self._json()
        return found if "verdict" in found else {}

    def _json(self) -> Mapping[str, Any]:
        try:
            found = json.loads(self.out)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def breaks(self) -> list[str]:
        """All that each break tells but its place."""
        return [_told(item) for item in self.document.get("breaks", ())]

    @property
    def said(self) -> str:
        """The words for people, without the lines of progress."""
        lines = [line for line in self.err.splitlines() if not PROGRESS.match(line)]
        found = self.document
        if not found:
            error = self._json().get("error")
            told = str(error["message"]) if isinstance(error, dict) else f"{self.out}"
            return told.strip() if error else "\n".join([*lines, told]).strip()
        rungs = found.get("rungs", {})
        open_rungs = [
            f"{name}: {rung['text']}"
            for name, rung in rungs.items()
            if rung["status"] == "not_exercised"
        ]
        noted = [_of_cause(cause) for cause in found.get("noted", ())]
        told = [str(found.get("text", "")), *found.get("not_exercised", ()), *open_rungs, *noted]
        return "\n".join([*lines, *told]).strip()

    @property
    def short(self) -> str:
        """Code, verdict, and cause or words, for one cell of the page."""
        found = self.document
        if self.code is None:
            return "no end in time"
        if not found:
            return f"{self.code}: {' '.join(self.said.split())[:300]}"
        told = f"{self.code} {found.get('verdict')}"
        names = [
            f"{item['rung']}: `{item['cause']['name']}`" for item in found.get("breaks", ())
        ]  # fmt: skip
        if names:
            return f"{told}: {', '.join(dict.fromkeys(names))}"
        noted = [cause["name"] for cause in found.get("noted", ())]
        text = str(found.get("text", ""))
        return f"{told}: {text}" + (f" Noted: {', '.join(noted)}." if noted else "")


def _of_cause(cause: Mapping[str, Any]) -> str:
    return " ".join(str(cause.get(key) or "") for key in ("name", "value", "text"))


def _told(item: Mapping[str, Any]) -> str:
    return f"{item['rung']} {item.get('tensor') or ''} {_of_cause(item['cause'])}".strip()


def meets(group: Iterable[str], text: str) -> bool:
    """Whether one of the expressions is found."""
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in group)


def faults_of(row: Row, answer: Answer) -> list[str]:
    """What is wrong with an answer; nothing, if it is right."""
    whole = f"{answer.out}\n{answer.err}"
    if answer.code is None:
        return ["no end: it did not answer in time"]
    if any(mark in whole for mark in NOT_FOR_PEOPLE):
        return [f"crash: a traceback or an object's address, exit code {answer.code}"]
    if answer.code in (CLEAN, DIFFERENT) and not answer.document:
        return [f"crash: no JSON document, exit code {answer.code}"]
    if answer.code == CLEAN:
        return _of_clean(row, answer)
    if answer.code == DIFFERENT:
        return _of_different(row, answer)
    if answer.code in (USAGE, INCONCLUSIVE):
        return _of_refusal(row, answer)
    return [f"crash: exit code {answer.code}"]


def _of_clean(row: Row, answer: Answer) -> list[str]:
    found = answer.document
    if row.truth == "faulty":
        return [f"false verdict: {found['verdict']} for a port that is not faithful"]
    wrong = []
    if row.truth == "noted" and not meets(row.noted, answer.said):
        wrong.append("false verdict: clean, and the difference is not noted")
    if row.words and not meets(row.words, str(found["text"])):
        wrong.append(f"not said: the verdict line lacks {'/'.join(row.words)}")
    status = {name: rung["status"] for name, rung in found["rungs"].items()}
    unseen = [name for name in row.judged if status[name] == "not_exercised"]
    if unseen:
        wrong.append(f"not judged: {', '.join(unseen)} not exercised, though both sides have it")
    claimed = [name for name in row.open if status[name] != "not_exercised"]
    if claimed:
        wrong.append(f"not said: {', '.join(claimed)} not called not exercised")
    return wrong


def _of_different(row: Row, answer: Answer) -> list[str]:
    if row.truth == "faithful":
        return ["false verdict: different for a faithful port"]
    told, wrong = answer.breaks, []
    for group in row.causes:
        if not any(meets(group, text) for text in told):
            wrong.append(f"cause: {'/'.join(group)} is not named")
    names = [item["cause"]["name"] for item in answer.document["breaks"]]
    allowed = [*chain(*row.causes), *row.also, *row.noted]
    stray = [
        name
        for name, text in zip(names, told, strict=True)
        if name not in NAMELESS and not meets(allowed, text)
    ]
    if stray:
        wrong.append(f"cause: names what is not there: {', '.join(dict.fromkeys(stray))}")
    untrue = [text for text in told if row.never and meets(row.never, text)]
    if untrue:
        wrong.append(f"cause: tells what is not so: {'; '.join(untrue)}")
    first = answer.document["breaks"][0]["rung"] if names else ""
    if row.rungs and first not in row.rungs:
        wrong.append(f"rung: breaks first at {first}, expected {'/'.join(row.rungs)}")
    return wrong


def _of_refusal(row: Row, answer: Answer) -> list[str]:
    said = answer.said
    how = "refused" if answer.code == USAGE else "inconclusive"
    if not row.refusal:
        return [f"not judged: {how}, though the pair can be judged"]
    missing = ["/".join(group) for group in row.refusal if not meets(group, said)]
    wrong = [f"refusal: {how}, and does not name {', '.join(missing)}"] if missing else []
    lines = said.splitlines()
    if answer.code == USAGE and (
        not said or len(lines) > MOST_LINES or max(map(len, lines)) > LONGEST_LINE
    ):
        wrong.append("refusal: cannot be read")
    return wrong


def kinds(wrong: Sequence[str]) -> list[str]:
    """The words before the colon."""
    return list(dict.fromkeys(text.partition(":")[0] for text in wrong))
