"""`mnist_mlp evaluate`: write the report and the figures of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_mlp.cli import options as o


def evaluate(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    best: o.Best = False,
    data_dir: o.DataDir = None,
    source: o.Source = None,
    mirror: o.Mirror = None,
    json: o.Json = False,
) -> None:
    """Write a run's report and figures again; with --best those of its best epoch, in RUN/best.

    The data set is needed only for --best and for a run that is not finished.

    Example: python -m mnist_mlp evaluate runs/tutorial/keras
    """
    from mnist_mlp.cli.output import network_summary, print_json, tell, tell_note, weights_document
    from mnist_mlp.run.evaluation import evaluate_network
    from mnist_mlp.run.folder import Run
    from mnist_mlp.run.network import Network

    folder = Run(run, complete=False)
    network = Network(folder, best=best, dataset=o.Request(context.params).dataset_of(folder))
    tell_note(network)
    tell(f"evaluating {run}")
    out = evaluate_network(network)
    if json:
        import json as reader

        print_json(
            {
                "schema_version": 1,
                "path": str(run),
                **weights_document(network),
                **reader.loads((out / "report.json").read_text(encoding="utf-8")),
            }
        )
    else:
        report = (out / "report.txt").read_text(encoding="utf-8")
        typer.echo(network_summary(network, report))
        typer.echo(out)
