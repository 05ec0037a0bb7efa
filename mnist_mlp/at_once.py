"""Train several backends at the same time, each by a thread of this process.

The threads mostly wait for their workers. Signals reach only the main thread. It passes them on by
ending the workers, so that every run is marked as it is when it is trained alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from mnist_mlp.errors import InterruptedRun, Stop
from mnist_mlp.run.folder import Run
from mnist_mlp.worker.accelerator import missing_driver
from mnist_mlp.worker.parent import Worker

Job = Callable[[Callable[[Worker], None]], Run]
"""A training. It calls the given function with its worker as soon as that has started."""


def train_at_once(jobs: Sequence[Job], *, most: int) -> list[Run]:
    """Run trainings, `most` of them at a time; returns their runs in the order of the jobs.

    If one fails, or this process is asked to end, the others are interrupted.

    Raises
    ------
    MnistMlpError
        The error of the first job that failed.
    InterruptedRun, TerminatedRun
        This process was asked to end; the notes tell what is left of each run.
    """
    workers: list[Worker] = []
    stop: BaseException | None = None

    def started(worker: Worker) -> None:
        workers.append(worker)
        if stop is not None:
            worker.end(stop)

    with ThreadPoolExecutor(most) as pool:
        futures = [pool.submit(job, started) for job in jobs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            if _errors(futures):
                stop = InterruptedRun("interrupted, because another training failed")
        except BaseException as asked:
            stop = asked
        if stop is not None:
            for future in futures:
                future.cancel()
            for worker in workers:
                worker.end(stop)
    errors = _errors(futures)
    if stop is None:
        return [future.result() for future in futures]
    # What failed by itself goes before what was stopped for it.
    error = next((e for e in errors if not isinstance(e, Stop)), None)
    error = error or next(iter(errors), stop)
    for other in errors:
        if other is not error:
            for text in (str(other), *getattr(other, "__notes__", ())):
                error.add_note(text)
    raise error


def _errors(futures: Sequence[Future[Run]]) -> list[BaseException]:
    done = [future for future in futures if future.done() and not future.cancelled()]
    return [error for future in done if (error := future.exception()) is not None]


def how_many(*, accelerator: str, threads: int) -> int:
    """How many trainings can run at the same time without slowing each other: at least 1.

    On a GPU they take turns, since TensorFlow reserves nearly all of its memory.
    """
    if accelerator == "gpu" or (accelerator == "auto" and missing_driver() is None):
        return 1
    affinity = getattr(os, "sched_getaffinity", None)  # what this process may use; Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // threads)
