"""A run that ended early goes on, and ends with the bits of a run that was never stopped.

That every backend goes on from every epoch, with every optimizer, is in `conformance/test_fit.py`.
Here: whole folders, runs that are killed, what is refused, and folders that replace others.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import InterruptedRun, RunFolderError, UsageError
from mnist_mlp.leftovers import TEMPORARY_FILE
from mnist_mlp.parity.compare.trace import trace_files
from mnist_mlp.run.checkpoint import CHECKPOINT_FILE, read_checkpoint, write_checkpoint
from mnist_mlp.run.claim import claimed
from mnist_mlp.run.folder import Run
from mnist_mlp.run.writer import npz_bytes
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.training import Observer, resume, train
from mnist_mlp.worker.parent import Worker

Cli = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("no_figures")

SPEC: dict[str, Any] = {
    "name": "parts",
    "seed": 5,
    "model": {"layer_sizes": [30, 9, 4]},
    # The rate changes in the first and in the third epoch of six steps.
    "optimizer": {
        "learning_rate": 0.3,
        "momentum": 0.9,
        "clip_norm": 0.5,
        "schedule": [[4, 0.1], [15, 0.2]],
    },
    "training": {"batch_size": 32, "epochs": 4},
}


def spec_of(epochs: int = 4, **optimizer: Any) -> Spec:
    return parse_spec(
        SPEC
        | {"training": SPEC["training"] | {"epochs": epochs}}
        | ({"optimizer": optimizer} if optimizer else {})
    )


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file of a run, without what tells the time.

    A file that was half-written by a killed process is swept a minute later (`leftovers`).
    """
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not TEMPORARY_FILE.fullmatch(path.name)
    }
    # The checkpoint has the seconds of the history in it.
    for timed in ("run.json", CHECKPOINT_FILE):
        files.pop(timed)
    lines = files["history.csv"].decode().splitlines()
    files["history.csv"] = "\n".join(
        ",".join(cell for n, cell in enumerate(line.split(",")) if n != 5) for line in lines
    ).encode()
    return files


def same_run(a: Path, b: Path) -> None:
    assert Run(a).is_complete
    assert Run(b).is_complete
    left, right = content_of(a), content_of(b)
    assert left.keys() == right.keys()
    assert [name for name in left if left[name] != right[name]] == []
    mine, theirs = read_checkpoint(a), read_checkpoint(b)
    assert (mine.slots or {}).keys() == (theirs.slots or {}).keys()
    for slot, tensors in (mine.slots or {}).items():
        for name, tensor in tensors.items():
            assert tensor.tobytes() == (theirs.slots or {})[slot][name].tobytes()


def stopped_after(epoch: int) -> Observer:
    def on_epoch(row: Any) -> None:
        if row.epoch == epoch:
            raise KeyboardInterrupt

    return Observer(epoch=on_epoch)


def interrupted(folder: Path, data: Dataset, *, after: int = 2, **options: Any) -> Path:
    with pytest.raises(InterruptedRun):
        train(
            spec_of(),
            backend="numpy",
            dataset=data,
            out=folder,
            observer=stopped_after(after),
            **options,
        )
    return folder


@pytest.fixture(scope="module")
def straight(small_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four epochs at once. Not to be changed."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mnist_mlp.evaluate.figures.figure_files", lambda _: {})
        train(spec_of(), backend="numpy", dataset=small_data, out=folder, keep=trace_files)
    return folder


# --- The same bits --------------------------------------------------------------------------------


class Shared:
    """A worker of the whole session, in the place of a new one."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def __enter__(self) -> Worker:
        return self.worker

    def __exit__(self, *_: object) -> None:
        self.worker.fit_path = "fast"


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch, workers: Callable[[str], Worker]) -> None:
    def get(backend: str, *, fit_path: Any, **_: Any) -> Shared:
        name = {"mnist_mlp_keras:KerasBackend": "keras", "mnist_mlp_torch:TorchBackend": "torch"}
        worker = workers(name.get(backend, "numpy" if "numpy" in backend else backend))
        worker.fit_path = fit_path
        monkeypatch.setattr(worker, "close", lambda: None)  # other tests go on with it
        return Shared(worker)

    monkeypatch.setattr("mnist_mlp.training.Worker", get)
    monkeypatch.setattr("mnist_mlp.worker.of_run.Worker", get)


@pytest.mark.parametrize(
    ("framework", "path", "optimizer"),
    [
        pytest.param("keras", "fast", "adam", marks=pytest.mark.long),
        ("keras", "plain", "sgd"),
        ("torch", "fast", "sgd"),
        ("torch", "plain", "adam"),
        ("numpy", "fast", "sgd"),
        ("numpy", "plain", "adam"),
    ],
)
def test_two_parts_are_the_whole(
    framework: str,
    optimizer: str,
    path: Any,
    small_data: Dataset,
    tmp_path: Path,
    shared: None,
) -> None:
    settings = {"name": "adam", "learning_rate": 0.01} if optimizer == "adam" else {}
    common: dict[str, Any] = {"backend": framework, "dataset": small_data, "fit_path": path}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(spec_of(4, **settings), out=whole, keep=trace_files, **common)
    train(spec_of(1, **settings), out=parts, keep=trace_files, **common)
    resume(parts, spec_of(4, **settings), dataset=small_data, keep=trace_files)
    same_run(whole, parts)
    record = Run(parts).record
    assert [part.epoch for part in record.resumed] == [1]
    assert (record.fit_path, record.changed_within) == (path, "")


def test_an_interrupted_run_goes_on(small_data: Dataset, straight: Path, tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run", small_data, keep=trace_files)
    before = Run(folder, complete=False).record
    (folder / "mine.txt").write_text("kept")
    (folder / "report.html").write_text("of the second epoch")
    resume(folder, spec_of(), dataset=small_data, keep=trace_files)
    assert (folder / "mine.txt").read_text() == "kept"
    (folder / "mine.txt").unlink()
    same_run(folder, straight)
    after = Run(folder).record
    assert (after.started, after.error, before.error != "") == (before.started, "", True)
    assert after.timings["fit_s"] >= sum(row.seconds for row in Run(folder).history[:2])


def test_a_rarer_checkpoint_loses_epochs_of_a_killed_run_only(
    small_data: Dataset, straight: Path, tmp_path: Path
) -> None:
    folder = interrupted(
        tmp_path / "run", small_data, after=3, checkpoint_every=2, keep=trace_files
    )
    assert read_checkpoint(folder).epoch == 3, "a run that is only stopped saves its last epoch"
    saved: list[int] = []

    def look(row: Any) -> None:
        if row.epoch > 1:
            saved.append(read_checkpoint(tmp_path / "other").epoch)

    train(
        spec_of(5),
        backend="numpy",
        dataset=small_data,
        out=tmp_path / "other",
        checkpoint_every=2,
        observer=Observer(epoch=look),
    )
    assert saved == [2, 2, 4, 4]
    assert read_checkpoint(tmp_path / "other").epoch == 5
    resume(folder, spec_of(), dataset=small_data, keep=trace_files)
    same_run(folder, straight)


class Crash(BaseException):
    """The process is gone: nothing is written after it."""


def test_a_run_that_dies_at_any_of_its_writes_goes_on(
    small_data: Dataset, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And dies again, at the same write of its second part."""
    from mnist_mlp.run import writer

    own = writer.write_atomically
    left = 0

    def write(path: Path, content: bytes, **options: Any) -> None:
        nonlocal left
        if left == 0:
            raise Crash
        left -= 1
        own(path, content, **options)

    deaths = 0
    for number in range(1, 100, 3):
        folder = tmp_path / str(number)
        with monkeypatch.context() as patched:
            for module in ("writer", "checkpoint", "evaluation"):
                patched.setattr(f"mnist_mlp.run.{module}.write_atomically", write)
            left = number
            try:
                train(spec_of(), backend="numpy", dataset=small_data, out=folder, keep=trace_files)
                break
            except Crash:
                deaths += 1
            left = number
            try:
                resume(folder, spec_of(), dataset=small_data, keep=trace_files)
            except Crash:
                deaths += 1
        if not Run(folder, complete=False).is_complete:
            resume(folder, spec_of(), dataset=small_data, keep=trace_files)
        same_run(folder, straight)
    assert deaths > 8


# --- Real kills -----------------------------------------------------------------------------------


def killed(words: list[str], *, when: Callable[[], bool], folder: Path) -> None:
    """Start a command and kill it with SIGKILL as soon as something is so."""
    command = [sys.executable, "-m", "mnist_mlp", *words]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 60
        while not when():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()


def saved_epochs(folder: Path) -> int:
    return read_checkpoint(folder).epoch if (folder / CHECKPOINT_FILE).exists() else 0


@pytest.mark.parametrize(
    "framework",
    ["numpy", *(pytest.param(name, marks=pytest.mark.long) for name in ("keras", "torch"))],
)
def test_a_killed_run_goes_on(framework: str, cli: Cli, idx_dir: Path, tmp_path: Path) -> None:
    """NumPy's twice, the second time while it is going on; the frameworks start more slowly."""
    network = ["--set", "model.layer_sizes=[30,9,4]", "--set", "optimizer.momentum=0.9"]
    words = ["--backend", framework, "--epochs", "2000", "--progress", "none", *network]
    data, run = ["--data-dir", str(idx_dir)], tmp_path / "run"
    killed([*words, *data, "--out", "run"], when=lambda: saved_epochs(run) >= 3, folder=tmp_path)
    stops = [saved_epochs(run)]
    again = ["--resume", "run", "--progress", "none", *data]
    if framework == "numpy":
        killed(again, when=lambda: saved_epochs(run) > stops[0] + 2, folder=tmp_path)
        stops.append(saved_epochs(run))
    assert json.loads((run / "run.json").read_text())["status"] == "running"
    # Enough of it: the rest of 2,000 epochs would only take time.
    done = stops[-1] + 3
    ended = cli(*again, "--epochs", done, "--json")
    assert ended.returncode == 0, ended.stderr
    assert [part["epoch"] for part in json.loads(ended.stdout)["resumed"]] == stops
    whole = cli(*words, *data, "--out", "whole", "--epochs", done)
    assert whole.returncode == 0, whole.stderr
    same_run(run, tmp_path / "whole")


# --- What is refused ------------------------------------------------------------------------------


def test_a_changed_setting_is_named(small_data: Dataset, tmp_path: Path, cli: Cli) -> None:
    folder = interrupted(tmp_path / "run", small_data)
    before = content_of(folder)
    words: dict[tuple[object, ...], str] = {
        ("--learning-rate", 0.5): "optimizer.learning_rate is 0.3 in the run, 0.5 now",
        ("--set", "seed=6"): "seed is 5 in the run, 6 now",
        ("--threads", 2): "threads is 1 in the run, 2 now",
        ("--plain",): "fit_path is 'fast' in the run, 'plain' now",
        ("--backend", "torch"): "backend.target is 'mnist_mlp_numpy:NumpyBackend' in the run",
        ("--accelerator", "gpu"): "accelerator is 'cpu' in the run, 'gpu' now",
        ("--epochs", 1): "training.epochs is 1, but 2 epochs are trained",
        ("--out", "other"): "goes on in the run's own folder; leave --out out",
        ("--overwrite",): "leave --overwrite out",
    }
    for options, text in words.items():
        done = cli("--resume", folder, *options)
        assert (done.returncode, done.stdout) == (2, ""), options
        assert text in done.stderr
    both = cli("--resume", folder, "--seed", 6, "--batch-size", 16)
    assert "seed is 5" in both.stderr
    assert "training.batch_size is 32 in the run, 16 now" in both.stderr
    assert content_of(folder) == before, "a refusal changes nothing"


def test_other_data_is_named(small_data: Dataset, straight: Path, tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run", small_data)
    before = content_of(folder)
    pixels = small_data.images.copy()
    pixels[0, 0, 0] ^= 1
    other = replace(small_data, images=pixels)
    with pytest.raises(
        RunFolderError, match=r"dataset\.sha256 is '[\w.]+' in the run, '[\w.]+' here"
    ):
        resume(folder, spec_of(), dataset=other)
    assert content_of(folder) == before


def test_a_record_that_was_edited_is_refused(small_data: Dataset, tmp_path: Path) -> None:
    """Else the first epochs would be of one run, and the others of another one."""
    folder = interrupted(tmp_path / "run", small_data)
    record = json.loads((folder / "run.json").read_text())
    record["spec"]["optimizer"]["learning_rate"] /= 2
    (folder / "run.json").write_text(json.dumps(record))
    before = content_of(folder)
    edited = Run(folder, complete=False).spec
    with pytest.raises(RunFolderError, match=r"run\.json: spec was changed after the run began"):
        resume(folder, edited, dataset=small_data)
    assert content_of(folder) == before


@pytest.mark.parametrize("name", ["order.npz", "initial_weights.safetensors", CHECKPOINT_FILE])
def test_a_plan_that_was_drawn_otherwise_is_named(
    small_data: Dataset, tmp_path: Path, name: str
) -> None:
    folder = interrupted(tmp_path / "run", small_data)
    if name == "order.npz":
        order = dict(np.load(folder / name))
        order["epochs"][1] = order["epochs"][1][::-1]
        (folder / name).write_bytes(npz_bytes(order))
    elif name == CHECKPOINT_FILE:  # of a run that started elsewhere
        write_checkpoint(folder, replace(read_checkpoint(folder), start_sha256="0" * 64))
    else:
        shutil.copy(folder / "weights.safetensors", folder / name)
    with pytest.raises(RunFolderError, match=f"the same plan, but {name}"):
        resume(folder, spec_of(), dataset=small_data)


def test_a_complete_run_has_nothing_left(straight: Path, small_data: Dataset) -> None:
    before = content_of(straight)
    with pytest.raises(UsageError, match=r"is complete, with all its 4 epochs; .* add --epochs"):
        resume(straight, spec_of(), dataset=small_data)
    assert content_of(straight) == before


def test_a_backend_without_checkpoints_trains_and_is_refused_in_words(
    small_data: Dataset, tmp_path: Path
) -> None:
    """A stranger's, written before there were checkpoints."""
    spec = parse_spec(SPEC | {"optimizer": {"learning_rate": 0.3}})
    folder = tmp_path / "run"
    with pytest.raises(InterruptedRun):
        train(spec, backend="stranger", dataset=small_data, out=folder, observer=stopped_after(2))
    assert read_checkpoint(folder).slots is None
    with pytest.raises(UsageError, match="'stranger' does not report the optimizer's state"):
        resume(folder, spec, dataset=small_data)
    train(spec, backend="stranger", dataset=small_data, out=folder, overwrite=True)
    assert len(Run(folder).history) == 4


def test_a_backend_that_reports_its_state_but_takes_none(
    small_data: Dataset, tmp_path: Path
) -> None:
    folder = interrupted(tmp_path / "run", small_data)
    record = json.loads((folder / "run.json").read_text())
    target = "faulty_backends:NoStartBackend"
    record["backend"] = {"name": "nostart", "target": target}
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="cannot go on from a checkpoint"):
        resume(folder, spec_of(), dataset=small_data, trusted=[target])
    with pytest.raises(UsageError, match="add --trust-backend"):
        resume(folder, spec_of(), dataset=small_data)


def test_a_history_without_a_checkpoint(small_data: Dataset, tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run", small_data)
    (folder / CHECKPOINT_FILE).unlink()
    with pytest.raises(UsageError, match=r"has a history but no checkpoint\.safetensors"):
        resume(folder, spec_of(), dataset=small_data)


def test_a_run_that_is_being_written_is_left_alone(small_data: Dataset, tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run", small_data)
    handle = os.open(folder, os.O_RDONLY)
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(UsageError, match="being written there; try again when it has ended"):
            resume(folder, spec_of(), dataset=small_data)
    finally:
        os.close(handle)


# --- Other versions -------------------------------------------------------------------------------


def test_parts_trained_with_other_versions_are_told_of(
    small_data: Dataset, tmp_path: Path, cli: Cli, idx_dir: Path
) -> None:
    folder = interrupted(tmp_path / "run", small_data)
    record = json.loads((folder / "run.json").read_text())
    record["versions"]["numpy"] = "1.0"
    record["dataset"]["name"] = "idx"
    (folder / "run.json").write_text(json.dumps(record))
    notes: list[str] = []
    resume(folder, spec_of(), dataset=small_data, observer=Observer(note=notes.append))
    (note,) = notes
    assert "the bits may differ" in note
    assert "from epoch 3 on it was trained with {'numpy': '" in note
    # A replay has only one of the versions, so that other bits would prove nothing.
    done = cli("compare", folder, folder, "--data-dir", idx_dir, "--json")
    assert json.loads(done.stdout)["verdict"] == "inconclusive"
    assert "from epoch 3 on it was trained with" in done.stdout


# --- Folders that replace others ------------------------------------------------------------------


def beside(folder: Path) -> Path:
    (found,) = folder.parent.glob(f".{folder.name}.new-*")
    return found


def test_a_longer_run_replaces_the_complete_one_at_the_end(
    small_data: Dataset, straight: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(spec_of(2), backend="numpy", dataset=small_data, out=folder, keep=trace_files)
    (folder / "mine.txt").write_text("kept")
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events").write_text("epochs 1 and 2")
    before = content_of(folder)
    with pytest.raises(InterruptedRun) as caught:
        resume(folder, spec_of(), dataset=small_data, observer=stopped_after(3))
    assert content_of(folder) == before, "the shorter run stays as it was"
    half = beside(folder)
    assert any(f"--resume {half}" in note for note in caught.value.__notes__)
    finished = resume(half, spec_of(), dataset=small_data, keep=trace_files)
    assert finished.path.samefile(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (folder / "mine.txt").read_text() == "kept"
    assert (folder / "tensorboard" / "events").read_text() == "epochs 1 and 2"
    (folder / "mine.txt").unlink()
    shutil.rmtree(folder / "tensorboard")
    same_run(folder, straight)


def test_an_interrupted_overwrite_goes_on_and_takes_the_old_one_s_place(
    small_data: Dataset, straight: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(spec_of(1), backend="numpy", dataset=small_data, out=folder)
    interrupted(folder, small_data, overwrite=True, keep=trace_files)
    assert len(Run(folder).history) == 1
    resume(beside(folder), spec_of(), dataset=small_data, keep=trace_files)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    same_run(folder, straight)


@pytest.mark.parametrize("old", ["moved away", "in its place"])
def test_a_kill_while_the_old_run_is_replaced(
    small_data: Dataset, straight: Path, tmp_path: Path, old: str, cli: Cli
) -> None:
    """The new run is complete already: only its folder's name is missing."""
    folder, new = tmp_path / "run", tmp_path / ".run.new-0123abcd"
    shutil.copytree(straight, new)
    if old == "in its place":
        train(spec_of(1), backend="numpy", dataset=small_data, out=folder)
    else:
        (tmp_path / ".run.old-0123abcd").mkdir()
        done = cli("evaluate", folder)
        assert done.returncode == 4
        assert "no such run folder" in done.stderr
        assert f"`train --resume {new}`" in done.stderr
        (tmp_path / ".run.old-0123abcd").rmdir()
    resume(new, spec_of(), dataset=small_data)
    same_run(folder, straight)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_half_built_run_replaces_nothing_but_a_run(
    small_data: Dataset, straight: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("five years")
    new = tmp_path / ".run.new-0123abcd"
    shutil.copytree(straight, new)
    with pytest.raises(UsageError, match="is not empty and holds no run"):
        resume(new, spec_of(), dataset=small_data)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "five years"
    assert Run(new).is_complete
    (tmp_path / "run" / "thesis.txt").unlink()
    taken = pytest.raises(UsageError, match="another run is being written")
    with claimed(tmp_path / "run", overwrite=False), taken:
        resume(new, spec_of(), dataset=small_data)
