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

from mnist_mlp.errors import UsageError

if TYPE_CHECKING:
    from mnist_mlp.run.folder import Run

__all__ = ["default_path", "refuse_foreign", "report_html", "write_report"]

GENERATOR = '<meta name="generator" content="mnist_mlp">'
"""What our pages are known by: it stands in the template's head."""


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


def refuse_foreign(path: Path, *, overwrite: bool) -> None:
    """Refuse to write a page over anything but a page of ours, and over that unless `overwrite`.

    Raises
    ------
    UsageError
        Something else lies there, or a page does and `overwrite` is not set.
    """
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_file() or path.is_symlink():
        raise UsageError(f"--out {path}: is no file; name a file, such as report.html")
    with path.open("rb") as file:
        ours = GENERATOR.encode() in file.read(1000)
    if not ours:
        raise UsageError(f"--out {path}: exists, and is no report of this program; choose another")
    if not overwrite:
        raise UsageError(f"--out {path}: exists; add --overwrite or choose another")


def default_path(runs: Sequence[Run]) -> Path:
    """`RUN/report.html`; of several runs `report.html` here."""
    return runs[0].path / "report.html" if len(runs) == 1 else Path("report.html")
