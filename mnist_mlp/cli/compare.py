"""`mnist_mlp compare`: train the named backends, then compare all runs."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_mlp.cli import options as o

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mnist_mlp.contract import EpochRecord
    from mnist_mlp.data import Dataset
    from mnist_mlp.errors import MnistMlpError
    from mnist_mlp.parity.findings import Side
    from mnist_mlp.parity.outcome import Outcome
    from mnist_mlp.run.folder import Run
    from mnist_mlp.spec import Spec
    from mnist_mlp.worker.asking import Description
    from mnist_mlp.worker.parent import Worker


def compare(
    context: typer.Context,
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C ...]",
            help="Backends (trained first) or run folders; all: each backend that can train here.",
        ),
    ],
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
            help="Folder for the new runs, compare.json and report.html.",
            rich_help_panel="Run",
        ),
    ] = None,
    overwrite: o.Overwrite = False,
    progress: o.ProgressOption = o.ProgressStyle.auto,
    static: Annotated[
        bool,
        typer.Option("--static", help="Compare files only; start no backend."),
    ] = False,
    proof: Annotated[
        bool,
        typer.Option("--proof", help="Always train both sides in float64, too."),
    ] = False,
    trust_backend: Annotated[
        list[str],
        typer.Option(
            metavar="MODULE:CLASS",
            help="Run the code of this backend if a run folder names it.",
        ),
    ] = [],  # noqa: B006
    log: o.Log = [],  # noqa: B006
    dry_run: o.DryRun = False,
    timeout: o.Timeout = None,
    verbose: o.Verbose = False,
    json: o.Json = False,
) -> None:
    """Train backends (or take run folders) and say whether they match; exit code 1 if not.

    Example: python -m mnist_mlp compare keras torch --config configs/tiny.toml
    """
    from mnist_mlp.cli.output import print_json, tell
    from mnist_mlp.errors import UsageError
    from mnist_mlp.logs.parent import check_installed
    from mnist_mlp.parity.compare.runs import compare_runs
    from mnist_mlp.parity.outcome import worst
    from mnist_mlp.registry import target_of
    from mnist_mlp.run.files import json_bytes, write_atomically
    from mnist_mlp.run.folder import Run, is_run_argument

    request = o.Request.of(context)
    resolved = request.resolve()
    spec = resolved.spec
    if dry_run:
        from mnist_mlp.cli.dry_run import show

        show(resolved, as_json=json)
        return
    sides = _with_all(sides, spec, accelerator=accelerator)
    if len(sides) < 2:
        raise UsageError(
            f"compare needs at least two sides, but got {len(sides)}: {' '.join(sides)}"
        )
    to_train = [side for side in sides if not is_run_argument(side)]
    trusted = [*(target_of(side) for side in to_train), *map(target_of, trust_backend)]
    check_installed(log)
    runs: dict[int, Run] = {
        number: Run(Path(side)) for number, side in enumerate(sides) if is_run_argument(side)
    }
    if out is not None:
        for name in ("compare.json", "report.html"):
            if (out / name).exists() and not overwrite:
                raise UsageError(
                    f"--out {out}: already holds {name}; add --overwrite or choose another folder"
                )
    with ExitStack() as workers:
        started: dict[Side, Worker] = {}
        reported: dict[int, list[EpochRecord]] = {}
        if to_train:
            data, out = _train_all(
                {n: side for n, side in enumerate(sides) if n not in runs},
                runs,
                request=request,
                spec=spec,
                out=out,
                started=started,
                workers=None if static else workers,
                reported=reported,
            )
        first, *others = [runs[number] for number in range(len(sides))]
        rows = data if to_train else cache(lambda: _rows_of(request, first))
        outcomes = [
            compare_runs(
                first,
                other,
                dataset=rows,
                started=started if number == 1 else None,
                reported=_by_side(reported, number),
                static=static,
                always_prove=proof,
                trusted=trusted,
                verbose=verbose,
                timeout=timeout,
                say=tell,
            )
            for number, other in enumerate(others, start=1)
        ]
    result = _result([first, *others], outcomes)
    if out is not None:
        write_atomically(out / "compare.json", json_bytes(result))
    page = None if out is None else _report([first, *others], result, out / "report.html")
    if json:
        print_json(result)
    else:
        typer.echo(_text(first, outcomes, result))
        for run in (first, *others):
            typer.echo(run.path)
        if out is not None:
            typer.echo(out / "compare.json")
        if page is not None:
            typer.echo(page)
    raise typer.Exit(worst(outcomes).exit_code)


def _by_side(
    reported: Mapping[int, list[EpochRecord]], other: int
) -> dict[Side, list[EpochRecord]]:
    """What two runs reported, if they were trained here, for the comparison of the first with an
    other one."""
    numbers: dict[Side, int] = {"a": 0, "b": other}
    return {side: reported[number] for side, number in numbers.items() if number in reported}


ALL = "all"
"""In place of backends: every one that can train here."""


def _with_all(sides: list[str], spec: Spec, *, accelerator: str) -> list[str]:
    """The sides, with the backends that can train a specification here in place of `all`."""
    from mnist_mlp.cli.output import tell
    from mnist_mlp.registry import installed
    from mnist_mlp.run.folder import is_run_argument
    from mnist_mlp.worker.asking import described

    if ALL not in sides or is_run_argument(ALL) or ALL in installed():
        return sides
    able = []
    answers = described([name for name in installed() if name not in sides])
    for name, answer in answers.items():
        refused = _refusal(name, answer, spec, accelerator=accelerator)
        if refused:
            tell(f"{ALL}: without {name}: {refused}")
        else:
            able.append(name)
    at = sides.index(ALL)
    return [*sides[:at], *able, *(side for side in sides[at:] if side != ALL)]


def _refusal(
    name: str, answer: Description | MnistMlpError, spec: Spec, *, accelerator: str
) -> str:
    """Why a backend cannot train a specification here; empty if it can."""
    from mnist_mlp.errors import MnistMlpError
    from mnist_mlp.worker.accelerator import gpu_refusal

    if isinstance(answer, MnistMlpError):
        return str(answer)
    capabilities, environment = answer
    missing = capabilities.refusals(spec)
    if missing:
        return f"does not support {', '.join(missing)}"
    no_gpu = gpu_refusal(name, capabilities, environment) if accelerator == "gpu" else None
    return str(no_gpu or "")


def _result(runs: list[Run], outcomes: list[Outcome]) -> dict[str, Any]:
    """The content of `compare.json`."""
    from mnist_mlp.parity.matrix import matrix
    from mnist_mlp.parity.outcome import document

    several = {"matrix": matrix(runs, outcomes)} if len(outcomes) > 1 else {}
    return {**document(outcomes), **several}


def _text(first: Run, outcomes: list[Outcome], result: Mapping[str, Any]) -> str:
    """The first run, each comparison with it, and the matrix if there are several."""
    from mnist_mlp.cli.output import summary
    from mnist_mlp.parity.matrix import as_table
    from mnist_mlp.parity.outcome import as_text

    parts = [summary(first), *map(as_text, outcomes)]
    if "matrix" in result:
        parts.append(as_table(result["matrix"]))
    return "\n\n".join(parts) + "\n"


def _train_all(
    sides: dict[int, str],
    runs: dict[int, Run],
    *,
    request: o.Request,
    spec: Spec,
    out: Path | None,
    started: dict[Side, Worker],
    workers: ExitStack | None,
    reported: dict[int, list[EpochRecord]],
) -> tuple[Dataset, Path]:
    """Train the named backends, at the same time if there are cores for it; add them to `runs`.

    Returns the data set and the folder of the runs. `reported` gets the epochs of each, and
    `started` the processes of the first two sides, which `workers` closes. Without `workers`, they
    end with the training, and so do those on a GPU, which have taken its memory.
    """
    from mnist_mlp.at_once import Job, how_many, train_at_once
    from mnist_mlp.cli.progress import shown
    from mnist_mlp.divergence import telling_where
    from mnist_mlp.logs.parent import logged, together
    from mnist_mlp.run.claim import claimed_for_several
    from mnist_mlp.run.writer import check_free
    from mnist_mlp.training import Observer, default_folder, train
    from mnist_mlp.worker.accelerator import require_gpu
    from mnist_mlp.worker.parent import Worker

    options = request.options
    names = _folder_names(sides)
    if out is not None:
        for name in names.values():  # check all before the first training, which takes long
            check_free(out / name, overwrite=options["overwrite"])
    if options["accelerator"] == o.Accelerator.gpu:
        require_gpu(sides.values())
    data = request.load_dataset(spec.data.dataset)
    # Made only now, so that nothing is left behind if the data set cannot be had.
    folder = out or default_folder(spec, "compare")

    def job(number: int, screen: Observer) -> Job:
        def run(starting: Callable[[Worker], None]) -> Run:
            name = names[number]
            own = Observer(starting=starting, reported=reported.setdefault(number, []).append)
            worker = None
            if workers is not None and number < 2:
                worker = workers.enter_context(Worker(sides[number], **request.worker()))
            with logged(options["log"], label=name) as logs, telling_where(spec, data):
                made = train(
                    spec,
                    backend=sides[number],
                    dataset=data,
                    out=folder / name,
                    worker=worker,
                    observer=together(screen, logs, own),
                    **request.training(),
                )
            if worker is not None and made.record.accelerator != "cpu":
                worker.close()
            elif worker is not None:
                started["b" if number else "a"] = worker
            return made

        return run

    most = how_many(accelerator=options["accelerator"], threads=options["threads"])
    style = options["progress"]
    with claimed_for_several(folder), shown(list(names.values()), spec, style=style) as screens:
        jobs = [job(number, screen) for number, screen in zip(names, screens, strict=True)]
        made = train_at_once(jobs, most=most)
    runs.update(zip(names, made, strict=True))
    return data, folder


def _report(runs: list[Run], document: Any, path: Path) -> Path | None:
    """Write the report, or say why there is none. The verdict does not depend on it."""
    from mnist_mlp.cli.output import tell
    from mnist_mlp.errors import MnistMlpError
    from mnist_mlp.report import write_report

    try:
        write_report(runs, out=path, document=document)
    except MnistMlpError as error:
        path.unlink(missing_ok=True)  # the report of an earlier comparison would be misleading
        tell(f"{path} was not written: {error}")
        return None
    return path


def _rows_of(request: o.Request, run: Run) -> Dataset | None:
    """The data set that a run was trained on, or None if it is not available here."""
    from mnist_mlp.cli.output import tell
    from mnist_mlp.errors import MnistMlpError

    name = run.dataset.name
    tell(f"reading the rows that {run.path} was trained on")
    try:
        data = request.load_dataset(name if name in ("mnist", "digits") else "auto")
    except MnistMlpError as error:
        tell(f"the data set is not available here: {error}")
        return None
    # Other data with the same name would give wrong verdicts.
    return data if data.digest == run.dataset.sha256 else None


def _folder_names(sides: dict[int, str]) -> dict[int, str]:
    """A folder name per side: the label, and for a repeated label also the side's number."""
    from mnist_mlp.registry import label_of

    names: dict[int, str] = {}
    for number, side in sides.items():
        label = label_of(side)
        names[number] = label if label not in names.values() else f"{label}-{number + 1}"
    return names
