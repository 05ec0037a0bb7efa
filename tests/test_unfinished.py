"""A run that ended early keeps its last whole epoch, and every command that needs weights takes it.

Ended early: by Ctrl-C, by SIGKILL, by a loss that is not finite, or when all was trained and only a
figure could not be written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import BackendError, DivergedError, InterruptedRun, RunFolderError, SetupError
from mnist_mlp.report.words import percent
from mnist_mlp.run import writer as writer_module
from mnist_mlp.run.checkpoint import CHECKPOINT_FILE, Checkpoint, read_checkpoint, write_checkpoint
from mnist_mlp.run.folder import Run
from mnist_mlp.run.history import history_bytes, history_rows
from mnist_mlp.run.network import Network
from mnist_mlp.run.tensors import tensors_digest, tensors_to_bytes
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.training import Observer, train

Cli = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(scope="module")
def spec() -> Spec:
    return parse_spec(
        {
            "model": {"layer_sizes": [30, 9, 4]},
            "optimizer": {"learning_rate": 0.5},
            "training": {"batch_size": 32, "epochs": 4},
        }
    )


def stopped_after(epoch: int) -> Observer:
    """Ctrl-C as soon as an epoch is reported."""

    def on_epoch(row: Any) -> None:
        if row.epoch == epoch:
            raise KeyboardInterrupt

    return Observer(epoch=on_epoch)


@pytest.fixture
def interrupted(spec: Spec, small_data: Dataset, tmp_path: Path) -> Path:
    """A run of four epochs, interrupted after the second."""
    folder = tmp_path / "run"
    with pytest.raises(InterruptedRun) as caught:
        train(spec, backend="numpy", dataset=small_data, out=folder, observer=stopped_after(2))
    assert any("epoch 2 is saved" in note for note in caught.value.__notes__)
    return folder


def picture(folder: Path) -> Path:
    path = folder / "digit.png"
    pixels = np.zeros((20, 20), np.uint8)
    pixels[4:16, 8:12] = 255
    Image.fromarray(pixels).save(path)
    return path


# --- What the commands do with it -----------------------------------------------------------------


def test_commands_take_the_last_whole_epoch_and_say_so(
    interrupted: Path, idx_dir: Path, cli: Cli, tmp_path: Path
) -> None:
    weights = load_file(interrupted / "weights.safetensors")
    note = "unfinished run (interrupted): these are its weights after epoch 2 of 4"
    commands: dict[str, tuple[object, ...]] = {
        "evaluate": ("--data-dir", idx_dir),
        "predict": (picture(tmp_path),),
        "export": ("--to", "safetensors", "--data-dir", idx_dir),
    }
    for command, words in commands.items():
        done = cli(command, interrupted, *words, "--json")
        assert done.returncode == 0, done.stderr
        assert note in done.stderr
        answer = json.loads(done.stdout)
        assert (answer["status"], answer["weights"], answer["epoch"]) == (
            "interrupted",
            "last whole epoch",
            2,
        )
    exported = load_file(interrupted / "export" / "safetensors" / "model.safetensors")
    assert tensors_digest(exported) == tensors_digest(weights)
    report = (interrupted / "report.txt").read_text()
    assert report.startswith(f"IDX files, not MNIST; {note}\n"), "in the report, too"


def test_the_report_of_an_unfinished_run_is_that_of_its_weights(
    interrupted: Path, spec: Spec, small_data: Dataset, idx_dir: Path, cli: Cli, tmp_path: Path
) -> None:
    short = spec.model_copy(
        update={"training": spec.training.model_copy(update={"epochs": 2})},
    )
    whole = train(short, backend="numpy", dataset=small_data, out=tmp_path / "whole")
    assert cli("evaluate", interrupted, "--data-dir", idx_dir).returncode == 0
    texts = [(folder / "report.txt").read_text() for folder in (interrupted, whole.path)]
    assert texts[0].split("\n\n", 1)[1] == texts[1].split("\n\n", 1)[1]


def test_a_finished_run_needs_no_data_and_has_no_note(
    finished_run: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_mlp.data.load_dataset", lambda *_, **__: pytest.fail("loaded"))
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    done = cli("evaluate", folder, "--json")
    assert (done.returncode, done.stderr) == (0, f"evaluating {folder}\n")
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["weights"], answer["epoch"]) == ("complete", "final", 3)


def test_the_wrong_data_is_refused(interrupted: Path, cli: Cli) -> None:
    done = cli("evaluate", interrupted, "--data-dir", "nowhere")
    assert (done.returncode, "computing them needs its data set (idx)" in done.stderr) == (4, True)
    network = Network(Run(interrupted, complete=False))
    with pytest.raises(RunFolderError, match=r"predictions\.npz: missing"):
        _ = network.results


def test_compare_says_how_to_finish_the_run(
    interrupted: Path, finished_run: Path, cli: Cli
) -> None:
    done = cli("compare", interrupted, finished_run)
    assert done.returncode == 4
    assert "marked 'interrupted', not 'complete'" in done.stderr
    assert f"`train --resume {interrupted}`" in done.stderr
    assert "train it again" not in done.stderr


# --- The HTML report ------------------------------------------------------------------------------


def test_report_takes_the_last_whole_epoch_and_says_so(
    interrupted: Path, idx_dir: Path, cli: Cli
) -> None:
    note = "unfinished run (interrupted): these are its weights after epoch 2 of 4"
    done = cli("report", interrupted, "--data-dir", idx_dir, "--json")
    assert done.returncode == 0, done.stderr
    assert f"{interrupted}: {note}" in done.stderr
    (shown,) = json.loads(done.stdout)["runs"]
    assert (shown["status"], shown["weights"], shown["epoch"]) == (
        "interrupted",
        "last whole epoch",
        2,
    )
    page = (interrupted / "report.html").read_text()
    assert f'<strong class="heading">{note}</strong>' in page
    # The accuracy on the page is that of these weights.
    assert cli("evaluate", interrupted, "--data-dir", idx_dir).returncode == 0
    accuracy = json.loads((interrupted / "report.json").read_text())["accuracy"]
    assert f"<dd>{percent(accuracy)}</dd>" in page


def test_report_of_an_unfinished_run_without_its_data(interrupted: Path, cli: Cli) -> None:
    done = cli("report", interrupted, "--data-dir", "nowhere")
    assert (done.returncode, "computing them needs its data set (idx)" in done.stderr) == (4, True)
    assert not (interrupted / "report.html").exists()


def test_report_of_an_unfinished_run_beside_a_complete_one(
    interrupted: Path, spec: Spec, small_data: Dataset, idx_dir: Path, cli: Cli, tmp_path: Path
) -> None:
    """What `compare` said of an earlier run in that folder is not said of this one."""
    whole = train(spec, backend="numpy", dataset=small_data, out=tmp_path / "whole").path
    other = train(spec, backend="numpy", dataset=small_data, out=tmp_path / "other").path
    words = ("--data-dir", idx_dir)
    assert cli("compare", whole, other, "--out", tmp_path / "verdict", *words).returncode == 0
    verdict = tmp_path / "verdict" / "compare.json"
    shutil.copy(verdict, tmp_path)
    shutil.rmtree(other)
    interrupted.rename(other)

    done = cli("report", whole, other, "--data-dir", idx_dir)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text()
    assert "Identical" not in page
    assert "(other): unfinished run (interrupted): these are its weights after epoch 2" in page
    assert f"train --resume {other}" in page
    assert "complete</td>" in page, "the status of both"
    assert "interrupted</td>" in page

    done = cli("report", whole, other, "--compare", verdict, "--data-dir", idx_dir, "--overwrite")
    assert done.returncode == 4
    assert "trained again, which is not finished" in done.stderr


def test_only_the_figures_are_missing(
    spec: Spec, small_data: Dataset, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk after the last epoch. The predictions are there, so no data set is needed."""

    def full(_: object) -> Any:
        raise SetupError("cannot write figures/curves.svg: No space left on device")

    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("mnist_mlp.evaluate.figures.figure_files", full)
        with pytest.raises(SetupError, match="No space left"):
            train(spec, backend="numpy", dataset=small_data, out=folder)
    done = cli("evaluate", folder, "--data-dir", "nowhere", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epoch"] == 4
    assert "unfinished run (failed): these are its weights after epoch 4 of 4" in done.stderr


def test_a_diverged_run_keeps_the_epoch_before(
    spec: Spec, small_data: Dataset, tmp_path: Path, cli: Cli
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(DivergedError):
        train(spec, backend="faulty_backends:DivergingBackend", dataset=small_data, out=folder)
    done = cli("predict", folder, picture(tmp_path), "--json")
    assert (done.returncode, json.loads(done.stdout)["epoch"]) == (0, 2)


def test_before_the_first_epoch_there_is_nothing_to_take(
    spec: Spec, small_data: Dataset, tmp_path: Path, cli: Cli
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    folder, observer = tmp_path / "run", Observer(opened=stop)
    with pytest.raises(InterruptedRun):
        train(spec, backend="numpy", dataset=small_data, out=folder, observer=observer)
    done = cli("predict", folder, picture(tmp_path))
    assert (done.returncode, "before its first epoch was saved" in done.stderr) == (4, True)


def test_a_backend_that_reports_no_epoch_is_told(
    spec: Spec, small_data: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match="'silentbackend' reported no epoch"):
        train(
            spec,
            backend="faulty_backends:SilentBackend",
            dataset=small_data,
            out=tmp_path / "run",
        )


# --- Weights and history are one step -------------------------------------------------------------


class Crash(BaseException):
    """The process is gone: nothing is written after it."""


def crash_at(number: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """End the process at its write of this number; returns the names of the files written."""
    written: list[str] = []
    own = writer_module.write_atomically

    def write(path: Path, content: bytes, **options: Any) -> None:
        if len(written) == number:
            raise Crash
        written.append(path.name)
        own(path, content, **options)

    for module in ("writer", "checkpoint", "evaluation"):
        monkeypatch.setattr(f"mnist_mlp.run.{module}.write_atomically", write)
    return written


def test_no_moment_leaves_weights_and_history_apart(
    spec: Spec, small_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run crashes before each of its writes in turn."""
    epochs = []
    for number in range(100):
        folder = tmp_path / str(number)
        with monkeypatch.context() as patched:
            written = crash_at(number, patched)
            try:
                train(spec, backend="numpy", dataset=small_data, out=folder)
            except Crash:
                pass
            else:
                break
        if CHECKPOINT_FILE in written:
            network = Network(Run(folder, complete=False))
            assert network.history[-1].weights_sha256 == tensors_digest(network.weights)
            assert network.epoch == written.count(CHECKPOINT_FILE)
            epochs.append(network.epoch)
        if (folder / "weights.safetensors").exists():
            rows = history_rows((folder / "history.csv").read_text())
            weights = load_file(folder / "weights.safetensors")
            assert rows[-1].weights_sha256 == tensors_digest(weights)
    assert set(epochs) == {1, 2, 3, 4}
    assert epochs == sorted(epochs)
    assert Run(folder).is_complete


def test_weights_of_another_program_are_held_against_the_history(interrupted: Path) -> None:
    """It wrote no checkpoint, and was killed between the two files."""
    first = read_checkpoint(interrupted)
    (interrupted / CHECKPOINT_FILE).unlink()
    rows = (interrupted / "history.csv").read_text().splitlines(keepends=True)
    later = rows[2].replace("2,", "3,", 1)[:-65] + "0" * 64 + "\n"
    (interrupted / "history.csv").write_text("".join([*rows, later]))
    assert Network(Run(interrupted, complete=False)).epoch == 2
    strange = {name: array + 1 for name, array in first.weights.items()}
    (interrupted / "weights.safetensors").write_bytes(tensors_to_bytes(strange))
    with pytest.raises(RunFolderError, match="belongs to no epoch of history"):
        Network(Run(interrupted, complete=False))


# --- The checkpoint -------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was(interrupted: Path, tmp_path: Path) -> None:
    saved = read_checkpoint(interrupted)
    slots = {"velocity": {name: array * 2 for name, array in saved.weights.items()}}
    for given in (None, {}, slots):
        wanted = replace(saved, slots=given)
        write_checkpoint(tmp_path, wanted)
        found = read_checkpoint(tmp_path)
        assert (found.start_sha256, found.history) == (saved.start_sha256, saved.history)
        assert tensors_digest(found.weights) == tensors_digest(saved.weights)
        assert (found.slots is None) == (given is None)
        for slot, tensors in (given or {}).items():
            assert found.slots is not None
            assert tensors_digest(found.slots[slot]) == tensors_digest(tensors)


def test_the_same_state_gives_the_same_bytes(interrupted: Path, tmp_path: Path) -> None:
    before = (interrupted / CHECKPOINT_FILE).read_bytes()
    for _ in range(5):
        write_checkpoint(tmp_path, read_checkpoint(interrupted))
        assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before


def test_every_damage_to_a_checkpoint_is_noticed(interrupted: Path) -> None:
    path = interrupted / CHECKPOINT_FILE
    content = path.read_bytes()
    for place in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(RunFolderError, match=r"not a readable (checkpoint|safetensors file)"):
            read_checkpoint(interrupted)
    for broken in (b"", content[:-1], content + b"x", b"\xff" * 8 + content[8:]):
        path.write_bytes(broken)
        with pytest.raises(RunFolderError, match="not a readable safetensors file"):
            read_checkpoint(interrupted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w | {"layers.0.bias": np.zeros(8, np.float32)}, r"is float32 \(8,\), expected"),
        (lambda w: w | {"layers.0.bias": np.zeros(9, int)}, r"is int64 \(9,\), expected floating"),
        (lambda w: w | {"layers.0.bias": np.full(9, np.nan, np.float32)}, "is not finite"),
        (lambda w: w | {"layers.7.bias": np.zeros(9, np.float32)}, "is no weight of the spec"),
        (lambda w: {}, r"lacks layers\.0\.kernel"),
    ],
)
def test_a_whole_checkpoint_of_another_network(interrupted: Path, change: Any, words: str) -> None:
    """Its digests are right, but its tensors are not those of `run.json`."""
    saved = read_checkpoint(interrupted)
    weights = change(dict(saved.weights))
    last = replace(saved.history[-1], weights_sha256=tensors_digest(weights))
    text = history_bytes([saved.history[0], last])
    changed = replace(saved, weights=weights, best=weights, history_text=text)
    write_checkpoint(interrupted, changed)
    with pytest.raises((RunFolderError, DivergedError), match=words) as caught:
        Network(Run(interrupted, complete=False))
    assert CHECKPOINT_FILE in str(caught.value)


def test_a_checkpoint_that_cannot_be_read_back_does_not_replace_the_old_one(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = read_checkpoint(interrupted)
    before = (interrupted / CHECKPOINT_FILE).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda _: b"something else")
        with pytest.raises(SetupError, match="what was read back is not what was written"):
            write_checkpoint(interrupted, Checkpoint(saved.start_sha256))
    assert (interrupted / CHECKPOINT_FILE).read_bytes() == before
    assert not list(interrupted.glob(f".{CHECKPOINT_FILE}*"))
