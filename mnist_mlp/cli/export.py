"""`mnist_mlp export`: write a run's network in the file format of another program."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mnist_mlp.cli import options as o


class Format(StrEnum):
    """`.keras` file, `state_dict` with the source of its module, ONNX, or only the weights."""

    keras = "keras"
    torch = "torch"
    onnx = "onnx"
    safetensors = "safetensors"


class Exporter(StrEnum):
    """The framework whose ONNX exporter is used."""

    keras = "keras"
    torch = "torch"


def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    to: Annotated[Format, typer.Option(help="File format.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder [default: RUN/export/<format>, of the best epoch <format>-best]."
        ),
    ] = None,
    exporter: Annotated[
        Exporter | None,
        typer.Option(help="Framework whose ONNX exporter is used [default: the run's own]."),
    ] = None,
    best: o.Best = False,
    data_dir: o.DataDir = None,
    source: o.Source = None,
    mirror: o.Mirror = None,
    verbose: o.Verbose = False,
    json: o.Json = False,
) -> None:
    """Write a run's network for another program, reload it there and check its predictions.

    Example: python -m mnist_mlp export runs/tutorial/keras --to torch
    """
    from mnist_mlp.cli.output import print_json, tell, tell_note, weights_document
    from mnist_mlp.exchange.exporting import export_network
    from mnist_mlp.run.folder import Run
    from mnist_mlp.run.network import Network

    folder = Run(run, complete=False)
    dataset = o.Request(context.params).dataset_of(folder)()
    network = Network(folder, best=best, dataset=lambda: dataset)
    tell_note(network)
    tell(f"exporting {run}, and checking what is written")
    exported = export_network(
        network,
        to.value,
        out=out or run / "export" / (f"{to.value}-best" if best else to.value),
        dataset=dataset,
        exporter=exporter.value if exporter else None,
        verbose=verbose,
    )
    if json:
        print_json(
            {
                "schema_version": 1,
                **weights_document(network),
                "files": [str(file) for file in exported.files],
                "rows": exported.rows,
                "different": exported.different,
                "largest_logit_gap": exported.largest_logit_gap,
            }
        )
        return
    typer.echo(
        f"reloaded in a fresh process: {exported.different} of {exported.rows} test rows predicted "
        f"differently, largest logit gap {exported.largest_logit_gap:.2g}"
    )
    for file in exported.files:
        typer.echo(file)
