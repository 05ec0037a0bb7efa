"""Weights in and out, pictures, and native exports that are loaded again without this package."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from safetensors.numpy import save_file

from mnist_mlp.data import Dataset, load_dataset
from mnist_mlp.errors import BackendError, DataError, RunFolderError, SetupError
from mnist_mlp.exchange import exporting
from mnist_mlp.exchange.exporting import export_network
from mnist_mlp.exchange.importing import canonical, import_weights, read_weights
from mnist_mlp.exchange.pictures import normalised, read_picture
from mnist_mlp.run.folder import Run
from mnist_mlp.run.network import Network
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.training import train

SPEC = parse_spec(
    {
        "name": "small",
        "data": {"dataset": "digits", "rows": 1200},
        "model": {
            "layer_sizes": [784, 16, 12, 10],
            "activations": ["gelu", "leaky_relu(0.2)", "softmax"],
        },
        "optimizer": {"learning_rate": 0.3},
        "training": {"batch_size": 32, "epochs": 3},
    }
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def run(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("exchange") / "run"
    return train(SPEC, backend="numpy", dataset=digits, out=out)


def in_torch_layout(run: Run) -> dict[str, Any]:
    weights = run.weights
    return {
        f"model.{2 * i}.{'weight' if part == 'kernel' else 'bias'}": np.ascontiguousarray(
            weights[f"layers.{i}.{part}"].T
        )
        for i in range(3)
        for part in ("kernel", "bias")
    }


# --- In -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_imported_weights_predict_what_the_run_predicts(
    run: Run, digits: Dataset, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"theirs{suffix}"
    tensors = in_torch_layout(run)
    save_file(tensors, file) if suffix == ".safetensors" else np.savez(file, **tensors)
    imported = import_weights(
        file, layout="torch", spec=SPEC, dataset=digits, out=tmp_path / "imported"
    )
    ours, theirs = run.predictions["logits"], imported.predictions["logits"]
    assert np.abs(ours - theirs).max() < 1e-5
    assert imported.report_text == run.report_text
    keys = json.loads((imported.path / "run.json").read_text()).keys()
    trained = {"stopped_early", "best", "devices", "num_nodes", "strategy"}
    assert keys | trained == json.loads((run.path / "run.json").read_text()).keys()
    assert imported.history == []
    assert not (imported.path / "figures" / "curves.svg").exists()


def test_a_wrong_layout_is_refused_with_the_shapes(run: Run) -> None:
    with pytest.raises(DataError, match=r"no order of these arrays fits .* in keras layout"):
        canonical(in_torch_layout(run), SPEC, layout="keras")


def test_names_are_ordered_by_their_numbers() -> None:
    spec = parse_spec({"model": {"layer_sizes": [4] * 12}})
    tensors: dict[str, Any] = {}
    for i in range(11):
        tensors[f"fc{i}.weight"] = np.full((4, 4), float(i), np.float32)
        tensors[f"fc{i}.bias"] = np.full(4, float(i), np.float32)
    found = canonical(dict(reversed(tensors.items())), spec, layout="torch")
    assert [found[f"layers.{i}.kernel"][0, 0] for i in range(11)] == list(range(11))
    assert [found[f"layers.{i}.bias"][0] for i in range(11)] == list(range(11))


def test_pickles_are_not_read(tmp_path: Path) -> None:
    pickled = tmp_path / "weights.npz"
    np.savez(pickled, kernel=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="not a readable npz"):
        read_weights(pickled)


def test_values_that_are_not_finite_are_refused(run: Run) -> None:
    tensors = in_torch_layout(run)
    tensors["model.0.weight"] = np.full_like(tensors["model.0.weight"], np.nan)
    with pytest.raises(DataError, match="finite"):
        canonical(tensors, SPEC, layout="torch")


def test_what_does_not_fit_names_the_file(digits: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "theirs.npz"
    np.savez(path, kernel=np.zeros((784, 10)), bias=np.zeros(10))
    with pytest.raises(DataError, match="found 1 matrices and 1 vectors") as caught:
        import_weights(path, layout="keras", spec=SPEC, dataset=digits, out=tmp_path / "new")
    assert str(caught.value).startswith(f"{path}: ")


# --- Pictures -------------------------------------------------------------------------------------


def drawn(size: tuple[int, int], *, ink: str, paper: str, mode: str = "RGB") -> Image.Image:
    """A thick vertical bar off the centre."""
    picture = Image.new(mode, size, paper)
    width, height = size
    box = (width * 0.6, height * 0.2, width * 0.7, height * 0.8)
    ImageDraw.Draw(picture).rectangle(box, fill=ink)
    return picture


@pytest.mark.parametrize(
    ("ink", "paper"), [("black", "white"), ("white", "black"), ("navy", "ivory")]
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_is_centred_whatever_its_colours(
    tmp_path: Path, ink: str, paper: str, suffix: str
) -> None:
    file = tmp_path / f"bar{suffix}"
    drawn((301, 190), ink=ink, paper=paper).save(file)
    image = read_picture(file, (28, 28))
    assert image.shape == (28, 28)
    rows, columns = np.nonzero(image > 100)
    assert np.ptp(rows) + 1 == pytest.approx(20, abs=1)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(13.5, abs=1)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(13.5, abs=1)
    assert image[0].max() == 0


def test_an_mnist_like_image_stays_as_it_is(digits: Dataset) -> None:
    original = digits.images[3].astype(np.float64)
    image = normalised(original / 255, (28, 28)).astype(np.float64)
    # Scaled to 20 x 20 and centred anew: not the same pixels, but clearly the same drawing.
    best = max(
        float(np.corrcoef(np.roll(image, (y, x), (0, 1)).ravel(), original.ravel())[0, 1])
        for y in range(-4, 5)
        for x in range(-4, 5)
    )
    assert best > 0.7


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_picture_is_said_so(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.png: not a readable picture"):
        read_picture(file, (28, 28))


def test_an_empty_picture_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "white.png"
    Image.new("L", (40, 40), 255).save(file)
    with pytest.raises(DataError, match="nothing is drawn"):
        read_picture(file, (28, 28))


def test_predict_shows_the_picture_and_probabilities(
    run: Run, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    file = tmp_path / "bar.png"
    drawn((100, 100), ink="black", paper="white").save(file)
    done = cli("predict", str(run.path), str(file), "--json")
    assert done.returncode == 0
    (prediction,) = json.loads(done.stdout)["predictions"]
    assert sum(prediction["probabilities"]) == pytest.approx(1)
    assert prediction["class"] == int(np.argmax(prediction["probabilities"]))
    done = cli("predict", str(run.path), str(file))
    assert "@" in done.stdout
    assert f"{file}: {prediction['class']} (" in done.stdout


# --- Out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "exporter"),
    [("safetensors", None), ("torch", None), ("keras", None), ("onnx", "torch"), ("onnx", "keras")],
)
def test_exports_come_back_with_the_same_predictions(
    run: Run, digits: Dataset, tmp_path: Path, kind: Any, exporter: str | None
) -> None:
    exported = export_network(Network(run), kind, out=tmp_path, dataset=digits, exporter=exporter)
    assert exported.rows == len(run.predictions["ids"])
    assert exported.different == 0
    assert exported.largest_logit_gap < 1e-4
    assert all(file.stat().st_size > 0 for file in exported.files)
    if kind != "safetensors":  # files of frameworks are known by their content
        unnamed = tmp_path / "weights"
        unnamed.write_bytes(exported.files[0].read_bytes())
        with pytest.raises(
            DataError, match={"torch": "PyTorch", "keras": "Keras", "onnx": "ONNX"}[kind]
        ):
            read_weights(unnamed)


def test_an_export_that_predicts_otherwise_is_refused(
    run: Run, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloaded = exporting._reloaded
    monkeypatch.setattr(exporting, "_reloaded", lambda *a: np.roll(reloaded(*a), 1, axis=1))
    with pytest.raises(BackendError, match=r"predicts .* differently"):
        export_network(Network(run), "torch", out=tmp_path, dataset=digits)


def test_other_data_is_refused(run: Run, small_data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="trained on other data"):
        export_network(Network(run), "torch", out=tmp_path, dataset=small_data)


def test_a_missing_onnx_package_is_named(
    run: Run, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(SetupError, match=r"onnx, not installed here: run pip install"):
        export_network(Network(run), "onnx", out=tmp_path, dataset=digits)


def test_the_reloader_knows_nothing_of_this_package() -> None:
    code = (
        "import runpy, sys; sys.argv = ['reload.py'];"
        f"runpy.run_path({str(exporting.RELOAD)!r}, run_name='loaded');"
        "print(any(name.startswith('mnist_mlp') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_spec_is_the_one_that_needs_custom_code_in_keras() -> None:
    """gelu and leaky ReLU are composed by hand in the Keras backend: exports must not need it."""
    assert {"gelu", "leaky_relu(0.2)"} <= set(SPEC.model.activations)
    assert Spec().model.activations != SPEC.model.activations
