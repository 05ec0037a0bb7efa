"""Train one backend, from a specification to a finished run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.contract import Devices, EpochRecord, Fallback, FitPath, Progress, State
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import (
    BackendError,
    DivergedError,
    InterruptedRun,
    MnistMlpError,
    SetupError,
    Stop,
)
from mnist_mlp.plan import Plan, TrainingData, make_plan, training_data
from mnist_mlp.reference import Array
from mnist_mlp.registry import target_of
from mnist_mlp.run.checkpoint import Checkpoint
from mnist_mlp.run.claim import claimed, claimed_to_resume, new_folder, replaced_by
from mnist_mlp.run.evaluation import import_evaluator, write_evaluation
from mnist_mlp.run.files import require_space
from mnist_mlp.run.folder import BEST_FILE, Run
from mnist_mlp.run.history import HistoryRow
from mnist_mlp.run.machine import describe_machine, processor_name
from mnist_mlp.run.results import results_of
from mnist_mlp.run.resume import refuse_other_plan, refuse_other_settings, state_of
from mnist_mlp.run.tensors import tensors_digest
from mnist_mlp.run.writer import ORDER_FILE, RunWriter, copy_logs, first_files, now, order_bytes
from mnist_mlp.spec import Spec
from mnist_mlp.stopping import stops
from mnist_mlp.worker.accelerator import require_driver
from mnist_mlp.worker.of_run import worker_of
from mnist_mlp.worker.parent import Opened, Worker

Keep = Callable[[Worker, Plan, TrainingData], Mapping[str, bytes]]


@dataclass(frozen=True)
class Observer:
    """Callbacks for what happens during a run. By default, each does nothing."""

    starting: Callable[[Worker], None] = lambda _: None
    """The backend's process was started, and begins to import its framework."""
    opened: Callable[[Opened, Plan, Path], None] = lambda *_: None
    """The backend is open. The path is the folder that the run is written to."""
    step: Callable[[int], None] = lambda _: None
    epoch: Callable[[HistoryRow], None] = lambda _: None
    reported: Callable[[EpochRecord], None] = lambda _: None
    """The same as the backend reported it, with the weights."""
    whole: Callable[[], None] = lambda: None
    """The run is complete, and its folder is about to be renamed: close all open files in it."""
    fallback: Callable[[str], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None
    """Something that the user should know about this run."""


def train(
    spec: Spec,
    *,
    backend: str,
    dataset: Dataset | Callable[[], Dataset],
    out: Path | Callable[[], Path],
    accelerator: str = "auto",
    threads: int = 1,
    fit_path: FitPath = "fast",
    devices: Devices = Devices(),  # noqa: B008 - it is frozen
    insist: bool = False,
    overwrite: bool = False,
    checkpoint_every: int = 1,
    keep: Keep | None = None,
    verbose: bool = False,
    timeout: float | None = None,
    figures: bool = True,
    native: bool = False,
    worker: Worker | None = None,
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
    devices : Devices, optional
        How many devices train together; one by default. Where a launcher has started a command for
        each of them, only the first calls this function (`worker.devices.is_first`), and the others
        call `follow`.
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
    timeout : float, optional
        Most seconds that the backend may go on without a report: a step, an epoch, a result.
    figures : bool
        Draw the figures. `evaluate` can do it later; for a small run it takes longer than training.
    native : bool
        The framework draws initial weights and order itself, from the seed (`contract.Drawing`).
    worker : Worker, optional
        A process that was started for this run, with the same backend and settings. It stays open.
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
    began = time.perf_counter()
    if accelerator == "gpu":
        require_driver(backend)  # first, because it takes milliseconds and importing takes seconds
    with ExitStack() as stack:
        # A folder that was named is taken at once: a mistake must not cost a data set's loading.
        named = None if callable(out) else stack.enter_context(claimed(out, overwrite=overwrite))
        own = worker is None
        worker = worker or stack.enter_context(
            Worker(
                backend,
                accelerator=accelerator,
                threads=threads,
                fit_path=fit_path,
                devices=devices,
                verbose=verbose,
                timeout=timeout,
            )
        )
        observer.starting(worker)
        ready = _prepare(worker, spec, dataset, native=native, figures=figures)
        folder = out() if callable(out) else out
        claim = named or stack.enter_context(claimed(folder, overwrite=False))
        record = {**_record_of_backend(worker, ready.opened), **_record_of_plan(ready)}
        if keep is not None:
            record["trace"] = True
        if native:
            record["native"] = True
        writer = RunWriter(
            claim.folder,
            record,
            state=Checkpoint(start_sha256=tensors_digest(ready.plan.initial_weights)),
            every=checkpoint_every,
        )
        require_space(claim.folder, _least_space(ready.files, epochs=spec.training.epochs))
        writer.begin(ready.files)
        ending = _Ending(keep, figures=figures, close=own)
        _run(worker, ready, writer, began=began, insist=insist, ending=ending, observer=observer)
        claim.finish()
    return Run(folder)


def follow(
    spec: Spec,
    *,
    backend: str,
    dataset: Dataset | Callable[[], Dataset],
    accelerator: str = "auto",
    threads: int = 1,
    devices: Devices,
    verbose: bool = False,
    timeout: float | None = None,
) -> None:
    """Compute the share of one rank of a run that another process writes with `train`.

    Parameters and errors are those of `train`.
    """
    with Worker(
        backend,
        accelerator=accelerator,
        threads=threads,
        fit_path="plain",
        devices=devices,
        verbose=verbose,
        timeout=timeout,
    ) as worker:
        ready = _prepare(worker, spec, dataset, native=False, figures=False)
        worker.fit(ready.plan, ready.data)


def resume(
    path: Path,
    spec: Spec,
    *,
    dataset: Dataset | Callable[[], Dataset],
    given: Mapping[str, Any] | None = None,
    trusted: Collection[str] = (),
    insist: bool = False,
    checkpoint_every: int = 1,
    keep: Keep | None = None,
    verbose: bool = False,
    timeout: float | None = None,
    figures: bool = True,
    observer: Observer | None = None,
) -> Run:
    """Go on with an unfinished run, or train a complete one for more epochs.

    The result has the same bits as a run that was trained at once, on the same machine with the
    same versions. A complete run stays unchanged until the longer one is complete. A half-built new
    run of an interrupted `overwrite` takes the place of the old run.

    Parameters
    ----------
    path : Path
        A run folder.
    spec : Spec
        That of the run. Only `training.epochs` may differ, but not be lower than what is trained.
    dataset : Dataset, or a function that loads it
    given : mapping, optional
        What the user asked for by name: `backend.target`, `accelerator`, `threads`, `fit_path`,
        `devices`, `num_nodes`, `strategy`. It must be what the run recorded.
    trusted : collection of str
        Backends (module:Class) that the folder may name, besides the registered ones.
    insist, checkpoint_every, verbose, timeout, figures, observer
        As for `train`.
    keep : callable, optional
        As for `train`; it is called only if the run was begun with it.

    Raises
    ------
    UsageError
        A setting differs, nothing is left to train, or the backend cannot go on from a checkpoint.
    RunFolderError
        The folder is damaged, or the data set or the plan differs.
    MnistMlpError
        As for `train`.
    """
    observer = observer or Observer()
    began = time.perf_counter()
    found = Run(path, complete=False)
    extends = found.is_complete and replaced_by(path) is None
    with ExitStack() as stack:
        claim = stack.enter_context(
            claimed(path, overwrite=True) if extends else claimed_to_resume(path)
        )
        run = Run(path, complete=False)  # again, now under the lock
        if run.is_complete and not extends:
            return Run(claim.finish())  # only the last step of replacing the old run is missing
        state = state_of(run)
        refuse_other_settings(run, spec, given or {}, done=state.epoch)
        worker = stack.enter_context(
            worker_of(run, trusted=trusted, verbose=verbose, timeout=timeout)
        )
        observer.starting(worker)
        ready = _prepare(worker, spec, dataset, native=run.record.native, figures=figures)
        refuse_other_plan(run, state, ready.plan, dataset_record(ready.plan, ready.dataset))
        writer = RunWriter(
            claim.folder,
            _record_resumed(run, ready, done=state.epoch),
            state=replace(state, start_sha256=tensors_digest(ready.plan.initial_weights)),
            every=checkpoint_every,
        )
        if writer.record.changed_within:
            observer.note(f"the bits may differ from a run at once: {writer.record.changed_within}")
        if extends:
            copy_logs(run.path, claim.folder)
        writer.resume(ready.files)
        ending = _Ending(keep if run.record.trace else None, figures=figures)
        _run(worker, ready, writer, began=began, insist=insist, ending=ending, observer=observer)
        return Run(claim.finish())


@dataclass(frozen=True, eq=False)
class _Ready:
    """All that a run needs before its first step."""

    opened: Opened
    dataset: Dataset
    plan: Plan
    data: TrainingData
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class _Ending:
    """What is done when training has ended; see `train`."""

    keep: Keep | None
    figures: bool
    close: bool = True
    """Whether the backend's process ends before the evaluation, which needs none."""


def _prepare(
    worker: Worker,
    spec: Spec,
    dataset: Dataset | Callable[[], Dataset],
    *,
    native: bool,
    figures: bool,
) -> _Ready:
    """Open the backend; meanwhile load the data and draw the plan."""
    worker.start_opening(spec)
    # A missing GPU must be reported before a data set is loaded or downloaded.
    opened = worker.open(spec) if worker.accelerator == "gpu" else None
    # The worker needs seconds to import its framework. Meanwhile, this process does its own slow
    # work.
    dataset = dataset() if callable(dataset) else dataset
    plan = make_plan(spec, dataset)
    data = training_data(plan, dataset)
    import_evaluator(figures=figures)
    if native:
        opened = opened or worker.open(spec)
        drawn = worker.draw(plan)
        plan = replace(plan, initial_weights=dict(drawn.weights), orders=drawn.orders)
    files = first_files(plan)
    return _Ready(opened or worker.open(spec), dataset, plan, data, files)


def _run(
    worker: Worker,
    ready: _Ready,
    writer: RunWriter,
    *,
    began: float,
    insist: bool,
    ending: _Ending,
    observer: Observer,
) -> None:
    """Train what is left, evaluate, and mark the run complete. `began` is when all began, in s."""
    plan, data, opened = ready.plan, ready.data, ready.opened
    with marking(writer):
        observer.opened(opened, plan, writer.path)
        earlier = sum(row.seconds for row in writer.history)
        fitting = time.perf_counter()
        fitted = _fit(worker, plan, data, writer=writer, observer=observer, insist=insist)
        writer.add_flags(fitted.flags)
        writer.settle()
        made, training = writer.state.epoch, plan.spec.training
        if not made:
            raise BackendError(f"backend {worker.label!r} reported no epoch")
        stopped_early = made < training.epochs and stops(writer.state.val_losses, training)
        if stopped_early:
            plan = plan.as_trained(made)
            writer.write(ORDER_FILE, order_bytes(plan))
        predicting = time.perf_counter()
        logits = worker.predict(writer.state.weights, data.test_images)
        _refuse_non_finite({"a test logit": logits}, when="training")
        predicted = time.perf_counter() - predicting
        results = results_of(logits, test_ids=plan.test_ids, dataset=ready.dataset)
        writer.outcome(results)
        kept = ending.keep(worker, plan, data) if ending.keep else {}
        for name, content in kept.items():
            writer.write(name, content)
        if ending.close:
            worker.close()
        # The evaluation reads the folder, which is not marked complete yet: it is marked last, so
        # that a run that was killed never looks complete.
        write_evaluation(Run(writer.path, complete=False), figures=ending.figures)
        timings = {
            "open_s": opened.seconds,
            "first_step_s": fitting - began + fitted.first_step_s,
            "fit_s": earlier + fitted.seconds,
            "predict_s": predicted,
            "total_s": time.perf_counter() - began,
        }
        writer.finish(
            "complete",
            metrics=results.metrics.model_dump(),
            timings=timings,
            stopped_early=stopped_early,
            best=_record_of_best(writer.state),
        )
        observer.whole()


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

    training = plan.spec.training

    def on_epoch(record: EpochRecord) -> bool:
        if stops(writer.state.val_losses, training):
            return True  # a backend that cannot stop trains on
        losses = {"the loss": record.loss, "the validation loss": record.val_loss}
        _refuse_non_finite({**losses, **record.weights}, when=f"epoch {record.epoch}")
        # A backend may report no single steps; the end of the epoch then counts as one.
        on_step(record.epoch * plan.steps_per_epoch)
        observer.epoch(writer.epoch(record))
        observer.reported(record)
        return stops(writer.state.val_losses, training)

    def on_fallback(fallback: Fallback) -> None:
        writer.add_flags({"fallback": fallback.reason})
        if fallback.failed and insist:
            raise SetupError(
                f"--fast was given, but {fallback.reason}; leave --fast out to train that way"
            )
        observer.fallback(fallback.reason)

    start = time.perf_counter()
    state = writer.state
    if state.epoch == training.epochs or stops(state.val_losses, training):
        # Only what comes after training is missing.
        return _Fitted({}, seconds=0.0, first_step_s=0.0)
    ran = worker.fit(
        plan,
        data,
        Progress(epoch=on_epoch, step=on_step, fallback=on_fallback),
        start=_start_of(state, plan),
        val_losses=state.val_losses,
    )
    seconds = time.perf_counter() - start
    return _Fitted(flags=ran, seconds=seconds, first_step_s=first_step or seconds)


def _start_of(state: Checkpoint, plan: Plan) -> State | None:
    """Where a backend starts; None for the beginning, which every backend can."""
    if not state.epoch:
        return None
    return State(state.epoch * plan.steps_per_epoch, state.weights, state.slots or {})


def _least_space(files: Mapping[str, bytes], *, epochs: int) -> int:
    """Bytes that a run writes at least: its first files, checkpoints, the last and best weights.

    From the second epoch on, the new checkpoint is written before the old one is removed.
    """
    weights = len(files["initial_weights.safetensors"])
    return sum(map(len, files.values())) + (min(epochs, 2) + 2) * weights


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
        "devices": opened.runtime.devices.count,
        "num_nodes": opened.runtime.devices.nodes,
        "strategy": opened.runtime.devices.strategy,
        "flags": dict(opened.flags),
    }


def _record_of_plan(ready: _Ready) -> dict[str, Any]:
    return {
        "machine": describe_machine(),
        **_record_of_spec(ready.plan.spec),
        "dataset": dataset_record(ready.plan, ready.dataset),
    }


def _record_of_spec(spec: Spec) -> dict[str, Any]:
    return {"spec": spec.model_dump(mode="json"), "spec_sha256": spec.digest}


def _record_of_best(state: Checkpoint) -> dict[str, Any]:
    epoch = state.best_epoch
    return {"epoch": epoch, "val_loss": state.val_losses[epoch - 1], "file": BEST_FILE}


def _record_resumed(run: Run, ready: _Ready, *, done: int) -> dict[str, Any]:
    """The record to go on with: that of the run, without its end and with one more part."""
    ended = ("finished", "error", "metrics", "timings", "stopped_early", "best")
    before = {k: v for k, v in run.record.document().items() if k not in ended}
    part = {
        "epoch": done,
        "started": now(),
        "versions": dict(ready.opened.environment.versions),
        "processor": processor_name(),
    }
    return {
        **before,
        "status": "running",
        **_record_of_spec(ready.plan.spec),
        "resumed": [*before.get("resumed", ()), part],
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
def marking(writer: RunWriter) -> Iterator[None]:
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
    if writer.saved:
        note = (
            f"epoch {writer.saved} is saved in {writer.path}: evaluate, predict, export and report "
            f"take it"
        )
        if not isinstance(error, DivergedError):  # it would diverge again, at the same step
            note += f", and `train --resume {writer.path}` goes on from there"
        error.add_note(note)
