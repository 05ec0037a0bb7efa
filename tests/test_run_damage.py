"""Run folders that are unfinished, damaged or something else: refused with the file's name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mnist_mlp.errors import EXIT_DATA, BackendError, DivergedError, RunFolderError
from mnist_mlp.run.evaluation import evidence
from mnist_mlp.run.files import json_bytes
from mnist_mlp.run.folder import Run
from mnist_mlp.run.writer import RunWriter, npz_bytes
from mnist_mlp.spec import parse_spec

READERS: dict[str, Callable[[Run], Any]] = {
    "history.csv": lambda run: run.history,
    "initial_weights.safetensors": lambda run: run.initial_weights,
    "weights.safetensors": lambda run: run.weights,
    "order.npz": lambda run: run.order,
    "predictions.npz": lambda run: run.predictions,
    "examples.npz": lambda run: run.examples,
    "report.txt": lambda run: run.report_text,
}


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run of one's own to damage, without the figures."""
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy, ignore=shutil.ignore_patterns("figures"))
    return copy


def change_record(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def refused(folder: Path, name: str) -> str:
    """The text with which a file is refused; it has to name the file."""
    with pytest.raises(RunFolderError) as caught:
        READERS[name](Run(folder))
    assert caught.value.exit_code == EXIT_DATA
    assert str(folder / name) in str(caught.value)
    return str(caught.value)


# --- Whole folders --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["running", "interrupted", "failed", None])
def test_an_unfinished_run_is_refused(folder: Path, status: str | None) -> None:
    change_record(folder, lambda record: record.update(status=status))
    with pytest.raises(RunFolderError, match=f"marked {status!r}, not 'complete'") as caught:
        Run(folder)
    assert str(folder) in str(caught.value)
    assert Run(folder, complete=False).label == "numpy"


def test_folders_that_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("nowhere", "no such run folder"),
        ("file", "no such run folder"),
        ("empty", "run.json: missing, so .* is not a run folder"),
        ("n" * 5000, "File name too long"),
    ):
        with pytest.raises(RunFolderError, match=words):
            Run(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not readable JSON"),
        (b'{"schema_version": 1, "status"', "not readable JSON"),
        (b"\xff\xfe{}", "not readable UTF-8 text"),
        (b"[]", "expected a JSON object"),
        (b"{}", "schema_version None, but this program reads 1"),
        (b'{"schema_version": 2, "status": "complete"}', "schema_version 2"),
    ],
)
def test_a_damaged_run_json(folder: Path, content: bytes, words: str) -> None:
    (folder / "run.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=words) as caught:
        Run(folder)
    assert str(folder / "run.json") in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("backend", {}, "backend.name is missing"),
        ("backend", "numpy", "backend is 'numpy', expected an object"),
        ("backend", {"name": 3}, "backend.name is 3, expected a text"),
        ("spec", None, "spec is None, expected an object"),
        ("spec", {"sede": 1}, "spec: unknown key 'sede'; did you mean 'seed'?"),
        ("dataset", {"name": "mnist"}, "dataset.sha256 is missing"),
        ("metrics", {"loss": 0.5}, "metrics.accuracy is missing"),
        ("metrics", {"loss": "low", "accuracy": 1}, "metrics.loss is 'low', expected a number"),
        ("metrics", None, "metrics is missing"),
        (
            "metrics",
            {"loss": float("inf"), "accuracy": 1},
            "not readable JSON: Infinity is no JSON number",
        ),
        ("metrics", {"loss": True, "accuracy": 1}, "metrics.loss is True, expected a number"),
        ("backend", {"name": "numpy", "target": None}, "backend.target is None, expected a text"),
        ("threads", "two", "threads is 'two', expected a whole number"),
        ("threads", 0, "threads is 0, expected greater than or equal to 1"),
        ("threads", 10**9, "threads is 1000000000, expected less than or equal to 1024"),
        ("devices", 10**9, "devices is 1000000000, expected less than or equal to 1024"),
        pytest.param("threads", 10**4000, "more than 64 bits", id="a number of 4,000 digits"),
        ("timings", {"fit_s": 10**400}, "more than 64 bits"),
        ("started", "now\x1b[2J", "without control characters"),
        ("backend", {"name": "n" * 10**6}, "expected at most 200 characters"),
        ("dataset", {"name": "n" * 10**6}, "expected at most 200 characters"),
        ("versions", {"n" * 10**6: 2}, "nnn..."),
        ("accelerator", "tpu", "accelerator is 'tpu', expected 'cpu', 'gpu'"),
        ("fit_path", "slow", "fit_path is 'slow', expected 'fast' or 'plain'"),
        ("versions", {"numpy": 2}, "versions.numpy is 2, expected a text"),
        ("versions", ["numpy"], "versions is ['numpy'], expected an object"),
        ("machine", "mine", "machine is 'mine', expected an object"),
        ("timings", {"fit_s": "long"}, "timings.fit_s is 'long', expected a number"),
        ("flags", [1], "flags is [1], expected an object"),
    ],
)
def test_a_run_json_with_other_content(folder: Path, key: str, value: Any, words: str) -> None:
    change_record(folder, lambda record: record.update({key: value}))
    with pytest.raises(RunFolderError) as caught:
        _ = Run(folder).spec
    assert words in str(caught.value)
    assert str(folder / "run.json") in str(caught.value)


def test_a_complete_run_has_metrics_for_whoever_takes_unfinished_ones_too(folder: Path) -> None:
    change_record(folder, lambda record: record.pop("metrics"))
    with pytest.raises(RunFolderError, match=r"run\.json: metrics is missing"):
        Run(folder, complete=False)
    change_record(folder, lambda record: record.update(status="interrupted"))
    assert Run(folder, complete=False).record.metrics is None


@pytest.mark.parametrize("value", ["x" * 10**6, [[0] * 1000] * 1000, {"k" * 5000: "v" * 5000}])
def test_a_wrong_value_is_shown_in_part(folder: Path, value: Any) -> None:
    change_record(folder, lambda record: record.update(threads=value))
    with pytest.raises(RunFolderError) as caught:
        Run(folder)
    text = str(caught.value)
    assert text.startswith(f"{folder}/run.json: threads is ")
    assert len(text) < len(str(folder)) + 250


@pytest.mark.parametrize("version", [True, 1.0, "1", [[]] * 10**5])
def test_a_schema_version_of_another_type(folder: Path, version: Any) -> None:
    change_record(folder, lambda record: record.update(schema_version=version))
    with pytest.raises(
        RunFolderError, match=r"schema_version .*, but this program reads 1"
    ) as caught:
        Run(folder)
    assert len(str(caught.value)) < len(str(folder)) + 250


def test_what_may_be_missing_and_what_is_unknown(folder: Path) -> None:
    """The keys that `docs/run-folder.md` says a reader needs are enough; others are kept."""
    whole = json.loads((folder / "run.json").read_text())
    least = {
        **{key: whole[key] for key in ("schema_version", "status", "spec", "metrics")},
        "backend": {"name": "numpy"},
        "dataset": {
            key: whole["dataset"][key] for key in ("name", "sha256", "image_shape", "classes")
        },
        "of their own": {"deep": [1, {}]},
    }
    (folder / "run.json").write_text(json.dumps(least))
    record = Run(folder).record
    assert record.document() == least
    assert record.not_recorded == (
        "backend.target", "versions", "accelerator", "threads", "fit_path", "machine.processor",
    )  # fmt: skip
    assert Run(folder).spec == parse_spec(whole["spec"])


def test_the_record_comes_back_as_it_was_written(finished_run: Path) -> None:
    """Values and the order of the keys."""
    written = (finished_run / "run.json").read_bytes()
    assert json_bytes(Run(finished_run).record.document()) == written
    assert Run(finished_run).record.not_recorded == ()


def test_a_record_that_cannot_be_written_is_refused(tmp_path: Path, finished_run: Path) -> None:
    """A backend that tells of a version as a number."""
    record = Run(finished_run).record.document()
    with pytest.raises(BackendError, match=r"versions\.mine is 3, expected a text"):
        RunWriter(tmp_path, {**record, "versions": {"mine": 3}})


def test_numbers_may_be_whole(folder: Path) -> None:
    """Another language's writer may leave `1` for 1.0."""
    change_record(folder, lambda record: record.update(metrics={"loss": 0, "accuracy": 1}))
    assert Run(folder).metrics.accuracy == 1


@pytest.mark.parametrize("shape", [[30], [6, 5, 1], ["6", "5"], []])
def test_an_odd_image_shape(folder: Path, shape: list[Any]) -> None:
    change_record(folder, lambda record: record["dataset"].update(image_shape=shape))
    with pytest.raises(RunFolderError, match=r"dataset\.image_shape is "):
        evidence(Run(folder))


# --- Single files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READERS)
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    if name == "history.csv":
        assert Run(folder).history == []  # imported weights have none
    else:
        refused(folder, name)


@pytest.mark.parametrize("damage", ["folder", "empty", "half", "other"])
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    content = path.read_bytes()
    if name == "report.txt" and damage in ("empty", "half"):
        return  # any text is a report; a comparison sees that it is another one
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        half = content[: len(content) // 2]
        path.write_bytes({"empty": b"", "half": half, "other": b"\xff\xd8\xff" * 99}[damage])
    refused(folder, name)


def test_a_flipped_byte_of_an_npz_is_seen_or_harmless(folder: Path) -> None:
    """Every third byte in turn: the same arrays come out, or the file is refused by its name."""
    path = folder / "examples.npz"
    content, truth = path.read_bytes(), Run(folder).examples
    seen = 0
    for position in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[position] ^= 0x24
        path.write_bytes(flipped)
        try:
            got = Run(folder).examples
        except RunFolderError as error:
            assert str(path) in str(error)
            seen += 1
            continue
        for key, array in truth.items():
            np.testing.assert_array_equal(got[key], array)
    assert seen > len(content) / 6


def test_other_things_named_npz(folder: Path) -> None:
    path = folder / "predictions.npz"
    arrays = Run(folder).predictions
    np.save(folder / "plain.npy", arrays["ids"])
    path.write_bytes((folder / "plain.npy").read_bytes())
    refused(folder, path.name)
    np.savez(path, y_true=arrays["y_true"], logits=arrays["logits"])
    assert "ids" in refused(folder, path.name)
    objects: Any = {**arrays, "ids": np.array([{}], dtype=object)}
    np.savez(path, **objects)
    assert "pickle" in refused(folder, path.name)

    def changed(**other: Any) -> str:
        path.write_bytes(npz_bytes({**arrays, **other}))
        return refused(folder, path.name).removeprefix(f"{path}: ")

    y_true, logits, ids = (arrays[name] for name in ("y_true", "logits", "ids"))
    assert changed(ids=ids[1:]) == "ids is int64 (62,), expected integer (63,)"
    assert changed(ids=ids.astype(float)) == "ids is float64 (63,), expected integer (63,)"
    assert changed(ids=ids + 250) == "ids has values from 253 to 495, expected 0 to 249"
    assert changed(ids=ids - 250).startswith("ids has values from -247 ")
    assert changed(ids=ids * 0) == "ids has the same row twice"
    assert changed(logits=logits[:, 0]) == "logits is float32 (63,), expected floating (63, 4)"
    assert changed(y_true=y_true + 4) == "y_true has values from 4 to 7, expected 0 to 3"
    assert changed(y_true=y_true[:0]) == "holds no test rows"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("val_loss", "validation"), "column val_loss is missing"),
        (lambda text: text.replace("\n2,", "\n3,"), "numbered 1, 2, 3"),
        (lambda text: text.replace("\n1,", "\n1.0,"), "invalid literal"),
        (lambda text: text.replace("\n2,", "\n2,x"), "could not convert"),
        (lambda text: text[:-5], "is not a SHA-256"),
        (lambda text: text[:-80], "columns below 7 headings"),
        (lambda text: text.replace("\n3,", "\n3,9,"), "8 columns below 7 headings"),
    ],
)
def test_a_history_that_does_not_add_up(
    folder: Path, change: Callable[[str], str], words: str
) -> None:
    path = folder / "history.csv"
    changed = change(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    assert words in refused(folder, "history.csv")


def test_a_history_with_columns_of_its_own(folder: Path) -> None:
    """Columns may stand in another order, and there may be more of them."""
    path, truth = folder / "history.csv", Run(folder).history
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join([*reversed(line), "more"]) for line in lines) + "\n\n")
    assert Run(folder).history == truth


def test_evaluation_refuses_what_does_not_fit_together(folder: Path) -> None:
    for key, value, words in (
        ("classes", 5, r"layer_sizes is \[30, 9, 4\], but dataset has .* and 5 classes"),
        ("image_shape", [5, 5], r"layer_sizes is \[30, 9, 4\], but dataset has images of 5 x 5"),
    ):
        original = (folder / "run.json").read_bytes()
        change_record(folder, partial(_set_in_dataset, key, value))
        with pytest.raises(RunFolderError, match=words) as caught:
            evidence(Run(folder))
        assert str(folder) in str(caught.value)
        (folder / "run.json").write_bytes(original)
    evidence(Run(folder))
    weights = load_file(folder / "weights.safetensors")
    del weights["layers.0.kernel"]
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(RunFolderError, match=r"weights\.safetensors: lacks layers\.0\.kernel"):
        evidence(Run(folder))


def _set_in_dataset(key: str, value: Any, record: dict[str, Any]) -> None:
    record["dataset"][key] = value


def test_a_history_that_no_run_can_have(folder: Path) -> None:
    path = folder / "history.csv"
    header, first, *rest = path.read_text().splitlines()
    epoch, _, *others = first.split(",")
    path.write_text("\n".join([header, ",".join([epoch, "nan", *others]), *rest]) + "\n")
    with pytest.raises(DivergedError, match=r"history\.csv: a loss of epoch 1 is not finite"):
        evidence(Run(folder))
    for spoilt, words in (("1.5", "val_accuracy of epoch 1 is 1.5"), ("-1", "is -1.0")):
        line = ",".join([first.rsplit(",", 3)[0], spoilt, *first.rsplit(",", 2)[1:]])
        path.write_text("\n".join([header, line, *rest]) + "\n")
        with pytest.raises(RunFolderError, match=words):
            evidence(Run(folder))
