"""Every command refuses the same run folders, with the same words and exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnist_mlp.run.folder import Run
from mnist_mlp.run.tensors import tensors_to_bytes
from mnist_mlp.run.writer import npz_bytes

Cli = Callable[..., CompletedProcess[str]]

COMMANDS = ("evaluate", "predict", "export", "compare", "report")


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run to damage."""
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy, ignore=shutil.ignore_patterns("figures"))
    return copy


@pytest.fixture
def call(cli: Cli, folder: Path, finished_run: Path, idx_dir: Path, tmp_path: Path) -> Cli:
    """Run a command on the damaged folder."""
    picture = Image.new("L", (40, 40), 255)
    ImageDraw.Draw(picture).rectangle((10, 5, 15, 30), fill=0)
    picture.save(tmp_path / "one.png")
    words: dict[str, tuple[Any, ...]] = {
        "evaluate": (folder,),
        "predict": (folder, tmp_path / "one.png"),
        "export": (folder, "--to", "safetensors", "--out", "out", "--data-dir", idx_dir),
        "compare": (finished_run, folder, "--static", "--data-dir", idx_dir),
        "report": (folder, "--out", "page.html"),
    }
    return lambda command: cli(command, *words[command])


def rewrite_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = {name: array.copy() for name, array in Run(folder).weights.items()}
    change(tensors)
    (folder / "weights.safetensors").write_bytes(tensors_to_bytes(tensors))


def rewrite_arrays(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    with np.load(folder / name) as stored:
        arrays = {key: stored[key].copy() for key in stored.files}
    change(arrays)
    (folder / name).write_bytes(npz_bytes(arrays))


def spoil_first(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        arrays[name].flat[0] = value

    return change


WEIGHTS: dict[str, tuple[Callable[[dict[str, Any]], Any], int, str]] = {
    "NaN": (spoil_first("layers.1.kernel", np.nan), 5, "layers.1.kernel is not finite"),
    "infinity": (spoil_first("layers.0.bias", np.inf), 5, "layers.0.bias is not finite"),
    "no bias": (lambda w: w.pop("layers.0.bias"), 4, "lacks layers.0.bias"),
    "no kernel": (lambda w: w.pop("layers.1.kernel"), 4, "lacks layers.1.kernel"),
    "one more": (lambda w: w.update(more=w["layers.0.bias"]), 4, "'more' is no weight of"),
    "another size": (
        lambda w: w.update({"layers.0.kernel": np.zeros((30, 8), np.float32)}),
        4,
        "layers.0.kernel is float32 (30, 8), expected floating (30, 9)",
    ),
    "transposed": (
        lambda w: w.update({"layers.0.kernel": w["layers.0.kernel"].T.copy()}),
        4,
        "layers.0.kernel is float32 (9, 30)",
    ),
    "whole numbers": (
        lambda w: w.update({"layers.0.bias": np.zeros(9, np.int32)}),
        4,
        "layers.0.bias is int32 (9,)",
    ),
}


@pytest.mark.parametrize("damage", WEIGHTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_weights(call: Cli, folder: Path, command: str, damage: str) -> None:
    change, code, words = WEIGHTS[damage]
    rewrite_weights(folder, change)
    done = call(command)
    assert (done.returncode, done.stdout) == (code, "")
    assert f"{folder}/weights.safetensors: " in done.stderr
    assert words in done.stderr
    assert not (folder.parent / "out").exists(), "nothing is written of a damaged run"


ARRAYS: dict[str, tuple[str, Callable[[dict[str, Any]], Any], int, str]] = {
    "a logit is NaN": (
        "predictions.npz",
        spoil_first("logits", np.nan),
        5,
        "a logit is not finite",
    ),
    "a row that is not there": (
        "predictions.npz",
        spoil_first("ids", 10**9),
        4,
        "ids has values from ",
    ),
    "a negative row": ("predictions.npz", spoil_first("ids", -1), 4, "ids has values from -1 to"),
    "a class too many": (
        "predictions.npz",
        lambda a: a.update(logits=np.hstack([a["logits"], a["logits"]])),
        4,
        "logits is float32",
    ),
    "an image of another row": (
        "examples.npz",
        spoil_first("ids", 10**9),
        4,
        "ids has values from ",
    ),
    "images of another size": (
        "examples.npz",
        lambda a: a.update(images=a["images"][:, 1:]),
        4,
        "images is uint8",
    ),
}


@pytest.mark.parametrize("damage", ARRAYS)
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "predict"])
def test_arrays(call: Cli, folder: Path, command: str, damage: str) -> None:
    """`predict` reads the weights alone."""
    name, change, code, words = ARRAYS[damage]
    rewrite_arrays(folder, name, change)
    done = call(command)
    assert (done.returncode, done.stdout) == (code, "")
    assert f"{folder}/{name}: {words}" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_network_of_another_size_than_the_images(call: Cli, folder: Path, command: str) -> None:
    """`predict` would make an image of any size that the record asks for."""
    record = json.loads((folder / "run.json").read_text())
    record["dataset"]["image_shape"] = [10**6, 10**6]
    (folder / "run.json").write_text(json.dumps(record))
    done = call(command)
    assert done.returncode == 4
    assert "layer_sizes is [30, 9, 4], but dataset has images of 1000000 x 1000000" in done.stderr


def test_weights_that_overflow(call: Cli, folder: Path) -> None:
    """Each is finite, and so is none of the predictions: "0 (nan%)" before."""

    def enlarge(tensors: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            tensors[name] = np.full_like(tensor, 1e308, dtype=np.float64)

    rewrite_weights(folder, enlarge)
    done = call("predict")
    assert (done.returncode, done.stdout) == (5, "")
    assert "a logit of these pictures is not finite" in done.stderr


def test_a_whole_folder_passes(call: Cli) -> None:
    """What the tests above rest on."""
    for command in COMMANDS:
        assert call(command).returncode in (0, 6), command
