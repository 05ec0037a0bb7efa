"""The report: one self-contained HTML page of one run, or of several compared with the first.

    write_report([Run(Path("runs/tutorial/keras")), Run(Path("runs/tutorial/torch"))],
                 out=Path("report.html"))

The page is read from run folders and a comparison's document alone. It needs no script, loads
nothing, and the same folders give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_mlp.run.folder import Run

__all__ = ["default_path", "report_html", "write_report"]


def report_html(runs: Sequence[Run], *, document: Any = None, origin: str = "") -> str:
    """The page as text.

    Parameters
    ----------
    runs : sequence of Run
        At least one; the others are compared with the first.
    document : JSON value, optional
        What `compare` wrote about these runs. Without it `compare.json` is looked for beside them.
    origin : str
        The file that the document was read from: the page then says that it quotes it. Empty for
        an outcome that has just been made.

    Raises
    ------
    UsageError
        Runs with different numbers of classes, or a document about other runs.
    RunFolderError
        A damaged folder or document.
    """
    from mnist_mlp.report.comparison import pairs_beside, pairs_from
    from mnist_mlp.report.page import render
    from mnist_mlp.report.sides import read_sides

    sides = read_sides(runs)
    pairs = pairs_beside(sides) if document is None else pairs_from(sides, document, origin=origin)
    return render(sides, pairs)


def write_report(runs: Sequence[Run], *, out: Path, document: Any = None, origin: str = "") -> int:
    """Write the page; answers with its size in bytes. Raises as `report_html`, and `SetupError`."""
    from mnist_mlp.run.files import write_atomically

    content = report_html(runs, document=document, origin=origin).encode(errors="replace")
    write_atomically(out, content)
    return len(content)


def default_path(runs: Sequence[Run]) -> Path:
    """`RUN/report.html`; of several runs `report.html` here."""
    return runs[0].path / "report.html" if len(runs) == 1 else Path("report.html")
