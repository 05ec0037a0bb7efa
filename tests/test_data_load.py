"""Which data set is taken, in which order, what is said about it, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnist_mlp.data import load
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.data.facts import FILES, MNIST_DIGEST
from mnist_mlp.data.idx import read_folder, write_idx
from mnist_mlp.data.load import load_dataset
from mnist_mlp.errors import DataError, MnistMlpError, SetupError, UsageError

MNIST_FOLDER = os.environ.get("MNIST_MLP_DATA")
DIGITS = Dataset(
    "digits", "embedded", np.zeros((3, 2, 2), np.uint8), np.arange(3, dtype=np.uint8), 3
)


def write_folder(
    folder: Path, *, n: int = 8, side: tuple[int, int] = (5, 4), classes: int = 3
) -> Path:
    """Four IDX files of n training and n // 2 test images."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(n)
    for name, rows in zip(FILES, (n, n, n // 2, n // 2), strict=True):
        shape = (rows, *side) if "images" in name else (rows,)
        values = rng.integers(0, 256, shape) if "images" in name else np.arange(rows) % classes
        write_idx(folder / name, values.astype(np.uint8))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache, no network, no environment, and a cheap embedded set."""

    def offline(*_: object, **__: object) -> str:
        raise DataError("no mirror gave MNIST: every one is dead.\nTry something else.")

    monkeypatch.delenv("MNIST_MLP_DATA", raising=False)
    monkeypatch.setenv("MNIST_MLP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(load, "download_mnist", offline)
    monkeypatch.setattr(load, "load_embedded", lambda **_: DIGITS)
    return tmp_path / "cache"


def pretend_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the data of this folder count as MNIST."""
    digest = Dataset("", "", *read_folder(folder), 10).digest
    monkeypatch.setattr(load, "MNIST_DIGEST", digest)
    return digest


def pretend_mirror(site: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Let downloads copy this folder; returns the mirrors that were asked for."""
    asked: list[str | None] = []

    def copy(folder: Path, *, mirror: str | None, **_: object) -> str:
        asked.append(mirror)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_bytes((site / name).read_bytes())
        return "http://mirror/"

    monkeypatch.setattr(load, "download_mnist", copy)
    return asked


@pytest.mark.skipif(MNIST_FOLDER is None, reason="MNIST_MLP_DATA is not set")
def test_the_real_mnist() -> None:
    said: list[str] = []
    data = load_dataset("mnist", say=said.append)
    assert data.digest == MNIST_DIGEST
    assert (data.name, data.classes, len(data), data.inputs) == ("mnist", 10, 70_000, 784)
    assert data.source == f"IDX files in {MNIST_FOLDER}"
    assert data.groups is None
    assert said == []
    # The training files' rows come first: their well-known first labels and counts.
    assert data.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.labels[60_000:60_005].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(data.labels[:60_000])[[0, 9]].tolist() == [5923, 5949]


def test_other_data_is_taken_under_auto_and_announced(cache: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", n=8, side=(12, 9), classes=3)
    said: list[str] = []
    data = load_dataset("auto", data_dir=folder, say=said.append)
    assert (data.name, data.classes, data.images.shape) == ("idx", 3, (12, 12, 9))
    assert data.source == f"IDX files in {folder}"
    assert said == [
        f"{folder}: other data than MNIST, used as data set 'idx': 12 images of 12 x 9, 3 classes"
    ]


def test_mnist_stops_on_other_data_and_tells_both_digests(cache: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine")
    other = load_dataset("auto", data_dir=folder).digest
    with pytest.raises(
        DataError, match=r"other data than MNIST \(12 images of 5 x 4, 3 classes\)"
    ) as told:
        load_dataset("mnist", data_dir=folder)
    assert other in str(told.value)
    assert MNIST_DIGEST in str(told.value)
    assert "--dataset auto" in str(told.value)


def test_the_folder_comes_before_the_cache_and_the_cache_before_a_download(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = write_folder(tmp_path / "site", n=8)
    digest = pretend_mnist(site, monkeypatch)
    asked = pretend_mirror(site, monkeypatch)
    mine, other = write_folder(tmp_path / "mine", n=6), write_folder(tmp_path / "other", n=4)

    first = load_dataset("auto", mirror="http://chosen/")
    assert (first.name, first.source, first.digest) == (
        "mnist",
        "download from http://mirror/",
        digest,
    )
    second = load_dataset("auto", mirror="http://chosen/")
    assert (second.name, second.source) == ("mnist", f"user cache {cache / 'mnist'}")
    assert asked == ["http://chosen/"]

    monkeypatch.setenv("MNIST_MLP_DATA", str(mine))
    assert len(load_dataset("auto")) == 9
    assert len(load_dataset("auto", data_dir=other)) == 6
    monkeypatch.setenv("MNIST_MLP_DATA", "")
    assert load_dataset("auto").name == "mnist"
    assert load_dataset("digits") is DIGITS


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_folder_that_was_named_is_never_skipped(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: load.Choice, way: str
) -> None:
    folder = write_folder(tmp_path / "mine")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    if way == "environment":
        monkeypatch.setenv("MNIST_MLP_DATA", str(folder))
    argument = folder if way == "argument" else None
    with pytest.raises(DataError, match=f"{folder} lacks 1 of .*: t10k-labels-idx1-ubyte"):
        load_dataset(dataset, data_dir=argument)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte starts with 0x72756262"):
        load_dataset(dataset, data_dir=argument)


def test_auto_falls_back_aloud(cache: Path) -> None:
    said: list[str] = []
    assert load_dataset("auto", say=said.append) is DIGITS
    assert said == [
        "MNIST is not available (no mirror gave MNIST: every one is dead): "
        "using the embedded digits instead"
    ]


def test_auto_without_a_download(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who bring data of their own, nothing is fetched, and nothing is said."""

    def never(*_: object, **__: object) -> str:
        raise AssertionError("it was downloaded")

    monkeypatch.setattr(load, "download_mnist", never)
    said: list[str] = []
    assert load_dataset("auto", download=False, say=said.append) is DIGITS
    assert not said
    with pytest.raises(AssertionError, match="downloaded"):
        load_dataset("mnist", download=False)


def test_auto_falls_back_when_the_cache_cannot_be_written(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise SetupError("the cache folder /c cannot be written: disk full.")

    monkeypatch.setattr(load, "download_mnist", full)
    said: list[str] = []
    assert load_dataset("auto", say=said.append) is DIGITS
    assert "disk full" in said[0]
    with pytest.raises(SetupError, match="disk full"):
        load_dataset("mnist")


def test_mnist_never_falls_back(cache: Path) -> None:
    with pytest.raises(DataError, match="every one is dead"):
        load_dataset("mnist")


@pytest.mark.parametrize("damage", ["truncated", "one file gone", "one bit"])
def test_a_damaged_cache_is_downloaded_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    site = write_folder(tmp_path / "site")
    digest = pretend_mnist(site, monkeypatch)
    asked = pretend_mirror(site, monkeypatch)
    load_dataset("mnist")
    file = cache / "mnist" / "train-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content[:-1] if damage == "truncated" else content)
    if damage == "one file gone":
        file.unlink()
    said: list[str] = []
    data = load_dataset("mnist", say=said.append)
    assert (data.digest, len(asked)) == (digest, 2)
    assert said[0].startswith("the cached copy of MNIST is not usable and is downloaded again: ")
    assert load_dataset("mnist").source.startswith("user cache")


def test_what_a_killed_download_left_is_not_taken_for_a_cached_copy(cache: Path) -> None:
    write_folder(cache / "mnist" / "partial-1234")
    said: list[str] = []
    assert load_dataset("auto", say=said.append) is DIGITS
    assert len(said) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "cifar"}, "unknown data set 'cifar': choose one of auto, mnist, digits"),
        ({"dataset": "digits", "data_dir": Path()}, "cannot be combined with --data-dir"),
        ({"dataset": "digits", "source": "keras", "mirror": "http://m/"}, "--source, --mirror"),
        ({"dataset": "auto", "data_dir": Path(), "source": "openml"}, "contradict each other"),
        ({"dataset": "auto", "source": "kaggle"}, "unknown source 'kaggle': .*torchvision, keras"),
        ({"dataset": "mnist", "source": "openml", "mirror": "http://m/"}, "takes no --mirror"),
        ({"dataset": "auto", "mirror": "ftp://m/"}, "'ftp://m/' is not an http or https address"),
    ],
)
def test_arguments_that_make_no_sense(
    cache: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(**arguments)


def test_a_single_class_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"every label is 0\. At least two classes"):
        load_dataset("auto", data_dir=write_folder(tmp_path / "mine", classes=1))


def test_errors_have_their_exit_codes() -> None:
    codes = [error("").exit_code for error in (UsageError, SetupError, DataError)]
    assert codes == [2, 3, 4]
    assert issubclass(DataError, MnistMlpError)


def test_the_package_imports_no_framework_and_little_else() -> None:
    code = "import sys, mnist_mlp.data; print(*{m.split('.')[0] for m in sys.modules})"
    path = os.pathsep.join([str(Path(load.__file__).parents[2]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    loaded = set(done.stdout.split())
    assert "mnist_mlp" in loaded
    assert not loaded & {
        "torch",
        "torchvision",
        "lightning",
        "keras",
        "tensorflow",
        "sklearn",
        "requests",
    }
