"""The figures of one run, each as SVG and PNG."""

from __future__ import annotations

from threading import Lock

from mnist_mlp.evaluate.evidence import Evidence
from mnist_mlp.evaluate.figures import canvas, confusion, curves, mistakes, weights

_DRAWING = Lock()
"""The style is a setting of the whole process."""


def figure_files(evidence: Evidence) -> dict[str, bytes]:
    """Draw every figure: content by relative file name, `figures/NAME.svg` and `figures/NAME.png`.

    The curves are left out when the run has no history.
    """
    draws = {
        "curves": curves.draw,
        "confusion": confusion.draw,
        "mistakes": mistakes.draw,
        "weights": weights.draw,
    }
    if len(evidence.history) == 0:
        del draws["curves"]
    files = {}
    with _DRAWING, canvas.house_style():
        for name, draw in draws.items():
            figure = draw(evidence)
            for kind in ("svg", "png"):
                files[f"figures/{name}.{kind}"] = canvas.to_bytes(figure, kind=kind)
    return files
