"""Every size has a limit: what is too large is refused early, and the message names the numbers."""

from __future__ import annotations

import gzip
import struct
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mnist_mlp.data import Dataset, idx
from mnist_mlp.data.idx import read_idx
from mnist_mlp.errors import DataError, UsageError
from mnist_mlp.exchange import pictures
from mnist_mlp.exchange.pictures import read_picture
from mnist_mlp.memory import machine_memory
from mnist_mlp.plan import check_epochs, least_memory, make_plan
from mnist_mlp.readers.arrays import ARRAYS_LIMIT
from mnist_mlp.run.folder import Run
from mnist_mlp.spec import Spec, SpecError, parse_spec

Cli = Callable[..., CompletedProcess[str]]


# --- The specification ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("training", "epochs", 2**31, "less than or equal to 2147483647"),
        pytest.param("training", "batch_size", 16**5000, "thousands of digits", id="digits"),
        ("data", "rows", 10**12, "less than or equal to 2147483647"),
        ("model", "layer_sizes", [30, 10**12, 4], "less than or equal to 2147483647"),
        ("model", "layer_sizes", [30] * 1002, "at most 1001 items"),
        ("optimizer", "schedule", [[n, 0.1] for n in range(1, 1002)], "at most 1000 items"),
        pytest.param("optimizer", "learning_rate", 16**5000, "thousands of digits", id="rate"),
        ("model", "activations", ["x" * 10**6, "softmax"], "unknown activation 'xxx"),
        ("data", "dataset", "x" * 10**6, "'auto', 'mnist' or 'digits'"),
    ],
)
def test_numbers_of_a_specification(section: str, key: str, value: object, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({section: {key: value}})
    assert words in str(caught.value)
    assert f"{section}.{key}" in str(caught.value)
    assert len(str(caught.value)) < 700


def sized(units: int, **training: int) -> Spec:
    return parse_spec({"model": {"layer_sizes": [30, units, 4]}, "training": training})


def test_a_network_that_does_not_fit(small_data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before the first number is drawn."""
    monkeypatch.setattr("mnist_mlp.plan.glorot_uniform", None)
    with pytest.raises(UsageError) as caught:
        make_plan(sized(2_000_000_000), small_data)
    words = r"70,000,000,004 parameters and batches of 128 rows need at least 1.7 TiB, but this"
    assert str(caught.value).startswith(words)


def test_the_least_memory_is_needed() -> None:
    """3 x 109,386 weights, and 128 x (128 + 64 + 10) activations, of 4 bytes."""
    assert least_memory(Spec(), rows=52_500) == 4 * (3 * 109_386 + 128 * 202)
    assert least_memory(Spec(), rows=10) == 4 * (3 * 109_386 + 10 * 202)


def test_the_memory_of_the_machine_is_known() -> None:
    memory = machine_memory()
    assert memory is not None
    assert memory > 2**28


def test_more_epochs_than_a_folder_holds(small_data: Dataset) -> None:
    """The order of all epochs is drawn before training."""
    with pytest.raises(UsageError) as caught:
        make_plan(sized(9, epochs=10**9), small_data)
    assert "training.epochs is 1,000,000,000, but the order of 187 rows fits" in str(caught.value)
    most = ARRAYS_LIMIT // (4 * 187)
    assert f"(2 GiB) for at most {most:,} epochs" in str(caught.value)
    check_epochs(sized(9, epochs=most), rows=187)


@pytest.mark.parametrize(
    "command", [["train", "--backend", "numpy"], ["compare", "numpy", "numpy"]]
)
@pytest.mark.parametrize(
    "setting", ["training.epochs=1000000000", "model.layer_sizes=[30,2000000000,4]"]
)
def test_commands_refuse_it_before_anything_is_made(
    cli: Cli, idx_dir: Path, tmp_path: Path, command: list[str], setting: str
) -> None:
    words = ("--data-dir", idx_dir, "--progress", "none", "--out", "out")
    done = cli(*command, "--set", "model.layer_sizes=[30,9,4]", "--set", setting, *words)
    assert done.returncode == 2
    assert "lower" in done.stderr
    assert not list(tmp_path.glob("**/run.json"))


# --- IDX files ------------------------------------------------------------------------------------


def idx_header(*shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


def test_a_gzip_file_whose_header_agrees(tmp_path: Path) -> None:
    """9 MB that unpack to 9.4 GB, as the header says: refused before they are unpacked."""
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(idx_header(12_000_000, 28, 28)))
    with path.open("ab") as file:
        file.truncate(9_400_000)
    with pytest.raises(DataError) as caught:
        read_idx(path, ndim=3)
    words = f"{path} announces 12000000 x 28 x 28 values (8.76 GiB), but the limit is 4 GiB."
    assert str(caught.value).startswith(words)


def test_images_that_do_not_fit_into_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx_header(10, 10, 10) + bytes(1000))
    assert read_idx(path, ndim=3).shape == (10, 10, 10)
    monkeypatch.setattr(idx, "machine_memory", lambda: 1999)
    with pytest.raises(DataError, match=r"\(1000 bytes\), and training needs them 2 times, but"):
        read_idx(path, ndim=3)
    monkeypatch.setattr(idx, "machine_memory", lambda: None)
    assert read_idx(path, ndim=3).shape == (10, 10, 10)


# --- Pictures -------------------------------------------------------------------------------------


def test_a_picture_of_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known from its first bytes, before anything is decoded."""
    path = tmp_path / "large.png"
    Image.new("1", (9000, 7000)).save(path)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(DataError, match="9000 x 7000 pixels, but the limit is 50,000,000"):
        read_picture(path, (28, 28))
    Image.new("1", (1, 65_536)).save(path)
    with pytest.raises(DataError, match="1 x 65536 pixels, but the limit of a side is 65,535"):
        read_picture(path, (28, 28))
    Image.new("1", (20_000, 10_000)).save(path)  # Pillow itself refuses this one
    with pytest.raises(DataError, match="not a readable picture"):
        read_picture(path, (28, 28))


def test_a_large_picture_is_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same drawing, whether it is scaled down in one step or in two."""
    picture = Image.new("L", (600, 400), 255)
    picture.paste(0, (200, 50, 260, 350))
    for suffix in (".png", ".jpg"):
        path = tmp_path / f"bar{suffix}"
        picture.save(path)
        whole = read_picture(path, (28, 28)).astype(int)
        with monkeypatch.context() as patch:
            patch.setattr(pictures, "_SIDE", 150)
            reduced = read_picture(path, (28, 28)).astype(int)
        assert whole.max() > 200
        assert np.abs(whole - reduced).mean() < 5


def test_a_picture_with_long_texts(tmp_path: Path) -> None:
    """A chunk of text that unpacks to 4 MB, where Pillow reads 1 MB: a ValueError of Pillow's."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("comment", "x" * 2**22, zip=True)
    path = tmp_path / "told.png"
    Image.new("L", (40, 40), 255).save(path, pnginfo=texts)
    with pytest.raises(DataError, match=r"told\.png: not a readable picture: "):
        read_picture(path, (28, 28))


def test_other_pictures(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    for kind in ("GIF", "BMP", "TIFF", "WEBP"):
        Image.new("L", (40, 40), 255).save(path, format=kind)
        with pytest.raises(DataError, match="expected a PNG or JPEG file"):
            read_picture(path, (28, 28))


def test_a_file_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with path.open("wb") as file:
        file.truncate(pictures.FILE_LIMIT + 1)
    with pytest.raises(DataError, match="but the limit is 64 MiB"):
        read_picture(path, (28, 28))


# --- The record of a run --------------------------------------------------------------------------


def test_an_error_about_many_arrays_is_short(finished_run: Path) -> None:
    """289 KB for 20,000 tensors before."""
    from mnist_mlp.exchange.importing import canonical

    tensors = {f"layer{i}.weight": np.zeros((2, 2), np.float32) for i in range(20_000)}
    with pytest.raises(DataError) as caught:
        canonical(tensors, Run(finished_run).spec, layout="keras")
    assert len(str(caught.value)) < 400


def test_names_with_thousands_of_digits(finished_run: Path) -> None:
    """Sorted by their numbers, which Python refuses to convert; and digits that are no decimals."""
    from mnist_mlp.exchange.importing import canonical

    run = Run(finished_run)
    truth = run.weights
    for first, second in (("9" * 4999, "1" + "0" * 4999), ("2", "10"), ("02", "3"), ("²", "³")):
        renamed = {
            f"w{number}": truth[f"layers.{layer}.kernel"]
            for layer, number in ((1, second), (0, first))
        } | {f"b{layer}": truth[f"layers.{layer}.bias"] for layer in range(2)}
        found = canonical(renamed, run.spec, layout="keras")
        assert all(np.array_equal(found[name], truth[name]) for name in truth)


def test_import_of_numbers_that_are_too_large(
    cli: Cli, finished_run: Path, idx_dir: Path, tmp_path: Path
) -> None:
    """1e300 is infinite in float32: the run was `complete` before."""
    weights = {name: array.astype(np.float64) for name, array in Run(finished_run).weights.items()}
    words = ("--layout", "keras", "--data-dir", idx_dir, "--set", "model.layer_sizes=[30,9,4]")
    weights["layers.0.bias"][0] = 1e300
    np.savez(tmp_path / "large.npz", **weights)
    done = cli("import", "large.npz", "--out", "one", *words)
    assert done.returncode == 4
    assert "layers.0.bias: holds 1e+300, which is too large for float32" in done.stderr
    # Each fits, and their sums do not.
    large = {name: np.full_like(array, 3e38) for name, array in weights.items()}
    np.savez(tmp_path / "sums.npz", **large)
    done = cli("import", "sums.npz", "--out", "two", *words)
    assert done.returncode == 5
    assert "a logit of the test rows is not finite" in done.stderr
    assert not (tmp_path / "one").exists()
    assert not (tmp_path / "two").exists()


def test_a_name_of_a_megabyte_costs_no_time(cli: Cli, finished_run: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    record = json.loads((folder / "run.json").read_text())
    record["backend"]["name"] = record["dataset"]["name"] = "n" * 10**6
    (folder / "run.json").write_text(json.dumps(record))
    started = time.monotonic()
    done = cli("evaluate", folder)
    assert (done.returncode, len(done.stderr) < 500) == (4, True)
    assert time.monotonic() - started < 2
