"""`mnist_mlp bench`: time an epoch and a whole run; `bench compare` and `bench show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_mlp.cli import options as o

if TYPE_CHECKING:
    from mnist_mlp.bench.record import Document

_WHAT = "What to time"
_HOW = "How often"


def bench(
    context: typer.Context,
    backends: Annotated[
        str, typer.Option(metavar="LIST", help="Names, comma-separated.", rich_help_panel=_WHAT)
    ] = "keras,torch,numpy",
    accelerators: Annotated[
        str, typer.Option(metavar="LIST", help="cpu, gpu or both.", rich_help_panel=_WHAT)
    ] = "cpu",
    paths: Annotated[
        str, typer.Option(metavar="LIST", help="fast, plain or both.", rich_help_panel=_WHAT)
    ] = "fast",
    peers: Annotated[
        bool,
        typer.Option(
            "--peers",
            help="Time the scripts of examples/, too, and check the targets.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    answers: Annotated[
        bool,
        typer.Option(
            "--answers",
            help="Time train, compare and check as whole commands, beside the scripts.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    equal_threads: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Time an epoch with so many threads each, ours and the scripts', such as 1,2.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS", help="Grow width, batch, rows or epochs.", rich_help_panel=_WHAT
        ),
    ] = None,
    points: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Points of --scale.", rich_help_panel=_WHAT),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Show where an epoch's time goes.", rich_help_panel=_WHAT),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Fresh processes per case [default: 3; 1 with --scale, 5 with --answers].",
            rich_help_panel=_HOW,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs timed per process, after the first [default: 7; 3 with --scale].",
            rich_help_panel=_HOW,
        ),
    ] = None,
    command_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Epochs of a whole command or script; 0: time none.",
            rich_help_panel=_HOW,
        ),
    ] = 10,
    config: o.Config = None,
    assignments: o.Assignments = [],  # noqa: B006 - Typer's way; never changed
    batch_size: o.BatchSize = None,
    learning_rate: o.LearningRate = None,
    seed: o.Seed = None,
    precision: o.PrecisionOption = None,
    dataset: o.DatasetOption = None,
    data_dir: o.DataDir = None,
    source: o.Source = None,
    mirror: o.Mirror = None,
    threads: o.Threads = o.DEFAULT_THREADS,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of bench.json and its figure [default: a new one in runs].",
            rich_help_panel="Run",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bench.json.", rich_help_panel="Run")
    ] = False,
    examples: Annotated[
        Path | None, typer.Option(help="Folder of the scripts.", rich_help_panel="Run")
    ] = None,
    verbose: o.Verbose = False,
    json: o.Json = False,
) -> None:
    """Time backends, accelerators and paths, each case in fresh processes, interleaved in rounds.

    Example: python -m mnist_mlp bench --backends keras,torch --paths fast,plain
    """
    if context.invoked_subcommand is not None:
        return
    from dataclasses import fields

    from mnist_mlp.bench.agenda import EXAMPLES, Agenda
    from mnist_mlp.bench.measure import Bench
    from mnist_mlp.bench.record import FILE_NAME
    from mnist_mlp.bench.sitting import Sitting
    from mnist_mlp.errors import EXIT_ENVIRONMENT, UsageError
    from mnist_mlp.training import default_folder

    agenda = Agenda(**{field.name: context.params[field.name] for field in fields(Agenda)})
    request = o.Request(context.params)
    spec = request.resolve().spec
    if out is not None and (out / FILE_NAME).exists() and not overwrite:
        raise UsageError(f"{out / FILE_NAME} exists; choose another --out or use --overwrite")
    rows = request.load_dataset(spec.data.dataset)
    where = {"--data-dir": data_dir, "--source": source, "--mirror": mirror}
    given = [word for option, value in where.items() if value for word in (option, str(value))]
    cases = agenda.cases(spec, rows)
    # Made only now, so that mistakes in the options leave no folder behind.
    folder = out or default_folder(spec, "bench")
    sitting = Sitting(
        kind=agenda.kind,
        axis=scale or "",
        rounds=agenda.rounds_or_default,
        seed=spec.seed,
        out=folder,
        say=lambda line: typer.echo(line, err=True),
    )
    document = sitting.run(
        cases,
        Bench(
            dataset=lambda wanted: agenda.rows(wanted, rows),
            data_words=tuple(given),
            variables=(("MNIST_MLP_DATA", str(data_dir.resolve())),) if data_dir else (),
            examples=examples or EXAMPLES,
            verbose=verbose,
        ),
    )
    _show(document, folder, json=json)
    if any(sample.status == "failed" for sample in document.samples):
        raise typer.Exit(EXIT_ENVIRONMENT)


def bench_compare(
    old: Annotated[Path, typer.Argument(metavar="OLD.json", help="The sitting before.")],
    new: Annotated[Path, typer.Argument(metavar="NEW.json", help="The sitting after.")],
    json: o.Json = False,
) -> None:
    """Show which cases became faster or slower between two sittings, and which are undecided.

    Example: python -m mnist_mlp bench compare before/bench.json after/bench.json
    """
    from mnist_mlp.bench.compare import as_data, as_text
    from mnist_mlp.bench.record import read
    from mnist_mlp.cli.output import print_json

    before, after = read(old), read(new)
    if json:
        print_json(as_data(before, after))
    else:
        typer.echo(as_text(before, after))


def bench_show(
    sitting: Annotated[Path, typer.Argument(metavar="BENCH.json", help="A sitting.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the figure [default: the sitting's].")
    ] = None,
    json: o.Json = False,
) -> None:
    """Show a sitting and draw its figure again, without measuring anything.

    Example: python -m mnist_mlp bench show runs/tutorial-bench/bench.json
    """
    from mnist_mlp.bench.record import read

    folder = sitting if sitting.is_dir() else sitting.parent
    _show(read(sitting), out or folder, json=json)


def _show(document: Document, folder: Path, *, json: bool) -> None:
    from mnist_mlp.bench.render import as_data, as_text, write_figures
    from mnist_mlp.cli.output import print_json

    figures = write_figures(document, folder)
    if json:
        print_json(as_data(document))
        return
    typer.echo(as_text(document))
    typer.echo("")
    for path in figures:
        typer.echo(path)
    typer.echo(folder)
