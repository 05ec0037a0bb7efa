"""`mnist_mlp evaluate`: write the report and the figures of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_mlp.cli import options as o


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    json: o.Json = False,
) -> None:
    """Write a run's report and figures again, using only its folder.

    Example: python -m mnist_mlp evaluate runs/tutorial/keras
    """
    from mnist_mlp.cli.output import print_json, summary
    from mnist_mlp.run.evaluation import write_evaluation
    from mnist_mlp.run.folder import Run

    folder = Run(run)
    write_evaluation(folder)
    if json:
        import json as reader

        print_json(
            {
                "schema_version": 1,
                "path": str(run),
                **reader.loads((run / "report.json").read_text(encoding="utf-8")),
            }
        )
    else:
        typer.echo(summary(folder))
        typer.echo(run)
