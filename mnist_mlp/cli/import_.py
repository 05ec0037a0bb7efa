"""`mnist_mlp import`: make a run folder from the weights of another program."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mnist_mlp.cli import options as o


class Layout(StrEnum):
    """Shape of a layer's matrix: Keras (inputs, units), torch (units, inputs)."""

    keras = "keras"
    torch = "torch"


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .safetensors or .npz file.")],
    layout: Annotated[Layout, typer.Option(help="Shape of matrices: keras is (inputs, units).")],
    out: Annotated[Path, typer.Option(help="The run folder.")],
    config: o.Config = None,
    assignments: o.Assignments = [],  # noqa: B006 - Typer's way; never changed
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    learning_rate: o.LearningRate = None,
    seed: o.Seed = None,
    precision: o.PrecisionOption = None,
    dataset: o.DatasetOption = None,
    data_dir: o.DataDir = None,
    source: o.Source = None,
    mirror: o.Mirror = None,
    overwrite: o.Overwrite = False,
    json: o.Json = False,
) -> None:
    """Read weights (never pickles) and write a run folder without history.

    Example: python -m mnist_mlp import model.safetensors --layout torch --out runs/theirs
    """
    from mnist_mlp.cli.output import print_json, summary, tell
    from mnist_mlp.exchange.importing import import_weights

    request = o.Request(context.params)
    spec = request.resolve().spec
    tell(f"reading {file}")
    run = import_weights(
        file,
        layout=layout.value,
        spec=spec,
        dataset=request.load_dataset(spec.data.dataset),
        out=out,
        overwrite=overwrite,
    )
    if json:
        print_json({**run.record.document(), "path": str(run.path)})
    else:
        typer.echo(summary(run))
        typer.echo(run.path)
