"""Make one run of a sweep: in this process, in one of joblib's, or on another machine.

The run folder is what counts. A run that is complete there is not repeated, and one that was
stopped goes on from its last checkpoint. So it does not matter how often, or by whom, the function
is called: a scheduler that loses a process may call it again elsewhere. Its lock keeps two
processes from writing one folder.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from mnist_mlp.data import Dataset, load_dataset
from mnist_mlp.errors import DataError, FolderInUseError, MnistMlpError, UsageError
from mnist_mlp.registry import target_of
from mnist_mlp.run.folder import Run
from mnist_mlp.run.resume import other_settings, state_of
from mnist_mlp.sweep.cases import Case
from mnist_mlp.sweep.table import Row, failed, row_of
from mnist_mlp.training import Observer, resume, train

LOOK_S = 0.5
"""Seconds between two looks whether a folder is free."""


@dataclass(frozen=True)
class Source:
    """Where each process finds the data set, and the digest by which it knows it."""

    choice: str
    data_dir: Path | None
    source: str | None
    digest: str


@dataclass(frozen=True)
class Parent:
    """The process that started the sweep, if it also started the one that makes the run."""

    pid: int
    variables: frozenset[str]
    """Names in its environment."""


@dataclass(frozen=True)
class Task:
    """All that a process needs to make a run.

    Parameters
    ----------
    case : Case
    folder : Path
        The run folder, absolute.
    source : Source
    options : mapping
        Keyword arguments of `training.train`.
    given : mapping
        What the user asked for by name; see `training.resume`.
    parent : Parent, optional
        None on a cluster.
    """

    case: Case
    folder: Path
    source: Source
    options: Mapping[str, Any]
    given: Mapping[str, Any] = field(default_factory=dict)
    parent: Parent | None = None


def run_one(task: Task) -> Row:
    """Make the run, or what is left of it; its row says if it failed."""
    if task.parent is not None and task.parent.pid != os.getpid():
        _settle(task.parent)
    while True:
        try:
            return row_of(task.case, _run(task))
        except FolderInUseError:
            # A scheduler that believed its process dead has called this function again. The other
            # one is at work: wait for its result.
            time.sleep(LOOK_S)
        except MnistMlpError as error:
            return failed(task.case, error)


def begun(task: Task) -> Run | None:
    """The run as far as it is in its folder; None if there is nothing.

    Raises
    ------
    UsageError
        It was made with other settings.
    RunFolderError
        It is damaged.
    """
    if not os.path.lexists(task.folder / "run.json"):
        return None
    run = Run(task.folder, complete=False)
    given = {"backend.target": target_of(task.case.backend), **task.given}
    if run.record.native or task.options["native"]:
        given["native"] = task.options["native"] or None  # not recorded where it is false
    differing = other_settings(run, task.case.spec, given)
    if run.dataset.sha256 != task.source.digest:
        differing.append("the data set is another")
    if differing:
        raise UsageError(
            f"{task.folder}: was made with other settings ({'; '.join(differing)}); choose another "
            f"--out, or the settings of before"
        )
    return run


def _run(task: Task) -> Run:
    run = begun(task)
    if run is not None and run.is_complete:
        return run

    def rows() -> Dataset:
        return _dataset(task.source)

    spec, observer = task.case.spec, Observer()
    if run is not None and _can_go_on(run):
        names = ("insist", "timeout", "verbose", "figures")
        return resume(
            task.folder,
            spec,
            dataset=rows,
            given=task.given,
            trusted=[target_of(task.case.backend)],
            observer=observer,
            **{name: task.options[name] for name in names},
        )
    return train(
        spec,
        backend=task.case.backend,
        dataset=rows,
        out=task.folder,
        observer=observer,
        **{**task.options, "overwrite": run is not None},
    )


def _can_go_on(run: Run) -> bool:
    """Whether there is a state to go on from. Not every backend reports one."""
    try:
        return bool(state_of(run).epoch)
    except UsageError:
        return False


@lru_cache(maxsize=2)
def _dataset(source: Source) -> Dataset:
    data = load_dataset(
        source.choice,  # type: ignore[arg-type]  # checked by the specification
        data_dir=source.data_dir,
        source=source.source,
    )
    if data.digest != source.digest:
        raise DataError(
            f"{data.source}: is another data set here than where the sweep was started; give every "
            f"machine the same folder by --data-dir"
        )
    return data


def _settle(parent: Parent) -> None:
    """Make a process of joblib's like the one that started it."""
    # Ctrl-C reaches all processes of a terminal. The parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # joblib adds variables that limit the threads of libraries. A worker has its own limit, and
    # with other variables than the parent's it could not be forked (`worker.warm`).
    for name in set(os.environ) - parent.variables:
        del os.environ[name]
