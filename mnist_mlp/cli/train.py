"""`mnist_mlp train`: train one backend and write one run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_mlp.cli import options as o

if TYPE_CHECKING:
    from mnist_mlp.data import Dataset


def train(
    context: typer.Context,
    backend: Annotated[
        str, typer.Option(help="keras, torch, numpy, or package.module:Class.")
    ] = "keras",
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
    accelerator: o.AcceleratorOption = o.Accelerator.auto,
    threads: o.Threads = o.DEFAULT_THREADS,
    fast: o.Fast = True,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run folder [default: runs/<time>-<spec>-<backend>].", rich_help_panel="Run"
        ),
    ] = None,
    overwrite: o.Overwrite = False,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Keep step records in the run folder.", rich_help_panel="Run"),
    ] = False,
    progress: o.ProgressOption = o.ProgressStyle.auto,
    log: o.Log = [],  # noqa: B006
    dry_run: o.DryRun = False,
    timeout: o.Timeout = None,
    verbose: o.Verbose = False,
    json: o.Json = False,
) -> None:
    """Train a specification in one backend and write a run folder; its path is the last line.

    Example: python -m mnist_mlp train --backend torch --config configs/relu.toml --epochs 3
    """
    from mnist_mlp.cli.output import print_json, summary
    from mnist_mlp.cli.progress import shown
    from mnist_mlp.divergence import exploded, telling_where
    from mnist_mlp.logs.parent import check_installed, logged, together
    from mnist_mlp.registry import label_of, target_of
    from mnist_mlp.training import default_folder
    from mnist_mlp.training import train as run_training

    request = o.Request.of(context)
    resolved = request.resolve()
    if dry_run:
        from mnist_mlp.cli.dry_run import show

        show(resolved, as_json=json)
        return
    # Mistakes in the options must be reported before a run folder is made.
    target_of(backend)
    check_installed(log)
    keep = None
    if trace:
        from mnist_mlp.parity.compare.trace import trace_files

        keep = trace_files
    spec = resolved.spec
    label = label_of(backend)

    def rows() -> Dataset:
        return request.load_dataset(spec.data.dataset)

    with (
        shown(label, spec, style=progress) as screen,
        logged(log, label=label) as logs,
        telling_where(spec, rows),
    ):
        run = run_training(
            spec,
            backend=backend,
            dataset=rows,
            out=out or (lambda: default_folder(spec, label)),
            observer=together(screen, logs),
            keep=keep,
            **request.training(),
        )
    if json:
        print_json({**run.record.document(), "path": str(run.path)})
    else:
        typer.echo(summary(run))
        warning = exploded(run.history, classes=run.dataset.classes)
        if warning:
            typer.echo(f"warning: {warning}", err=True)
        typer.echo(run.path)
