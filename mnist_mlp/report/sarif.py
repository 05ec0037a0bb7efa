"""An outcome as SARIF 2.1.0, which code scanning and editors read.

The format is https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import quote

from mnist_mlp.parity.causes.catalogue import Entry, catalogue
from mnist_mlp.parity.outcome import Outcome, break_text
from mnist_mlp.report.places import FilePlace, file_of, noted_text, place_of, place_of_line

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

NAME = "mnist_mlp"
"""Of the tool. It stands near the beginning of the file, which is known by it."""

OPEN = "inconclusive"
"""The rule of a verdict that is left open."""


def sarif(outcome: Outcome) -> dict[str, Any]:
    """One run: a rule for each cause of the catalogue, a result for each break and noted cause."""
    rules = [_rule(entry) for entry in catalogue().values()]
    rules.append(
        {
            "id": OPEN,
            "shortDescription": _message(
                "It is not known whether the port trains as its original."
            ),
            "defaultConfiguration": {"level": "warning"},
        }
    )
    numbers = {rule["id"]: number for number, rule in enumerate(rules)}
    port = file_of(outcome, "b")
    results = []
    for item in outcome.breaks:
        line, theirs = item.lines.get("b"), item.lines.get("a")
        where = _location(place_of(item, outcome), text=line.text if line else "")
        found = _result(item.cause.name, "error", break_text(item, outcome.sides), where)
        if theirs is not None:
            related = _location(place_of_line(theirs), text=theirs.text)
            found["relatedLocations"] = [{**related, "id": 0, "message": _message("the original")}]
        results.append(found)
    if outcome.verdict == OPEN:
        results.append(_result(OPEN, "warning", outcome.text, _location(port)))
    for cause in outcome.noted:
        results.append(_result(cause.name, "note", noted_text(cause), _location(port)))
    for found in results:
        if found["ruleId"] in numbers:  # a document of a later version may have other causes
            found["ruleIndex"] = numbers[found["ruleId"]]
    driver = {"name": NAME, "rules": rules, **_version()}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "exitCode": outcome.exit_code}],
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _version() -> dict[str, str]:
    try:
        return {"version": version("mnist-mlp")}
    except PackageNotFoundError:  # run from its folder, without being installed
        return {}


def _rule(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.name,
        "shortDescription": _message(entry.title),
        "fullDescription": _message(f"Keras: {entry.keras} torch: {entry.torch}"),
        "help": _message(f"In Keras: {entry.fix_keras}\nIn torch: {entry.fix_torch}"),
        "defaultConfiguration": {"level": "error"},
    }


def _message(text: str) -> dict[str, str]:
    """A plain text message.

    In one, `{0}` is a placeholder, so that braces are doubled, and `[text](target)` is a link: code
    such as `layers[0](x)` must not become one.
    """
    return {"text": text.replace("{", "{{").replace("}", "}}").replace("](", "] (")}


def _result(rule: str, level: str, text: str, location: dict[str, Any]) -> dict[str, Any]:
    return {
        "ruleId": rule,
        "level": level,
        "message": _message(text),
        "locations": [location],
    }


def _location(place: FilePlace, *, text: str = "") -> dict[str, Any]:
    # A path below the working directory stays relative: code scanning looks for it in the checkout.
    uri = quote(place.file.as_posix()) if place.inside else place.file.as_uri()
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if place.line is not None:
        physical["region"] = {"startLine": place.line}
        if text:
            physical["region"]["snippet"] = {"text": text}
    return {"physicalLocation": physical}
