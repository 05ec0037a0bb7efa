"""One number altered in a finished folder: found on its own rung, on its own side."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finished_runs import (
    compared,
    copied,
    rewrite_arrays,
    rewrite_history,
    rewrite_tensors,
    trained,
)

from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.run.folder import Run

pytestmark = pytest.mark.usefixtures("in_process")

Alter = Callable[[Path], None]


def weights(name: str) -> Alter:
    def change(tensors: dict[str, Any]) -> None:
        tensors["layers.1.kernel"][3, 4] += 1e-3

    return lambda folder: rewrite_tensors(folder, name, change)


def array(file: str, key: str, change: Callable[[Any], Any]) -> Alter:
    def changed(arrays: dict[str, Any]) -> None:
        arrays[key] = change(arrays[key])

    return lambda folder: rewrite_arrays(folder, file, changed)


def at(place: Any, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One entry changed."""

    def changed(values: Any) -> Any:
        values[place] = change(values[place])
        return values

    return changed


def history(column: str, value: Any, *, epoch: int = 2) -> Alter:
    def change(row: Any) -> Any:
        old = getattr(row, column)
        return replace(row, **{column: value(old)})

    return lambda folder: rewrite_history(folder, change, epoch=epoch)


def record(change: Callable[[dict[str, Any]], None]) -> Alter:
    def alter(folder: Path) -> None:
        path = folder / "run.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return alter


def report(folder: Path) -> None:
    path = folder / "report.txt"
    path.write_text(path.read_text().replace("0", "1", 1))


def other_digit(digest: str) -> str:
    return digest[:-1] + ("0" if digest[-1] != "0" else "1")


ALTERED: dict[str, tuple[Alter, str, str, int | None]] = {
    "final weight": (weights("weights.safetensors"), "trajectory", "altered_file", 3),
    "initial weight": (weights("initial_weights.safetensors"), "init", "altered_file", 0),
    "order entry": (
        array("order.npz", "epochs", at((1, 40), lambda p: (p + 1) % 309)),
        "order",
        "altered_file",
        2,
    ),
    "training id": (
        array("order.npz", "train_ids", at(7, lambda i: (i + 1) % 412)),
        "order",
        "other_split",
        None,
    ),
    "test id": (
        array("predictions.npz", "ids", at(7, lambda i: (i + 1) % 412)),
        "data",
        "other_split",
        None,
    ),
    "loss": (history("loss", lambda v: v + 1e-9), "metrics", "altered_file", 2),
    "accuracy": (history("accuracy", lambda v: v + 1 / 309), "metrics", "altered_file", 2),
    "validation loss": (history("val_loss", lambda v: v * 1.01), "metrics", "altered_file", 2),
    "validation accuracy": (
        history("val_accuracy", lambda v: v / 2, epoch=3),
        "metrics",
        "altered_file",
        3,
    ),
    "digest": (history("weights_sha256", other_digit), "trajectory", "altered_file", 2),
    "first digest": (
        history("weights_sha256", other_digit, epoch=1),
        "trajectory",
        "altered_file",
        1,
    ),
    "last digest": (
        history("weights_sha256", other_digit, epoch=3),
        "trajectory",
        "altered_file",
        3,
    ),
    "logit": (
        array("predictions.npz", "logits", at((5, 2), lambda z: z + 1e-3)),
        "predictions",
        "altered_file",
        None,
    ),
    "prediction": (
        array("predictions.npz", "logits", at((5, 2), lambda z: z + 1e3)),
        "predictions",
        "altered_file",
        None,
    ),
    "another prediction": (
        array("predictions.npz", "logits", at((6, 7), lambda z: z + 1e3)),
        "predictions",
        "altered_file",
        None,
    ),
    "label": (
        array("predictions.npz", "y_true", at(5, lambda y: (y + 1) % 10)),
        "data",
        "altered_file",
        None,
    ),
    "pixel": (
        array("examples.npz", "images", at((0, 3, 3), lambda p: p ^ 1)),
        "data",
        "altered_file",
        None,
    ),
    "report": (report, "report", "altered_file", None),
    "data set": (
        record(lambda r: r["dataset"].update(sha256=other_digit(r["dataset"]["sha256"]))),
        "data",
        "other_data",
        None,
    ),
    "learning rate": (
        record(lambda r: r["spec"]["optimizer"].update(learning_rate=0.31)),
        "spec",
        "specification_differs",
        None,
    ),
}  # fmt: skip


def outcome_of(name: str, side: str, runs: Path, folder: Path) -> Outcome:
    """Against an untouched run of the same backend."""
    clean = trained("numpy", runs)
    altered = copied(clean, folder / "altered")
    ALTERED[name][0](altered)
    pair = (Run(altered), clean) if side == "a" else (clean, Run(altered))
    return compared(*pair)


@pytest.mark.parametrize("name", ALTERED)
def test_each_is_found_on_its_own_rung(name: str, runs: Path, tmp_path: Path) -> None:
    _, rung, cause, epoch = ALTERED[name]
    outcome = outcome_of(name, "b", runs, tmp_path)
    assert (outcome.verdict, outcome.exit_code) == ("different", 1)
    first = outcome.first_break
    assert first is not None
    assert (first.rung, first.cause.name, first.side) == (rung, cause, "b")
    assert first.epoch == epoch
    assert {item.side for item in outcome.breaks} == {"b"}
    status = {r.name: r.status for r in outcome.rungs}
    assert status[rung] == "broken"
    for name_of_rung, value in status.items():
        if value == "broken":
            assert name_of_rung in {item.rung for item in outcome.breaks}


@pytest.mark.parametrize(
    "name", ["final weight", "order entry", "loss", "logit", "pixel", "report"]
)
def test_on_the_other_side(name: str, runs: Path, tmp_path: Path) -> None:
    outcome = outcome_of(name, "a", runs, tmp_path)
    first = outcome.first_break
    assert first is not None
    assert (first.rung, first.cause.name, first.side) == (ALTERED[name][1], ALTERED[name][2], "a")
    assert {item.side for item in outcome.breaks} == {"a"}


def test_an_order_entry_tells_its_step(runs: Path, tmp_path: Path) -> None:
    """Position 40 of epoch 2 is in its second batch: step 12."""
    first = outcome_of("order entry", "b", runs, tmp_path).first_break
    assert first is not None
    assert (first.epoch, first.step) == (2, 12)


def test_both_values_are_told(runs: Path, tmp_path: Path) -> None:
    first = outcome_of("pixel", "b", runs, tmp_path).first_break
    assert first is not None
    assert int(first.got) == int(first.expected) ^ 1
    assert "pixel (3, 3)" in (first.cause.value or "")


def test_an_untouched_copy_is_identical(runs: Path, tmp_path: Path) -> None:
    clean = trained("numpy", runs)
    outcome = compared(clean, Run(copied(clean, tmp_path / "copy")))
    assert (outcome.verdict, outcome.exit_code, outcome.breaks) == ("identical", 0, ())
    assert all(rung.status == "clean" for rung in outcome.rungs)
