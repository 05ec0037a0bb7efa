"""Hand the runs of a sweep to joblib: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from mnist_mlp.errors import (
    BackendError,
    DivergedError,
    MissingPackagesError,
    SetupError,
    UsageError,
)
from mnist_mlp.sweep.one import Parent, Task, begun, run_one
from mnist_mlp.sweep.table import Row, failed, row_of
from mnist_mlp.worker.warm import warm_workers

ATTEMPTS = 2
"""How often a run is tried: a second time because of what passes, such as memory that ran out."""

CONNECT_S = 20
"""Longest wait for a scheduler or for its first process, in seconds."""

_MISTAKES = (UsageError, MissingPackagesError)
"""Errors of the command, not of one run: most runs would end in them."""

Pool = Callable[[Sequence[Task]], Iterator[Row]]
"""Makes runs, and gives each row as soon as it is there."""


def finished_before(tasks: Iterable[Task]) -> list[Row]:
    """Rows of the runs that are complete already.

    Raises
    ------
    UsageError, RunFolderError
        As for `one.begun`.
    """
    found = ((task, begun(task)) for task in tasks)
    return [row_of(task.case, run) for task, run in found if run is not None and run.is_complete]


def run_all(
    tasks: Sequence[Task],
    *,
    jobs: int,
    cluster: str | None = None,
    on_row: Callable[[Row], None],
    on_retry: Callable[[Row], None],
) -> dict[str, Row]:
    """Make all runs; a failed one is tried once more after the others.

    Parameters
    ----------
    jobs : int
        How many at a time, on this machine.
    cluster : str, optional
        Address of a Dask scheduler, `dask://HOST:PORT`.
    on_row, on_retry : callables
        Called with each row that is final, and with each that will be tried again.

    Returns
    -------
    dict
        One row for each task, by the case's name.

    Raises
    ------
    UsageError, MissingPackagesError
        The first run that ended in one: the others would, too.
    SetupError
        The cluster cannot be reached.
    """
    waiting = {task.case.name: task for task in tasks}
    rows: dict[str, Row] = {}
    attempts: Counter[str] = Counter()

    def settle(row: Row) -> None:
        attempts[row.name] += 1
        row = replace(row, attempts=attempts[row.name])
        if row.kind in {kind.__name__ for kind in _MISTAKES}:
            raise next(kind for kind in _MISTAKES if kind.__name__ == row.kind)(row.error)
        again = row.state == "failed" and row.kind != DivergedError.__name__
        if again and row.attempts < ATTEMPTS:
            on_retry(row)
            return
        rows[row.name] = row
        del waiting[row.name]
        on_row(row)

    with _pool(jobs, cluster) as made_by:
        while waiting:
            answered = set()
            try:
                for row in made_by(list(waiting.values())):
                    answered.add(row.name)
                    settle(row)
            except _broken() as error:
                for row in _lost([t for n, t in waiting.items() if n not in answered], error):
                    settle(row)
    return rows


def _lost(tasks: Sequence[Task], error: BaseException) -> list[Row]:
    """Rows of the runs that had begun when their processes died; of all if none had."""
    hint = "a process that made runs was killed, as happens when memory runs out"
    reason = BackendError(f"{hint} ({type(error).__name__}); try fewer --jobs")
    started = [task for task in tasks if (task.folder / "run.json").exists()]
    return [failed(task.case, reason) for task in started or tasks]


def _broken() -> tuple[type[BaseException], ...]:
    """What joblib raises when processes die that it cannot replace."""
    try:
        from distributed.scheduler import KilledWorker
    except ImportError:
        return (BrokenProcessPool,)
    return (BrokenProcessPool, KilledWorker, CancelledError)


@contextmanager
def _pool(jobs: int, cluster: str | None) -> Iterator[Pool]:
    from joblib import Parallel, delayed, parallel_config

    options: dict[str, Any] = {"return_as": "generator_unordered", "batch_size": 1}
    parent = Parent(os.getpid(), frozenset(os.environ))
    with ExitStack() as stack:
        if cluster is None:
            stack.enter_context(warm_workers())
            parent = Parent(os.getpid(), frozenset(os.environ))
            stack.enter_context(parallel_config("loky", n_jobs=jobs))
        else:
            client = stack.enter_context(_client(cluster))
            options["pre_dispatch"] = "all"  # a cluster may grow, so its scheduler knows all
            stack.enter_context(
                parallel_config(
                    "dask", n_jobs=-1, client=client, wait_for_workers_timeout=CONNECT_S
                )
            )

        def made_by(tasks: Sequence[Task]) -> Iterator[Row]:
            owned = tasks if cluster else [replace(task, parent=parent) for task in tasks]
            try:
                yield from Parallel(**options)(delayed(run_one)(task) for task in owned)
            except TimeoutError:
                if cluster is None:
                    raise
                raise SetupError(
                    f"--cluster {cluster}: has no process to run anything after {CONNECT_S} s; "
                    f"start one: dask worker {_tcp(cluster)}"
                ) from None

        yield made_by


@contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingPackagesError(
            "--cluster needs dask and distributed: run pip install 'mnist-mlp[dask]'"
        ) from None
    try:
        client = Client(_tcp(address), timeout=CONNECT_S)
    except (OSError, ValueError) as error:  # a timeout is an OSError
        raise SetupError(
            f"--cluster {address}: no scheduler answers there ({error}); start one: dask scheduler"
        ) from None
    with client:
        yield client


def _tcp(address: str) -> str:
    """The address as Dask writes it."""
    return f"tcp://{address.removeprefix('dask://')}"
