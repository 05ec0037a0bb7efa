"""Early stopping and the best epoch: the definition, what a run keeps, and who uses it.

That every backend stops after the same epoch is in `conformance/test_fit.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import InterruptedRun, RunFolderError, UsageError
from mnist_mlp.run.checkpoint import read_checkpoint
from mnist_mlp.run.folder import Run
from mnist_mlp.run.network import Network
from mnist_mlp.run.tensors import tensors_digest
from mnist_mlp.spec import Spec, SpecError, TrainingSpec, parse_spec
from mnist_mlp.stopping import best_epoch, rounded, stops
from mnist_mlp.training import Observer, resume, train

Cli = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("no_figures")

# --- The definition -------------------------------------------------------------------------------


def end(losses: list[float], **training: Any) -> int | None:
    """After which epoch training stops; None if it does not."""
    asked = TrainingSpec(**training)
    return next((n for n in range(1, len(losses) + 1) if stops(losses[:n], asked)), None)


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6], 1, 0.0, None),
        ([0.9, 0.9], 1, 0.0, 2),  # no change is no improvement
        ([0.9, 0.8, 0.85, 0.7, 0.75, 0.8], 2, 0.0, 6),  # an improvement starts the count anew
        ([0.9, 0.8, 0.85, 0.84], 2, 0.0, 4),  # better than the epoch before does not count
        ([0.9, 0.9, 0.9, 0.9], 3, 0.0, 4),
        ([0.9, 0.8, 0.8], 2, 0.1, 3),  # by exactly min_delta is not enough
        ([0.9, 0.85, 0.79, 0.7, 0.6], 2, 0.1, None),  # small steps add up
        ([0.5, 0.5000001, 0.4999999], 2, 0.0, 3),  # less than the sixth digit
        ([0.5, 0.500001, 0.499999], 2, 0.0, None),  # the sixth digit
        ([1e-5, 0.99e-5, 0.98e-5], 1, 0.0, None),  # digits count from the first that is not 0
        ([3.0, 2.0, 5.0, 5.0], 0, 0.0, None),
    ],
)
def test_when_training_stops(
    losses: list[float], patience: int, min_delta: float, expected: int | None
) -> None:
    assert end(losses, patience=patience, min_delta=min_delta) == expected


@pytest.mark.parametrize(
    ("losses", "expected"),
    [([], 0), ([2.0], 1), ([0.9, 0.5, 0.5000001, 0.7], 2), ([0.9, 0.5000001, 0.5], 2)],
)
def test_the_best_epoch_is_the_first_of_the_lowest(losses: list[float], expected: int) -> None:
    assert best_epoch(losses) == expected


def test_roundings_of_a_backend_change_nothing() -> None:
    """Losses of two float32 backends, some 1e-7 apart: 10,000 courses, each with a plateau."""
    rng = np.random.default_rng(0)
    training = TrainingSpec(patience=3)
    different = 0
    for _ in range(2_000):
        course = np.maximum(0.3, 2.3 - 0.2 * np.arange(20)) + rng.normal(0, 0.02, 20)
        noisy = course * (1 + rng.normal(0, 1e-7, 20))
        different += [stops(list(course[:n]), training) for n in range(1, 21)] != [
            stops(list(noisy[:n]), training) for n in range(1, 21)
        ]
    assert different == 0
    assert rounded(0.3000001) == rounded(0.3)


def test_min_delta_alone_has_no_meaning() -> None:
    with pytest.raises(SpecError, match="min_delta needs patience > 0"):
        parse_spec({"training": {"min_delta": 0.1}})
    for wrong in ({"patience": -1}, {"patience": 1, "min_delta": -0.1}, {"patience": 1.5}):
        with pytest.raises(SpecError):
            parse_spec({"training": wrong})


# --- A run ----------------------------------------------------------------------------------------


def spec_of(**training: Any) -> Spec:
    """At this rate the validation loss falls for some epochs, and then rises again and again."""
    return parse_spec(
        {
            "model": {"layer_sizes": [30, 9, 4]},
            "optimizer": {"learning_rate": 4.0, "momentum": 0.9},
            "training": {"batch_size": 32, "epochs": 40} | training,
        }
    )


@pytest.fixture(scope="module")
def stopped(small_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped early, after an epoch that is not its best. Not to be changed."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mnist_mlp.evaluate.figures.figure_files", lambda _: {})
        train(spec_of(patience=3), backend="numpy", dataset=small_data, out=folder)
    return folder


def test_what_a_run_keeps(stopped: Path, small_data: Dataset, tmp_path: Path) -> None:
    run = Run(stopped)
    losses = [row.val_loss for row in run.history]
    last, best = len(losses), best_epoch(losses)
    assert 4 <= last < 40
    assert last == best + 3
    record = json.loads((stopped / "run.json").read_text())
    assert record["stopped_early"] is True
    assert record["best"] == {
        "epoch": best,
        "val_loss": min(losses),
        "file": "best_weights.safetensors",
    }
    kept = load_file(stopped / "best_weights.safetensors")
    assert tensors_digest(kept) == run.history[best - 1].weights_sha256
    assert tensors_digest(run.weights) == run.history[-1].weights_sha256
    assert run.order["epochs"].shape == (last, 187), "only the epochs that were trained"
    straight = train(
        spec_of(epochs=last), backend="numpy", dataset=small_data, out=tmp_path / "straight"
    )
    assert tensors_digest(straight.weights) == tensors_digest(run.weights)
    assert not straight.record.stopped_early
    assert straight.best_epoch == best, "kept without early stopping, too"
    assert tensors_digest(straight.best_weights) == tensors_digest(kept)


def test_an_interrupted_run_stops_after_the_same_epoch(
    stopped: Path, small_data: Dataset, tmp_path: Path
) -> None:
    """Interrupted after its best epoch: the patience that is used up, and the best weights, too."""
    best, last = Run(stopped).best_epoch, len(Run(stopped).history)
    for after in (best - 1, best + 1, last):

        def on_epoch(row: Any, after: int = after) -> None:
            if row.epoch == after:
                raise KeyboardInterrupt

        folder = tmp_path / str(after)
        with pytest.raises(InterruptedRun):
            train(
                spec_of(patience=3),
                backend="numpy",
                dataset=small_data,
                out=folder,
                observer=Observer(epoch=on_epoch),
            )
        network = Network(Run(folder, complete=False), best=True)
        assert network.epoch == min(after, best)
        resume(folder, spec_of(patience=3), dataset=small_data)
        for name in ("weights.safetensors", "best_weights.safetensors", "predictions.npz"):
            assert (folder / name).read_bytes() == (stopped / name).read_bytes(), (after, name)
        record = Run(folder).record
        assert record.stopped_early
        assert record.best == Run(stopped).record.best


def test_a_run_that_stopped_early_is_not_made_longer(stopped: Path, small_data: Dataset) -> None:
    with pytest.raises(UsageError, match="stopped early, after epoch"):
        resume(stopped, spec_of(patience=3, epochs=80), dataset=small_data)
    with pytest.raises(UsageError, match=r"training\.patience is 3 in the run, 5 now"):
        resume(stopped, spec_of(patience=5), dataset=small_data)


def test_a_backend_that_trains_on_changes_nothing(small_data: Dataset, tmp_path: Path) -> None:
    """A stranger's that never heard of stopping: further epochs are ignored."""
    raw = spec_of(patience=3).model_dump(mode="json")
    spec = parse_spec(raw | {"optimizer": {"learning_rate": 9.0}})
    runs = [
        train(spec, backend=name, dataset=small_data, out=tmp_path / name)
        for name in ("stranger", "numpy")
    ]
    assert len(runs[0].history) == len(runs[1].history) < 40
    assert [run.record.stopped_early for run in runs] == [True, True]
    assert read_checkpoint(runs[0].path).best_epoch == runs[1].best_epoch


# --- The best weights in use ----------------------------------------------------------------------


def test_commands_take_the_best_epoch_if_asked(
    stopped: Path, idx_dir: Path, cli: Cli, tmp_path: Path
) -> None:
    best = Run(stopped).best_epoch
    report = (stopped / "report.txt").read_bytes()
    picture = tmp_path / "digit.png"
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(picture)
    commands: dict[str, tuple[object, ...]] = {
        "evaluate": ("--data-dir", idx_dir),
        "predict": (picture,),
        "export": ("--to", "safetensors", "--data-dir", idx_dir, "--out", tmp_path / "out"),
    }
    for command, words in commands.items():
        done = cli(command, stopped, *words, "--best", "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert (answer["status"], answer["weights"], answer["epoch"]) == ("complete", "best", best)
        assert f"weights after epoch {best} of 40, the best by validation loss" in done.stderr
        last = json.loads(cli(command, stopped, *words, "--json").stdout)
        assert (last["weights"], last["epoch"]) == ("final", best + 3)
    exported = load_file(tmp_path / "out" / "model.safetensors")
    assert tensors_digest(exported) == Run(stopped).history[-1].weights_sha256
    assert (stopped / "report.txt").read_bytes() == report, "the last epoch's report stays"
    told = json.loads((stopped / "best" / "report.json").read_text())
    assert told["accuracy"] == pytest.approx(Run(stopped).history[best - 1].val_accuracy, abs=1e-6)
    assert "the best by validation loss" in told["heading"]


def test_there_is_no_best_epoch_without_a_history(stopped: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes((stopped / "run.json").read_bytes())
    with pytest.raises(RunFolderError, match="has no history, so no epoch is known"):
        Network(Run(tmp_path), best=True)
    for name in ("history.csv", "weights.safetensors"):
        (tmp_path / name).write_bytes((stopped / name).read_bytes())
    with pytest.raises(RunFolderError, match=r"best_weights\.safetensors: missing"):
        Network(Run(tmp_path), best=True)
    (tmp_path / "best_weights.safetensors").write_bytes(
        (stopped / "weights.safetensors").read_bytes()
    )
    with pytest.raises(RunFolderError, match=r"best_weights\.safetensors: not the weights of"):
        Network(Run(tmp_path), best=True)
