"""Ask several backends what they found, all at the same time, each in its own process."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from mnist_mlp.contract import Capabilities, Environment
from mnist_mlp.errors import MnistMlpError
from mnist_mlp.worker.parent import Worker

Description = tuple[Capabilities, Environment]


def described(
    backends: Iterable[str], *, accelerator: str = "auto", timeout: float | None = None
) -> dict[str, Description | MnistMlpError]:
    """What each backend can do and what it found, or the error that keeps it from working.

    It takes as long as the slowest framework takes to be imported; `timeout` limits that, in
    seconds.
    """
    # The stack is left first. So if a signal stops this process, the workers are killed, and the
    # threads of the pool, which wait for them, end.
    with ThreadPoolExecutor() as pool, ExitStack() as stack:

        def started(backend: str) -> Worker:
            worker = Worker(backend, accelerator=accelerator, timeout=timeout)
            return stack.enter_context(worker)

        workers = {backend: started(backend) for backend in backends}
        answers = pool.map(_description, workers.values())
        return dict(zip(workers, answers, strict=True))


def _description(worker: Worker) -> Description | MnistMlpError:
    try:
        return worker.describe()
    except MnistMlpError as error:
        return error
