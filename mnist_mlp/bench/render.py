"""Show a sitting of any kind as text, data and figure. Nothing is measured here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnist_mlp.bench import profile, results, scale, targets
from mnist_mlp.bench.record import Document
from mnist_mlp.run.files import write_atomically


def as_text(document: Document) -> str:
    """The table of results, and the targets if peers were timed."""
    if document.kind == "scale":
        return scale.as_text(document)
    if document.kind == "profile":
        return profile.as_text(document)
    parts = [results.table(document)]
    if has_peers(document):
        parts.append(targets.as_text(targets.judge(document)))
    return "\n\n".join(parts)


def as_data(document: Document) -> dict[str, Any]:
    """The content of the file, and the results derived from it."""
    derived = results.results(document)
    if document.kind == "scale":
        derived["series"] = [asdict(line) for line in scale.series(document)]
    if document.kind == "profile":
        derived["profiles"] = [asdict(each) for each in profile.profiles(document)]
    if has_peers(document):
        derived["targets"] = targets.as_data(targets.judge(document))
    return {**document.as_json(), "results": derived}


def write_figures(document: Document, folder: Path) -> list[Path]:
    """Write `bench.svg` and `bench.png`, if anything was measured; returns their paths."""
    from mnist_mlp.bench.figures import figure_files

    written = []
    for name, content in figure_files(document).items():
        write_atomically(folder / name, content)
        written.append(folder / name)
    return written


def has_peers(document: Document) -> bool:
    """Whether the scripts of `examples/` were timed."""
    return any(case.kind == "peer" for case in document.cases)
