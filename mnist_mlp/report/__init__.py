"""The report: one self-contained HTML page of one run, or of several compared with the first.

    write_report([Run(Path("runs/tutorial/keras")), Run(Path("runs/tutorial/torch"))],
                 out=Path("report.html"))

The page is made only from run folders and the document of a comparison. It needs no script and
loads nothing, and the same folders give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_mlp.errors import UsageError

if TYPE_CHECKING:
    from mnist_mlp.run.folder import Run
    from mnist_mlp.run.network import Network

__all__ = ["default_path", "refuse_foreign", "report_html", "write_report"]

GENERATOR = '<meta name="generator" content="mnist_mlp">'
"""The line in the head of the template by which our pages are recognised."""


def report_html(runs: Sequence[Run | Network], *, document: Any = None, origin: str = "") -> str:
    """The page as text.

    Parameters
    ----------
    runs : sequence of Run or Network
        At least one; the others are compared with the first. For an unfinished run, give its
        `Network` together with its data set.
    document : JSON value, optional
        The document of `compare` for these runs. By default, `compare.json` beside the runs is used
        if there is one.
    origin : str
        The file that the document was read from; the page then says that it quotes this file. Empty
        for an outcome that has just been computed.

    Raises
    ------
    UsageError
        Runs with different numbers of classes, or a document about other runs.
    RunFolderError
        A damaged folder or document, or a document about a run that is unfinished.
    """
    from mnist_mlp.report.comparison import pairs_beside, pairs_from
    from mnist_mlp.report.page import render
    from mnist_mlp.report.sides import read_sides

    sides = read_sides(runs)
    pairs = pairs_beside(sides) if document is None else pairs_from(sides, document, origin=origin)
    return render(sides, pairs)


def write_report(
    runs: Sequence[Run | Network], *, out: Path, document: Any = None, origin: str = ""
) -> int:
    """Write the page; returns its size in bytes. Raises as `report_html`, and `SetupError`."""
    from mnist_mlp.run.files import write_atomically

    # A path may hold bytes that are no UTF-8, which Python keeps as surrogates.
    content = report_html(runs, document=document, origin=origin).encode(errors="replace")
    write_atomically(out, content)
    return len(content)


def refuse_foreign(
    path: Path,
    *,
    overwrite: bool,
    mark: str = GENERATOR,
    option: str = "--out",
    what: str = "report",
) -> None:
    """Make sure that only a file of ours is overwritten, and only if `overwrite` is set.

    Ours has a `mark` in its first 1,000 bytes. `option` and `what` are for the error.

    Raises
    ------
    UsageError
        The path is something else, or it is a file of ours and `overwrite` is not set.
    """
    from mnist_mlp.readers.regular import Origin, read_start

    if not path.exists() and not path.is_symlink():
        return
    if not path.is_file() or path.is_symlink():
        raise UsageError(f"{option} {path}: is not a file; name a file for the {what}")
    if mark.encode() not in read_start(path, Origin(UsageError), 1000):
        raise UsageError(
            f"{option} {path}: exists and is not a {what} of this program; choose another file"
        )
    if not overwrite:
        raise UsageError(f"{option} {path}: exists; add --overwrite or choose another file")


def default_path(runs: Sequence[Run]) -> Path:
    """`RUN/report.html` for one run, `report.html` in the current folder for several."""
    return runs[0].path / "report.html" if len(runs) == 1 else Path("report.html")
