"""Take one sample: run one fresh process of a case and time it from start to end."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mnist_mlp.bench.answers import ANSWERS, COMPARE_RUNS, PREPARED
from mnist_mlp.bench.environment import gpu_memory
from mnist_mlp.bench.pinned import check_counts, thread_variables
from mnist_mlp.bench.process import Others, load, timed
from mnist_mlp.bench.record import Case, Kind, Sample
from mnist_mlp.contract import EpochRecord, Progress
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import (
    EXIT_ENVIRONMENT,
    BackendError,
    MnistMlpError,
    SetupError,
)
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.readers.regular import Origin
from mnist_mlp.readers.texts import read_json
from mnist_mlp.registry import label_of
from mnist_mlp.run.folder import Run
from mnist_mlp.settings import OTHER_VARIABLES
from mnist_mlp.spec import Spec
from mnist_mlp.worker.parent import Worker

_Content = dict[str, Any]

_REFUSED_GPU = "--accelerator gpu: "


@dataclass(frozen=True)
class Bench:
    """What the cases of a sitting share.

    Parameters
    ----------
    dataset : callable
        Returns the rows for a specification.
    data_words : tuple of str
        Options with which `mnist_mlp train` finds the same rows.
    variables : tuple of (name, value)
        Environment variables of commands and scripts, added to our own.
    examples : Path
        Folder of the peers' scripts.
    verbose : bool
        Show what the frameworks of the workers print.
    """

    dataset: Callable[[Spec], Dataset]
    data_words: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    examples: Path = Path("examples")
    verbose: bool = False

    def environment(self) -> dict[str, str]:
        """Our environment variables, without those that would change the specification."""
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MNIST_MLP_") or name in OTHER_VARIABLES
        }
        return {**own, **dict(self.variables)}

    def plan(self, case: Case) -> tuple[Plan, Dataset]:
        """The plan and the data set of a case. Without validation, the test set is a single row."""
        dataset = self.dataset(case.spec)
        # A worker's first epoch includes compiling, so it is not one of the steady epochs.
        epochs = case.epochs + 1 if case.kind == "worker" else case.epochs
        plan = make_plan(with_epochs(case.spec, epochs), dataset)
        if case.train_rows is not None:
            plan = replace(plan, train_ids=plan.train_ids[: case.train_rows])
        if not case.validated:
            plan = replace(plan, test_ids=plan.test_ids[:1])
        return plan, dataset


def with_epochs(spec: Spec, epochs: int) -> Spec:
    """The same specification for another number of epochs, all of which are trained."""
    changes = {"epochs": epochs, "patience": 0, "min_delta": 0.0}
    return spec.model_copy(update={"training": spec.training.model_copy(update=changes)})


def sample(case: Case, bench: Bench, *, number: int, place: int) -> Sample:
    """Time one process of a case.

    A missing framework or GPU, and any failure, is recorded in the sample and not raised, so that
    the other cases are still measured.
    """
    empty = Sample(case=case.key, round=number, place=place, load_before=load())
    measure = _MEASURES[case.kind]
    others = Others()
    try:
        content = measure(case, bench)
    except MnistMlpError as error:
        absent = isinstance(error, SetupError) and not isinstance(error, BackendError)
        text = str(error)
        if absent and text.startswith(_REFUSED_GPU):
            words = text.removeprefix(_REFUSED_GPU).partition(";")[0].partition(" here")[0]
            text = "no GPU here: " + words.replace(repr(label_of(case.backend)), case.backend)
        return empty.model_copy(
            update={"status": "absent" if absent else "failed", "message": text}
        )
    return empty.model_copy(update={**content, "others_cores": others.cores()})


def _worker(case: Case, bench: Bench) -> _Content:
    """Time a backend phase by phase, by the clock of this process."""
    plan, dataset = bench.plan(case)
    data = training_data(plan, dataset)
    gpu_before = gpu_memory() if case.accelerator == "gpu" else None
    arrivals: list[float] = []
    own: list[float] = []
    last: list[EpochRecord] = []

    def on_epoch(record: EpochRecord) -> None:
        arrivals.append(time.perf_counter())
        own.append(record.seconds)
        last[:] = [record]

    start = time.perf_counter()
    with Worker(
        case.backend,
        accelerator=case.accelerator,
        threads=case.threads or 1,
        fit_path=case.fit_path or "fast",
        verbose=bench.verbose,
    ) as worker:
        opened = worker.open(plan.spec)
        ready = time.perf_counter()
        ran = worker.fit(plan, data, Progress(epoch=on_epoch)) or {}
        trained = time.perf_counter()
        if len(arrivals) != plan.spec.training.epochs:
            raise BackendError(
                f"{case.backend} reported {len(arrivals)} epochs, "
                f"expected {plan.spec.training.epochs}"
            )
        worker.predict(last[0].weights, data.test_images)
        predicted = time.perf_counter()
        usage = worker.usage()
        gpu_after = gpu_memory() if gpu_before is not None else None
    memory = {key: int(usage[key]) for key in ("import_peak", "peak") if usage.get(key)}
    if gpu_before is not None and gpu_after is not None:
        memory["gpu_peak"] = max(gpu_after - gpu_before, 0)
    return {
        "phases": {
            "spawn_s": ready - start - opened.seconds,
            "import_s": usage["import_s"],
            "build_s": opened.seconds - usage["import_s"],
            "first_epoch_s": arrivals[0] - ready,
            "trained_s": trained - start,
            "predict_s": predicted - trained,
            "process_s": predicted - start,
        },
        "epochs_s": tuple(np.diff(arrivals).tolist()),
        "own_epochs_s": tuple(own[1:]),
        "memory": memory,
        "facts": {
            "device": opened.device,
            "versions": dict(opened.environment.versions),
            "flags": {**opened.flags, **ran},
            "train_rows": len(plan.train_ids),
            "loss": _finite(last[0].loss),
            "val_accuracy": _finite(last[0].val_accuracy),
        },
    }


def _command(case: Case, bench: Bench) -> _Content:
    """Time `mnist_mlp train` as a whole, from the shell to the report."""
    with tempfile.TemporaryDirectory() as folder:
        config, out = Path(folder) / "bench.toml", Path(folder) / "run"
        spec = with_epochs(case.spec, case.epochs)
        config.write_text(spec.as_toml(), encoding="utf-8")
        words = ["train", "--backend", case.backend, "--config", str(config), "--out", str(out)]
        words += ["--accelerator", case.accelerator, "--progress", "none"]
        words += [] if case.threads is None else ["--threads", str(case.threads)]
        words += ["--plain"] if case.fit_path == "plain" else []
        command = [sys.executable, "-m", "mnist_mlp", *words, *bench.data_words]
        finished = timed(command, environment=bench.environment())
        if finished.code == EXIT_ENVIRONMENT and _REFUSED_GPU in finished.last_words:
            raise SetupError(_REFUSED_GPU + finished.last_words.partition(_REFUSED_GPU)[2])
        if finished.code:
            raise BackendError(finished.last_words)
        run = Run(out)
    return {
        "phases": {"process_s": finished.seconds},
        "memory": {"peak": finished.peak} if finished.peak else {},
        "facts": {"timings": run.record.timings, "accuracy": run.metrics.accuracy},
    }


def _answer(case: Case, bench: Bench) -> _Content:
    """Time any command of `mnist_mlp`, from the shell to its answer."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bench.toml"
        config.write_text(with_epochs(case.spec, case.epochs).as_toml(), encoding="utf-8")
        for key in (*PREPARED.get(case.key, ()), case.key):
            places = {"folder": folder, "examples": str(bench.examples)}
            words = [word.format(**places) for word in ANSWERS[key]]
            words += ["--config", str(config), *bench.data_words]
            # Finished runs are compared with the threads that they were trained with.
            words += ["--threads", str(case.threads or 1)] if key != COMPARE_RUNS else []
            command = [sys.executable, "-m", "mnist_mlp", *words]
            finished = timed(command, environment=bench.environment())
            if finished.code:
                raise BackendError(f"{key}: {finished.last_words}")
    phases = {"process_s": finished.seconds}
    if finished.first_words is not None:
        phases["first_words_s"] = finished.first_words
    return {"phases": phases, "memory": {"peak": finished.peak} if finished.peak else {}}


def _peer(case: Case, bench: Bench) -> _Content:
    """Time a script of `examples/`.

    The case stores its name only, since the result file must not contain a folder of this machine.
    """
    script, *words = case.arguments
    words = [str(bench.examples / script), *words]
    if case.threads is None:
        return _script(case, bench, words=words)
    with tempfile.TemporaryDirectory() as folder:
        counted = Path(folder) / "threads.json"
        pinned = ["-m", "mnist_mlp.bench.pinned", str(counted), *words]
        content = _script(case, bench, words=pinned, variables=thread_variables(case.threads))
        counts = read_json(counted, Origin(BackendError))
    check_counts(counts, threads=case.threads)
    del content["phases"]["process_s"]  # the threads were counted in this time
    return {**content, "facts": {**content["facts"], "threads_counted": counts}}


def _script(
    case: Case, bench: Bench, *, words: Sequence[str], variables: Mapping[str, str] | None = None
) -> _Content:
    """Time a script that writes `epochs_s` and other facts to the file named by `--timings`.

    `variables` are added to its environment.
    """
    # Scripts are timed on the CPU only; -1 hides every GPU from them.
    variables = {**bench.environment(), "CUDA_VISIBLE_DEVICES": "-1", **(variables or {})}
    with tempfile.TemporaryDirectory() as folder:
        timings = Path(folder) / "timings.json"
        options = ["--epochs", str(case.epochs), "--timings", str(timings)]
        finished = timed([sys.executable, *words, *options], environment=variables)
        if finished.code:
            raise BackendError(finished.last_words)
        facts = read_json(timings, Origin(BackendError))
    if not isinstance(facts, dict) or not isinstance(facts.get("epochs_s"), list):
        raise BackendError(f"{words[0]}: wrote no list epochs_s to the file of --timings")
    first, *steady = facts.pop("epochs_s")
    return {
        "phases": {"process_s": finished.seconds, "first_epoch_s": first},
        "epochs_s": tuple(steady),
        "memory": {"peak": finished.peak} if finished.peak else {},
        "facts": facts,
    }


def _limit(case: Case, bench: Bench) -> _Content:
    """Time the matrix products alone for several numbers of threads; the fastest is the limit."""
    plan, _ = bench.plan(case)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bench.toml"
        config.write_text(case.spec.as_toml(), encoding="utf-8")
        rows = ("--rows", str(len(plan.train_ids)))
        words = ["-m", "mnist_mlp.bench.sgemm", str(config), *rows]
        content = _script(case, bench, words=words)
    by_threads: dict[str, list[float]] = content["facts"].pop("by_threads")
    fastest = min(by_threads, key=lambda threads: float(np.median(by_threads[threads])))
    return {
        "epochs_s": tuple(by_threads[fastest]),
        "series_s": {f"threads_{key}": tuple(values) for key, values in by_threads.items()},
        "facts": {**content["facts"], "threads": int(fastest)},
    }


def _finite(value: float) -> float | None:
    """None in place of NaN and infinity, which JSON does not have."""
    return value if np.isfinite(value) else None


_MEASURES: dict[Kind, Callable[[Case, Bench], _Content]] = {
    "worker": _worker,
    "command": _command,
    "peer": _peer,
    "limit": _limit,
    "answer": _answer,
}
