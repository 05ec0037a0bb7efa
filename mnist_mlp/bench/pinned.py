"""Run a script whose libraries use a fixed number of threads, and count the threads that worked.

    python -m mnist_mlp.bench.pinned COUNT.json script.py ARGUMENTS

Libraries read the variables of `thread_variables` when they are imported, and may ignore them. So
each library that the script has imported multiplies two matrices afterwards, and the threads of
this process that worked are counted. COUNT.json gets the numbers, by library.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.errors import BackendError
from mnist_mlp.worker.warm import THREAD_VARIABLES

LIBRARIES = ("numpy", "torch", "tensorflow")

_TASKS = Path("/proc/self/task")

# The system counts processor time in hundredths of a second.
_WORK_S = 0.3

# On a busy machine, a thread that starts late may find no work left. The best count is kept.
_TRIES = 3


def thread_variables(threads: int) -> dict[str, str]:
    """Environment variables that limit every library to so many threads.

    TensorFlow has a second pool, for operations that run beside each other. It gets as many as in
    our own backend: at least two.
    """
    own = {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(max(threads, 2)),
    }
    return dict.fromkeys(THREAD_VARIABLES, str(threads)) | own


def check_counts(counts: Mapping[str, float], *, threads: int) -> None:
    """Check that each library worked with so many threads, to three tenths of that number.

    Beside TensorFlow's pool, the thread that hands out the work has a small share of it.

    Raises
    ------
    BackendError
        One did not, so that its times are those of another number of threads.
    """
    for library, count in counts.items():
        if not _is(count, threads):
            raise BackendError(
                f"{library} worked with {count:.1f} threads in this script, expected {threads}: "
                f"does the script set their number itself, or has the process fewer cores?"
            )


def _is(count: float, threads: int) -> bool:
    return abs(count - threads) <= 0.3 * threads


def count_threads(work: Callable[[], Any], *, expected: int) -> float:
    """How many threads of this process share some work: its processor time, in parts of the
    busiest thread's.

    If it is not the expected number, the work is done again, and the nearest count is returned.
    """
    counts: list[float] = []
    while len(counts) < _TRIES and not any(_is(count, expected) for count in counts):
        before, start = _processor_time(), time.perf_counter()
        while time.perf_counter() - start < _WORK_S:
            work()
        worked = [ticks - before.get(thread, 0) for thread, ticks in _processor_time().items()]
        counts.append(round(sum(worked) / max(*worked, 1), 2))
    return min(counts, key=lambda count: abs(count - expected))


def _processor_time() -> dict[str, int]:
    """Ticks of each thread of this process so far, in user and system mode."""
    found = {}
    for task in _TASKS.iterdir():
        # The name before it may hold spaces and brackets.
        fields = (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        found[task.name] = int(fields[11]) + int(fields[12])
    return found


def _product(library: str) -> Callable[[], Any]:
    """A function that multiplies two matrices with an imported library."""
    matrix: Any = np.ones((2048, 2048), np.float32)
    module = sys.modules[library]
    if library == "torch":
        matrix = module.from_numpy(matrix)
    if library == "tensorflow":
        matrix = module.constant(matrix)
    return lambda: matrix @ matrix


def main() -> None:
    """Run the script, then count."""
    out, script, *arguments = sys.argv[1:]
    threads = int(os.environ["OMP_NUM_THREADS"])
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).resolve().parent)  # where Python looks when it runs a script
    runpy.run_path(script, run_name="__main__")
    counts = {
        library: count_threads(_product(library), expected=threads)
        for library in LIBRARIES
        if library in sys.modules
    }
    Path(out).write_text(json.dumps(counts), encoding="utf-8")


if __name__ == "__main__":
    main()
