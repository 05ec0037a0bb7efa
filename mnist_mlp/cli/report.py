"""`mnist_mlp report`: one HTML page about one or several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_mlp.cli import options as o


def report(
    context: typer.Context,
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [RUN ...]", help="Run folders; the others are compared with the first."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File [default: RUN/report.html; of several runs ./report.html]."),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="Result of compare [default: compare.json beside the runs, if any]."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier report in --out.")
    ] = False,
    data_dir: o.DataDir = None,
    source: o.Source = None,
    mirror: o.Mirror = None,
    json: o.Json = False,
) -> None:
    """Make one HTML page of a run, or of several: verdict, reports, curves, ladder, digits, times.

    The data set is needed only for a run that is not finished.

    Example: python -m mnist_mlp report runs/tutorial/keras runs/tutorial/torch
    """
    from mnist_mlp.cli.output import print_json, tell, tell_note, weights_document
    from mnist_mlp.errors import UsageError
    from mnist_mlp.report import default_path, refuse_foreign, write_report
    from mnist_mlp.report.comparison import read_document
    from mnist_mlp.run.folder import Run
    from mnist_mlp.run.network import Network

    if compare is not None and len(runs) == 1:
        raise UsageError("--compare needs the runs that were compared: name at least two")
    folders = [Run(path, complete=False) for path in runs]
    path = out or default_path(folders)
    if path.is_dir():
        raise UsageError(f"--out {path}: is a folder; name a file, such as {path / 'report.html'}")
    # A report at the default place may be replaced. One that the user named with --out may be of
    # other runs, so replacing it needs --overwrite.
    refuse_foreign(path, overwrite=overwrite or out is None)
    document = None if compare is None else read_document(compare)
    request = o.Request(context.params)
    networks = [Network(folder, dataset=request.dataset_of(folder)) for folder in folders]
    for network in networks:
        tell_note(network)
    tell(f"writing {path}")
    size = write_report(networks, out=path, document=document, origin=str(compare))
    if json:
        shown = [{"path": str(one.run.path), **weights_document(one)} for one in networks]
        print_json({"schema_version": 1, "path": str(path), "bytes": size, "runs": shown})
    else:
        typer.echo(path)
