"""`mnist_mlp train`: train one backend and write one run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_mlp.cli import options as o

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnist_mlp.data import Dataset
    from mnist_mlp.run.folder import Run
    from mnist_mlp.spec import Spec
    from mnist_mlp.training import Observer


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
    devices: o.DevicesOption = 1,
    num_nodes: o.NumNodes = 1,
    strategy: o.StrategyOption = o.Strategy.auto,
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
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with this unfinished run; a complete one needs more --epochs.",
            rich_help_panel="Run",
        ),
    ] = None,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, help="Epochs between two checkpoints.", rich_help_panel="Run")
    ] = 1,
    trust_backend: Annotated[
        list[str],
        typer.Option(
            metavar="MODULE:CLASS",
            help="With --resume: run the code of this backend if the run names it.",
            rich_help_panel="Run",
        ),
    ] = [],  # noqa: B006
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
    from mnist_mlp.cli.output import print_json, summary, tell
    from mnist_mlp.cli.progress import shown
    from mnist_mlp.divergence import exploded, telling_where
    from mnist_mlp.logs.parent import check_installed, logged, together
    from mnist_mlp.registry import label_of, target_of
    from mnist_mlp.run.folder import Run
    from mnist_mlp.worker.devices import is_first

    request = o.Request.of(context)
    earlier = None if resume is None else _to_resume(Run(resume, complete=False), request)
    resolved = request.resolve(earlier.spec if earlier else None)
    if dry_run:
        from mnist_mlp.cli.dry_run import show

        show(resolved, as_json=json)
        return
    # Mistakes in the options must be reported before a run folder is made.
    target_of(backend)
    check_installed(log)
    spec = resolved.spec
    label = earlier.label if earlier else label_of(backend)

    def rows() -> Dataset:
        return request.load_dataset(spec.data.dataset)

    if earlier is None and not is_first(request.devices()):
        _follow(request, spec, rows)
        return
    with (
        shown([label], spec, style=progress) as (screen,),
        logged(log, label=label) as logs,
        telling_where(spec, rows),
    ):
        run = _trained(request, spec, earlier, rows, observer=together(screen, logs))
    if json:
        print_json({**run.record.document(), "path": str(run.path)})
    else:
        typer.echo(summary(run))
        warning = exploded(run.history, classes=run.dataset.classes)
        if warning:
            tell(f"warning: {warning}")
        typer.echo(run.path)


def _to_resume(run: Run, request: o.Request) -> Run:
    """Refuse options that make no sense with `--resume`; returns the run."""
    from mnist_mlp.errors import UsageError
    from mnist_mlp.worker.devices import launch

    launched = launch()
    if launched is not None and run.record.devices * run.record.num_nodes > 1:
        raise UsageError(
            f"--resume {run.path}: a run on several devices cannot go on under {launched.by}; "
            f"leave {launched.by} out, on a machine with as many devices"
        )
    for option in ("out", "overwrite"):
        if option in request.by_hand:
            raise UsageError(
                f"--resume {run.path}: goes on in the run's own folder; leave --{option} out"
            )
    return run


def _follow(request: o.Request, spec: Spec, rows: Callable[[], Dataset]) -> None:
    """Compute the share of this rank; another one, of the same launcher, writes the run."""
    from mnist_mlp.training import follow

    options = request.options
    follow(
        spec,
        backend=options["backend"],
        dataset=rows,
        accelerator=str(options["accelerator"]),
        devices=request.devices(),
        **{key: options[key] for key in ("threads", "verbose", "timeout")},
    )


def _trained(
    request: o.Request,
    spec: Spec,
    earlier: Run | None,
    rows: Callable[[], Dataset],
    *,
    observer: Observer,
) -> Run:
    """Train from the beginning, or go on with an earlier run."""
    from mnist_mlp.registry import label_of, target_of
    from mnist_mlp.training import default_folder, resume, train

    options = request.options
    keep = None
    if options["trace"] or (earlier is not None and earlier.record.trace):
        from mnist_mlp.parity.compare.trace import trace_files

        keep = trace_files
    shared: dict[str, Any] = {
        "dataset": rows,
        "keep": keep,
        "checkpoint_every": options["checkpoint_every"],
        "observer": observer,
    }
    if earlier is not None:
        return resume(
            earlier.path,
            spec,
            given=request.runtime_by_hand(),
            trusted=[target_of(backend) for backend in options["trust_backend"]],
            insist="fast" in request.by_hand,
            verbose=options["verbose"],
            timeout=options["timeout"],
            **shared,
        )
    label = label_of(options["backend"])
    return train(
        spec,
        backend=options["backend"],
        out=options["out"] or (lambda: default_folder(spec, label)),
        devices=request.devices(),
        **request.training(),
        **shared,
    )
