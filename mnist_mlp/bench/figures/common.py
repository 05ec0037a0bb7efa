"""What the figures of a sitting share."""

from __future__ import annotations

from mnist_mlp.bench.record import Document
from mnist_mlp.evaluate.figures import canvas

COLOURS = (canvas.BLUE, "#56b4e9", "#009e73", "#e69f00", canvas.VERMILLION, "#cc79a7", "#000000")
"""Okabe and Ito's palette (safe for colour-blind readers), for the parts of a bar."""

LINES = (canvas.BLUE, canvas.VERMILLION, "#009e73", "#cc79a7", "#e69f00", "#000000", "#56b4e9")
"""The same palette for lines, ordered so that the first colours differ most."""


def heading(document: Document) -> str:
    """Machine, cores and day."""
    machine = document.environment
    return f"{machine.get('processor')}, {machine.get('cores')} cores, {document.started[:10]}"
