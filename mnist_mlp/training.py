"""Train one backend, from a specification to a finished run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.contract import EpochRecord, Fallback, FitPath, Progress
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import DivergedError, InterruptedRun, MnistMlpError, SetupError, Stop
from mnist_mlp.plan import Plan, TrainingData, make_plan, training_data
from mnist_mlp.reference import Array
from mnist_mlp.registry import target_of
from mnist_mlp.run.checkpoint import Checkpoint
from mnist_mlp.run.claim import claimed, new_folder
from mnist_mlp.run.evaluation import import_evaluator, write_evaluation
from mnist_mlp.run.folder import Run
from mnist_mlp.run.history import HistoryRow
from mnist_mlp.run.machine import describe_machine
from mnist_mlp.run.results import results_of
from mnist_mlp.run.tensors import tensors_digest
from mnist_mlp.run.writer import RunWriter, first_files
from mnist_mlp.spec import Spec
from mnist_mlp.worker.accelerator import require_driver
from mnist_mlp.worker.parent import Opened, Worker

Keep = Callable[[Worker, Plan, TrainingData], Mapping[str, bytes]]


@dataclass(frozen=True)
class Observer:
    """Callbacks for what happens during a run. By default, each does nothing."""

    opened: Callable[[Opened, Plan, Path], None] = lambda *_: None
    """The backend is open. The path is the folder that the run is written to."""
    step: Callable[[int], None] = lambda _: None
    epoch: Callable[[HistoryRow], None] = lambda _: None
    whole: Callable[[], None] = lambda: None
    """The run is complete, and its folder is about to be renamed: close all open files in it."""
    fallback: Callable[[str], None] = lambda _: None


def train(
    spec: Spec,
    *,
    backend: str,
    dataset: Dataset | Callable[[], Dataset],
    out: Path | Callable[[], Path],
    accelerator: str = "auto",
    threads: int = 1,
    fit_path: FitPath = "fast",
    insist: bool = False,
    overwrite: bool = False,
    checkpoint_every: int = 1,
    keep: Keep | None = None,
    verbose: bool = False,
    observer: Observer | None = None,
) -> Run:
    """Train one backend and write a run folder.

    Parameters
    ----------
    spec : Spec
    backend : str
        A registered name or `module:Class`.
    dataset : Dataset, or a function that loads it
        See `mnist_mlp.data.load_dataset`. A function is called while the framework is imported. For
        `gpu`, it is called only after the backend has found the GPU.
    out : Path, or a function that makes one
        The run folder itself. A function is called when there is something to write. A folder must
        not hold a run unless `overwrite`. An earlier run stays unchanged until the new one is
        complete.
    accelerator : {"auto", "cpu", "gpu"}
    threads : int
        Number of CPU threads; fixed before the framework starts.
    fit_path : {"fast", "plain"}
        Many steps per framework call, or one.
    checkpoint_every : int
        Number of epochs between two checkpoints. A killed run loses at most this many epochs.
    keep : callable, optional
        Called after training with the worker, the plan and the data. It returns files (contents by
        name) to be kept in the run folder, as `parity.compare.trace.trace_files` does.
    insist : bool
        Raise an error if the fast path fails. Otherwise training goes on without it; the observer
        is informed, and `run.json` records it.
    verbose : bool
        Show what the framework prints.
    observer : Observer, optional

    Returns
    -------
    Run
        The finished run folder.

    Raises
    ------
    MnistMlpError
        `UsageError`, `SetupError`, `DataError`, `DivergedError`, ... A run folder that was already
        begun is marked `failed` or `interrupted`.
    """
    observer = observer or Observer()
    start = time.perf_counter()
    if accelerator == "gpu":
        require_driver(backend)  # first, because it takes milliseconds and importing takes seconds
    with ExitStack() as stack:
        # A folder that was named is taken at once: a mistake must not cost a data set's loading.
        named = None if callable(out) else stack.enter_context(claimed(out, overwrite=overwrite))
        worker = stack.enter_context(
            Worker(
                backend,
                accelerator=accelerator,
                threads=threads,
                fit_path=fit_path,
                verbose=verbose,
            )
        )
        worker.start_opening(spec)
        # A missing GPU must be reported before a data set is loaded or downloaded.
        opened = worker.open(spec) if accelerator == "gpu" else None
        # The worker needs seconds to import its framework. Meanwhile, this process does its own
        # slow work.
        dataset = dataset() if callable(dataset) else dataset
        plan = make_plan(spec, dataset)
        data = training_data(plan, dataset)
        of_plan = _record_of_plan(plan, dataset)
        files = first_files(plan)
        import_evaluator()
        opened = opened or worker.open(spec)
        folder = out() if callable(out) else out
        claim = named or stack.enter_context(claimed(folder, overwrite=False))
        writer = RunWriter(
            claim.folder,
            {**_record_of_backend(worker, opened), **of_plan},
            state=Checkpoint(start_sha256=tensors_digest(plan.initial_weights)),
            every=checkpoint_every,
        )
        writer.begin(files)
        with _marking(writer):
            observer.opened(opened, plan, claim.folder)
            fitting = time.perf_counter()
            fitted = _fit(worker, plan, data, writer=writer, observer=observer, insist=insist)
            writer.add_flags(fitted.flags)
            writer.settle()
            predicting = time.perf_counter()
            logits = worker.predict(writer.state.weights, data.test_images)
            _refuse_non_finite({"a test logit": logits}, when="training")
            predicted = time.perf_counter() - predicting
            results = results_of(logits, test_ids=plan.test_ids, dataset=dataset)
            writer.outcome(results)
            for name, content in (keep(worker, plan, data) if keep else {}).items():
                writer.write(name, content)
            # The evaluation reads the folder, which is not marked complete yet: it is marked last,
            # so that a run that was killed never looks complete.
            write_evaluation(Run(claim.folder, complete=False))
            timings = {
                "open_s": opened.seconds,
                "first_step_s": fitting - start + fitted.first_step_s,
                "fit_s": fitted.seconds,
                "predict_s": predicted,
                "total_s": time.perf_counter() - start,
            }
            writer.finish("complete", metrics=results.metrics.model_dump(), timings=timings)
            observer.whole()
            claim.finish()
    return Run(folder)


@dataclass(frozen=True)
class _Fitted:
    """What `fit` returned: flags, and times in seconds.

    `first_step_s` is the time until the first report of progress, compilation included.
    """

    flags: Mapping[str, Any]
    seconds: float
    first_step_s: float


def _fit(
    worker: Worker,
    plan: Plan,
    data: TrainingData,
    *,
    writer: RunWriter,
    observer: Observer,
    insist: bool,
) -> _Fitted:
    first_step: float | None = None

    def on_step(step: int) -> None:
        nonlocal first_step
        if first_step is None:
            first_step = time.perf_counter() - start
        observer.step(step)

    def on_epoch(record: EpochRecord) -> None:
        losses = {"the loss": record.loss, "the validation loss": record.val_loss}
        _refuse_non_finite({**losses, **record.weights}, when=f"epoch {record.epoch}")
        # A backend may report no single steps; the end of the epoch then counts as one.
        on_step(record.epoch * plan.steps_per_epoch)
        observer.epoch(writer.epoch(record))

    def on_fallback(fallback: Fallback) -> None:
        writer.add_flags({"fallback": fallback.reason})
        if fallback.failed and insist:
            raise SetupError(
                f"--fast was given, but {fallback.reason}; leave --fast out to train that way"
            )
        observer.fallback(fallback.reason)

    start = time.perf_counter()
    ran = worker.fit(plan, data, Progress(epoch=on_epoch, step=on_step, fallback=on_fallback))
    seconds = time.perf_counter() - start
    return _Fitted(flags=ran, seconds=seconds, first_step_s=first_step or seconds)


def default_folder(spec: Spec, label: str) -> Path:
    """Make the new folder `runs/<time>-<spec>-<label>` and return its path."""
    return new_folder(f"{spec.name}-{label}")


def _record_of_backend(worker: Worker, opened: Opened) -> dict[str, Any]:
    return {
        "backend": {"name": worker.label, "target": target_of(worker.backend)},
        "versions": dict(opened.environment.versions),
        "accelerator": opened.runtime.accelerator,
        "device": opened.device,
        "threads": opened.runtime.threads,
        "fit_path": opened.runtime.fit_path,
        "flags": dict(opened.flags),
    }


def _record_of_plan(plan: Plan, dataset: Dataset) -> dict[str, Any]:
    return {
        "machine": describe_machine(),
        "spec": plan.spec.model_dump(mode="json"),
        "spec_sha256": plan.spec.digest,
        "dataset": dataset_record(plan, dataset),
    }


def dataset_record(plan: Plan, dataset: Dataset) -> dict[str, Any]:
    """The content of `dataset` in `run.json`."""
    return {
        "name": dataset.name,
        "source": dataset.source,
        "sha256": dataset.digest,
        "rows": len(dataset),
        "image_shape": list(dataset.images.shape[1:]),
        "classes": dataset.classes,
        "train_rows": len(plan.train_ids),
        "test_rows": len(plan.test_ids),
        "train_ids_sha256": ids_digest(plan.train_ids),
        "test_ids_sha256": ids_digest(plan.test_ids),
    }


def ids_digest(ids: Array) -> str:
    """SHA-256 (hex) of row ids as little-endian int64."""
    return sha256(np.ascontiguousarray(ids, dtype="<i8").tobytes()).hexdigest()


def _refuse_non_finite(numbers: Mapping[str, Array | float], *, when: str) -> None:
    for what, value in numbers.items():
        if not np.isfinite(value).all():
            raise DivergedError(
                f"training diverged: {what} is not finite after {when}; "
                f"lower optimizer.learning_rate"
            )


@contextmanager
def _marking(writer: RunWriter) -> Iterator[None]:
    """Record in `run.json` why a run ended early, and tell the user what is left of it."""
    try:
        yield
    except KeyboardInterrupt:
        text = f"interrupted after {len(writer.history)} finished epochs; folder: {writer.path}"
        stop = InterruptedRun(text)
        _end(writer, stop, status="interrupted", text=text)
        raise stop from None
    except Stop as stop:
        _end(writer, stop, status="interrupted", text=str(stop))
        raise
    except MnistMlpError as error:
        _end(writer, error, status="failed", text=str(error))
        raise
    except BaseException as error:
        _end(writer, error, status="failed", text=f"{type(error).__name__}: {error}")
        raise


def _end(writer: RunWriter, error: BaseException, *, status: str, text: str) -> None:
    writer.stop(status, error=text)
    if writer.history:
        error.add_note(
            f"epoch {len(writer.history)} is saved: evaluate, predict and export take it from "
            f"{writer.path}"
        )
