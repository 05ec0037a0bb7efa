"""An outcome as annotations of a GitHub workflow: they show beside the lines of a change.

The format is https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
"""

from __future__ import annotations

from mnist_mlp.parity.outcome import Outcome, break_text
from mnist_mlp.report.places import FilePlace, file_of, noted_text, place_of


def annotated(outcome: Outcome) -> list[str]:
    """One line each: an error for a break, a warning for an open verdict, a notice for what is
    noted."""
    found = [
        _annotation(
            "error", place_of(item, outcome), item.cause.name, break_text(item, outcome.sides)
        )
        for item in outcome.breaks
    ]
    port = file_of(outcome, "b")
    if outcome.verdict == "inconclusive":
        found.append(_annotation("warning", port, "inconclusive", outcome.text))
    found += [_annotation("notice", port, each.name, noted_text(each)) for each in outcome.noted]
    return found


def _annotation(level: str, place: FilePlace, title: str, message: str) -> str:
    values = {"file": place.file.as_posix(), "line": place.line, "title": f"mnist_mlp: {title}"}
    parts = ",".join(f"{k}={_of_property(str(v))}" for k, v in values.items() if v is not None)
    return f"::{level} {parts}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _of_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
