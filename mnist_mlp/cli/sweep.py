"""`mnist_mlp sweep`: train many runs, over seeds and settings, here or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_mlp.cli import options as o

if TYPE_CHECKING:
    from mnist_mlp.sweep.cases import Case
    from mnist_mlp.sweep.one import Task
    from mnist_mlp.sweep.table import Row

_SWEEP = "Sweep"


def sweep(
    context: typer.Context,
    backends: Annotated[
        list[str], typer.Argument(metavar="BACKEND ...", help="keras, torch, numpy, module:Class.")
    ],
    seeds: Annotated[
        str | None,
        typer.Option(
            help="0:100 (0 to 99), or 3,5,8 [default: the specification's].",
            rich_help_panel=_SWEEP,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time [default: one a core].", rich_help_panel=_SWEEP),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="dask://HOST:PORT", help="A Dask scheduler to run on.", rich_help_panel=_SWEEP
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="i/n",
            help="Make the i-th of n parts, for arrays of batch jobs.",
            rich_help_panel=_SWEEP,
        ),
    ] = None,
    native: Annotated[
        bool,
        typer.Option(
            "--native",
            help="Each framework draws initial weights and order itself; implies --margin 0.01.",
            rich_help_panel=_SWEEP,
        ),
    ] = False,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Also judge whether the accuracies of two backends differ by less than this.",
            rich_help_panel=_SWEEP,
        ),
    ] = None,
    config: o.Config = None,
    assignments: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set section.key; a list of values makes a run of each.",
            rich_help_panel="Specification",
        ),
    ] = [],  # noqa: B006 - Typer's way; never changed
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    learning_rate: o.LearningRate = None,
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
            help="Folder of the runs and of sweep.json; one that holds a part of this sweep is "
            "completed [default: a new one in runs].",
            rich_help_panel="Run",
        ),
    ] = None,
    progress: o.ProgressOption = o.ProgressStyle.auto,
    dry_run: o.DryRun = False,
    timeout: o.Timeout = None,
    verbose: o.Verbose = False,
    json: o.Json = False,
) -> None:
    """Train many runs, each in a run folder of its own, and write a table of their results.

    Example: python -m mnist_mlp sweep keras torch --seeds 0:100 --set batch_size=[64,128]
    """
    from contextlib import nullcontext

    from mnist_mlp.cli.output import print_json
    from mnist_mlp.run.claim import claimed_for_several
    from mnist_mlp.run.files import json_bytes, write_atomically
    from mnist_mlp.sweep import equivalence
    from mnist_mlp.sweep.cases import parse_shard
    from mnist_mlp.sweep.pairs import accuracies, comparisons
    from mnist_mlp.sweep.table import as_text, document, exit_code_of, not_run
    from mnist_mlp.training import default_folder

    request = o.Request.of(context)
    cases = _cases(request, backends, seeds)
    if dry_run:
        _show(cases, as_json=json)
        return
    part, parts = parse_shard(shard) if shard else (1, 1)
    mine = cases[part - 1 :: parts]
    _check_cluster(cluster, request)
    limit = _margin(request, cases)
    most = _jobs(request)
    sources = _sources(request, cases)
    folder = out or default_folder(cases[0].spec, "sweep")
    tasks = [_task(request, case, folder, sources[case.spec.data.dataset]) for case in mine]
    # The parts of an array of jobs share the folder. Each run has a lock of its own.
    with claimed_for_several(folder) if parts == 1 else nullcontext():
        rows = _run(request, tasks, folder, jobs=most)
        table = [rows.get(case.name) or not_run(case) for case in cases]
        compared = comparisons(table, margin=limit) if limit and parts == 1 else []
        about = {
            "backends": [*dict.fromkeys(case.label for case in cases)],
            "shard": shard,
            "native": native,
            "comparisons": equivalence.document(compared),
        }
        result = document(table, about=about)
        files = {
            "sweep.json" if parts == 1 else f"sweep-{part}-of-{parts}.json": json_bytes(result)
        }
        if compared:
            from mnist_mlp.sweep.figure import figure_files

            files |= figure_files(compared, accuracies(table))
        for name, content in files.items():
            write_atomically(folder / name, content)
    if json:
        print_json(result)
    else:
        typer.echo(as_text(table))
        typer.echo("")
        if compared:
            typer.echo(equivalence.as_text(compared))
            typer.echo("")
        for name in files:
            typer.echo(folder / name)
    raise typer.Exit(exit_code_of(table) or equivalence.exit_code_of(compared))


def _run(request: o.Request, tasks: list[Task], folder: Path, *, jobs: int) -> dict[str, Row]:
    """Make the runs that are not finished; a row for each, by name."""
    from mnist_mlp.cli.output import tell
    from mnist_mlp.cli.progress import shown_runs
    from mnist_mlp.errors import Stop
    from mnist_mlp.sweep.many import finished_before, run_all

    rows = {row.name: row for row in finished_before(tasks)}
    left = [task for task in tasks if task.case.name not in rows]
    if not left:
        return rows
    style, cluster = request.options["progress"], request.options["cluster"]
    with shown_runs(len(tasks), before=len(rows), style=style) as (on_row, on_retry):
        try:
            made = run_all(left, jobs=jobs, cluster=cluster, on_row=on_row, on_retry=on_retry)
        except (KeyboardInterrupt, Stop):
            tell(f"stopped; with --out {folder}, the same command goes on")
            raise
    return rows | made


def _cases(request: o.Request, backends: list[str], seeds: str | None) -> list[Case]:
    from mnist_mlp.sweep.cases import cases_of, combinations, parse_seeds

    grid = []
    for assignments, settings in combinations(request.options["assignments"]):
        options = {**request.options, "seed": None, "assignments": assignments}
        grid.append((o.Request(options, request.by_hand).resolve(), settings))
    numbers = [grid[0][0].spec.seed] if seeds is None else parse_seeds(seeds)
    return cases_of(backends, numbers, grid)


def _show(cases: list[Case], *, as_json: bool) -> None:
    from mnist_mlp.cli.output import print_json

    if as_json:
        runs = [
            {"name": case.name, "backend": case.label, "spec": case.spec.model_dump(mode="json")}
            for case in cases
        ]
        print_json({"schema_version": 1, "runs": runs})
        return
    for case in cases:
        typer.echo(case.name)
    typer.echo(f"{len(cases)} runs")


def _check_cluster(cluster: str | None, request: o.Request) -> None:
    import re

    from mnist_mlp.errors import UsageError

    if cluster is None:
        return
    if not re.fullmatch(r"dask://[^\s/]+:\d+", cluster):
        raise UsageError(
            f"--cluster {cluster}: expected dask://HOST:PORT, the address of a Dask scheduler"
        )
    if request.options["jobs"] is not None:
        raise UsageError("--jobs is for this machine; a cluster has as many as it has processes")


NATIVE_MARGIN = 0.01


def _margin(request: o.Request, cases: list[Case]) -> float | None:
    """The margin of the comparison; None if none is asked for."""
    from mnist_mlp.errors import UsageError

    margin: float | None = request.options["margin"]
    sides = len({case.backend for case in cases})
    if margin is not None and sides < 2:
        raise UsageError("--margin compares backends: name at least two")
    if margin is not None and not 0 < margin < 1:
        raise UsageError(f"--margin {margin}: expected an accuracy between 0 and 1, such as 0.01")
    if margin is None and request.options["native"] and sides > 1:
        return NATIVE_MARGIN
    return margin


def _jobs(request: o.Request) -> int:
    from mnist_mlp.at_once import how_many

    options = request.options
    return options["jobs"] or how_many(
        accelerator=options["accelerator"], threads=options["threads"]
    )


def _sources(request: o.Request, cases: list[Case]) -> dict[str, Any]:
    """Load each data set once, so that a mistake is told before anything runs.

    What was downloaded is in the cache then, from which each process of this machine reads it.
    """
    from mnist_mlp.data.load import folder_of_environment
    from mnist_mlp.plan import check_epochs, check_fit, check_memory, split
    from mnist_mlp.sweep.one import Source

    folder = request.options["data_dir"] or folder_of_environment()
    sources: dict[str, Any] = {}
    for choice in dict.fromkeys(case.spec.data.dataset for case in cases):
        rows = request.load_dataset(choice)
        for spec in {case.spec.digest: case.spec for case in cases}.values():
            if spec.data.dataset == choice and spec.seed == cases[0].seed:
                check_fit(spec, rows)
                train_ids, _ = split(spec, rows)
                check_epochs(spec, rows=len(train_ids))
                check_memory(spec, rows=len(train_ids))
        found = "digits" if rows.name == "digits" else choice
        where = None if found == "digits" or folder is None else folder.resolve()
        sources[choice] = Source(found, where, request.options["source"], rows.digest)
    return sources


def _task(request: o.Request, case: Case, folder: Path, source: Any) -> Task:
    from mnist_mlp.sweep.one import Task

    options = {**request.training(), "figures": False, "native": request.options["native"]}
    given = request.runtime_by_hand()
    return Task(case, (folder / case.name).resolve(), source, options, given)
