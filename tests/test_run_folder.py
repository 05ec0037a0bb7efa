"""What a finished run leaves behind, read without the package where that is possible."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.evaluate import loss
from mnist_mlp.plan import make_plan
from mnist_mlp.run.evaluation import write_evaluation
from mnist_mlp.run.folder import Run, is_run_argument
from mnist_mlp.run.writer import npz_bytes
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.training import train

FIGURES = {"confusion", "curves", "mistakes", "weights"}
FILES = {
    "run.json",
    "history.csv",
    "checkpoint.safetensors",
    "initial_weights.safetensors",
    "weights.safetensors",
    "best_weights.safetensors",
    "order.npz",
    "predictions.npz",
    "examples.npz",
    "report.txt",
    "report.json",
    *(f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png")),
}
TENSORS = {f"layers.{i}.{part}" for i in (0, 1) for part in ("kernel", "bias")}


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def record_of(folder: Path) -> dict[str, Any]:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    text = (folder / "run.json").read_text(encoding="utf-8")
    record: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return record


def history_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_files(finished_run: Path) -> None:
    assert set(files_of(finished_run)) == FILES


def test_run_json(finished_run: Path, small_data: Dataset) -> None:
    record = record_of(finished_run)
    assert record["schema_version"] == 1
    assert record["status"] == "complete"
    assert record["backend"] == {"name": "numpy", "target": "mnist_mlp_numpy:NumpyBackend"}
    assert record["versions"] == {"numpy": np.__version__}
    assert (record["accelerator"], record["device"], record["threads"]) == ("cpu", "cpu", 2)
    assert record["flags"] == {}
    spec = parse_spec(record["spec"])
    assert spec.name == "small"
    assert record["spec_sha256"] == spec.digest
    assert datetime.fromisoformat(record["started"]) <= datetime.fromisoformat(record["finished"])
    assert 0 < record["timings"]["fit_s"] < record["timings"]["total_s"]
    assert record["machine"]["cores"] >= 1

    dataset = record["dataset"]
    assert (dataset["name"], dataset["source"]) == ("idx", "made up")
    assert dataset["sha256"] == small_data.digest
    assert (dataset["rows"], dataset["train_rows"], dataset["test_rows"]) == (250, 187, 63)
    assert (dataset["image_shape"], dataset["classes"]) == ([6, 5], 4)
    plan = make_plan(spec, small_data)
    for side, ids in (("train", plan.train_ids), ("test", plan.test_ids)):
        digest = hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()
        assert dataset[f"{side}_ids_sha256"] == digest


def test_metrics_are_those_of_the_predictions(finished_run: Path, small_data: Dataset) -> None:
    predictions = dict(np.load(finished_run / "predictions.npz"))
    logits, y_true, ids = (predictions[name] for name in ("logits", "y_true", "ids"))
    assert (logits.shape, logits.dtype) == ((63, 4), np.float32)
    np.testing.assert_array_equal(y_true, small_data.labels[ids])
    metrics = record_of(finished_run)["metrics"]
    assert metrics["accuracy"] == (logits.argmax(axis=1) == y_true).mean() > 0.4
    assert metrics["loss"] == pytest.approx(loss(logits, y_true), rel=1e-12)
    last = history_of(finished_run)[-1]
    assert float(last["val_accuracy"]) == metrics["accuracy"]
    assert float(last["val_loss"]) == pytest.approx(metrics["loss"], rel=1e-6)
    assert f"{metrics['accuracy']:.4f}" in (finished_run / "report.txt").read_text()


def test_history_csv(finished_run: Path) -> None:
    rows = history_of(finished_run)
    columns = "epoch loss accuracy val_loss val_accuracy seconds weights_sha256"
    assert list(rows[0]) == columns.split()
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert len({row["weights_sha256"] for row in rows}) == 3
    for row in rows:
        assert float(row["seconds"]) > 0
        assert float(row["accuracy"]) * 187 == pytest.approx(round(float(row["accuracy"]) * 187))


def test_the_digest_of_weights_by_its_written_rule(finished_run: Path) -> None:
    """SHA-256 over `name dtype shape` and the bytes of each tensor, in the order of names."""
    weights = load_file(finished_run / "weights.safetensors")
    assert set(weights) == TENSORS
    sha = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        sha.update(f"{name} {tensor.dtype.str} {tensor.shape}".encode())
        sha.update(tensor.tobytes())
    assert history_of(finished_run)[-1]["weights_sha256"] == sha.hexdigest()
    assert weights["layers.0.kernel"].shape == (30, 9)


def test_what_training_started_from(finished_run: Path, small_data: Dataset) -> None:
    plan = make_plan(Run(finished_run).spec, small_data)
    initial = load_file(finished_run / "initial_weights.safetensors")
    assert set(initial) == TENSORS
    for name, tensor in plan.initial_weights.items():
        np.testing.assert_array_equal(initial[name], tensor)
    order = dict(np.load(finished_run / "order.npz"))
    np.testing.assert_array_equal(order["train_ids"], plan.train_ids)
    assert order["epochs"].shape == (3, 187)
    for epoch in (1, 2, 3):
        np.testing.assert_array_equal(order["epochs"][epoch - 1], plan.order(epoch))


def test_examples_are_the_mistakes(finished_run: Path, small_data: Dataset) -> None:
    predictions, examples = (
        dict(np.load(finished_run / name)) for name in ("predictions.npz", "examples.npz")
    )
    wrong = predictions["logits"].argmax(axis=1) != predictions["y_true"]
    assert 0 < wrong.sum() < 63
    np.testing.assert_array_equal(examples["ids"], predictions["ids"][wrong])
    np.testing.assert_array_equal(examples["images"], small_data.images[examples["ids"]])
    assert examples["images"].dtype == np.uint8


def test_the_reader_gives_what_the_files_hold(finished_run: Path) -> None:
    run = Run(finished_run)
    assert (run.label, run.spec.name, run.image_shape) == ("numpy", "small", (6, 5))
    assert [row.epoch for row in run.history] == [1, 2, 3]
    assert run.history[0].loss == float(history_of(finished_run)[0]["loss"])
    assert run.report_text == (finished_run / "report.txt").read_text()
    assert set(run.weights) == set(run.initial_weights) == TENSORS
    assert run.predictions["logits"].shape == (63, 4)
    assert len(run.examples["ids"]) == len(run.examples["images"])
    assert run.order["epochs"].shape == (3, 187)


# --- Same content, same bytes ---------------------------------------------------------------------


def without_seconds(history: bytes) -> list[list[str]]:
    return [line.split(",")[:5] + line.split(",")[6:] for line in history.decode().splitlines()]


def test_a_second_run_leaves_the_same_bytes(
    finished_run: Path, small_data: Dataset, tmp_path: Path
) -> None:
    spec = Run(finished_run).spec
    again = train(spec, backend="numpy", dataset=small_data, out=tmp_path / "run", threads=2)
    ours, theirs = files_of(again.path), files_of(finished_run)
    assert set(ours) == set(theirs)
    timed = {"run.json", "history.csv", "checkpoint.safetensors"}  # history is in the last, too
    assert {name for name in ours if ours[name] != theirs[name]} <= timed
    assert without_seconds(ours["history.csv"]) == without_seconds(theirs["history.csv"])
    left, right = record_of(again.path), record_of(finished_run)
    for key in left.keys() - {"started", "finished", "timings"}:
        assert left[key] == right[key], key


def test_npz_files_hold_no_time() -> None:
    arrays = {"a": np.arange(5), "b": np.eye(2)}
    content = npz_bytes(arrays)
    assert content == npz_bytes({name: array.copy() for name, array in arrays.items()})
    assert content != npz_bytes({**arrays, "a": np.arange(5, dtype=np.int32)})


def test_npz_entries_are_dated_alike(finished_run: Path) -> None:
    with zipfile.ZipFile(finished_run / "predictions.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_evaluation_needs_the_folder_alone_and_repeats_itself(
    finished_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    shutil.copytree(finished_run, folder)
    shutil.rmtree(folder / "figures")
    for name in ("report.txt", "report.json"):
        (folder / name).unlink()
    write_evaluation(Run(folder))
    assert files_of(folder) == files_of(finished_run)


def test_evaluation_is_of_the_predictions(finished_run: Path, tmp_path: Path) -> None:
    """A planted fault: two rows with their logits exchanged change report and figures."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(finished_run, folder)
    predictions = dict(np.load(folder / "predictions.npz"))
    right = np.flatnonzero(predictions["logits"].argmax(axis=1) == predictions["y_true"])
    one = right[0]
    (other,) = right[predictions["y_true"][right] != predictions["y_true"][one]][:1]
    predictions["y_true"][[one, other]] = predictions["y_true"][[other, one]]
    examples = {"ids": predictions["ids"], "images": np.zeros((63, 6, 5), np.uint8)}
    (folder / "predictions.npz").write_bytes(npz_bytes(predictions))
    (folder / "examples.npz").write_bytes(npz_bytes(examples))
    write_evaluation(Run(folder))
    changed = {
        name
        for name, content in files_of(folder).items()
        if content != files_of(finished_run)[name]
    }
    assert {"report.txt", "report.json", "figures/confusion.svg"} <= changed
    assert not changed & {"figures/curves.svg", "figures/weights.svg"}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("keras", False), ("runs/x", True), ("x/", True), ("a\\b", True), ("n" * 5000, False)],
)
def test_words_that_mean_a_run_folder(argument: str, expected: bool) -> None:
    assert is_run_argument(argument) is expected


def test_a_bare_word_that_is_a_run_folder(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished_run.parent)
    assert is_run_argument(finished_run.name)
    assert Run(Path(finished_run.name)).spec != Spec()
