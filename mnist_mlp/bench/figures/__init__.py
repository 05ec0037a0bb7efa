"""The figure of a sitting, made from its file alone. The same file gives the same bytes."""

from __future__ import annotations

from mnist_mlp.bench.figures import answers, cases, profile, scale
from mnist_mlp.bench.record import Document
from mnist_mlp.evaluate.figures import canvas


def figure_files(document: Document) -> dict[str, bytes]:
    """Content of `bench.svg` and `bench.png` by name; empty if nothing was measured."""
    drawn = {
        "cases": cases,
        "threads": cases,
        "scale": scale,
        "profile": profile,
        "answers": answers,
    }
    with canvas.house_style():
        figure = drawn[document.kind].draw(document)
        if figure is None:
            return {}
        return {f"bench.{kind}": canvas.to_bytes(figure, kind=kind) for kind in ("svg", "png")}
