"""`mnist_mlp data`: the data set that a run here would use."""

from __future__ import annotations

import typer

from mnist_mlp.cli import options as o


def data(
    context: typer.Context,
    dataset: o.DatasetOption = None,
    data_dir: o.DataDir = None,
    source: o.Source = None,
    mirror: o.Mirror = None,
    json: o.Json = False,
) -> None:
    """Show the data set that a run here would use: source, digest, shapes, counts, some digits.

    Example: python -m mnist_mlp data --dataset digits
    """
    import numpy as np

    from mnist_mlp.cli.output import print_json, sketch
    from mnist_mlp.data import MNIST_DIGEST
    from mnist_mlp.settings import resolve

    spec = resolve(flags={"data.dataset": str(dataset) if dataset else None}).spec
    loaded = o.Request(context.params).load_dataset(spec.data.dataset)
    counts = np.bincount(loaded.labels, minlength=loaded.classes)
    if json:
        print_json(
            {
                "schema_version": 1,
                "dataset": loaded.name,
                "source": loaded.source,
                "sha256": loaded.digest,
                "is_mnist": loaded.digest == MNIST_DIGEST,
                "images": {"shape": list(loaded.images.shape), "dtype": str(loaded.images.dtype)},
                "labels": {"shape": list(loaded.labels.shape), "dtype": str(loaded.labels.dtype)},
                "classes": loaded.classes,
                "rows_per_class": [int(count) for count in counts],
            }
        )
        return
    known = "MNIST itself" if loaded.digest == MNIST_DIGEST else "not MNIST"
    typer.echo(f"data set   {loaded.name} ({known})")
    typer.echo(f"source     {loaded.source}")
    typer.echo(f"sha256     {loaded.digest}")
    typer.echo(f"images     {loaded.images.shape} {loaded.images.dtype}, 0 is background")
    typer.echo(f"labels     {loaded.labels.shape} {loaded.labels.dtype}")
    typer.echo("per class  " + "  ".join(f"{k}: {count}" for k, count in enumerate(counts)))
    typer.echo("")
    typer.echo(sketch(loaded.images[:3]))
    typer.echo("labels of these: " + ", ".join(str(label) for label in loaded.labels[:3]))
