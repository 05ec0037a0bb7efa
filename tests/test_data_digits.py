"""The embedded set: the same bytes everywhere, every scan shown evenly, safe in the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mnist_mlp.data import digits
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.data.digits import DIGITS_DIGEST, load_embedded, make_digits


@pytest.fixture(scope="module")
def made() -> Dataset:
    return make_digits()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Dataset) -> Path:
    """An empty cache, and a recipe that costs nothing."""
    monkeypatch.setenv("MNIST_MLP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digits, "make_digits", lambda: made)
    return tmp_path / "cache"


def test_golden_digest(made: Dataset) -> None:
    assert made.digest == "1850d6776f97d2752ae49afa3d2b8cefca62cededbbeaf702b1d8b037be22854"
    assert made.digest == DIGITS_DIGEST


def test_shapes_and_names(made: Dataset) -> None:
    assert made.images.shape == (70_000, 28, 28)
    assert made.images.dtype == made.labels.dtype == np.uint8
    assert (made.name, made.classes) == ("digits", 10)
    assert made.source == "embedded, made from scikit-learn's digits"


def test_a_row_belongs_to_its_scan(made: Dataset) -> None:
    assert made.groups is not None
    assert made.groups.dtype == np.int32
    scans = np.arange(70_000) % 1797
    np.testing.assert_array_equal(made.groups, scans)
    np.testing.assert_array_equal(made.labels, load_digits().target[scans])
    shown = np.bincount(made.groups)
    assert (shown.min(), shown.max()) == (38, 39)


def test_rows_show_their_scan_and_no_two_are_alike(made: Dataset) -> None:
    """Averaged over its 38 or 39 rows and shrunk to 8 x 8, each scan resembles itself most.

    The jitter blurs the average, so similar scans of one class are now and then taken for one
    another; by chance one in 1,797 would be right.
    """
    scans = load_digits().data
    shown = made.flat()[: 38 * 1797].reshape(38, 1797, 784).mean(axis=0, dtype=np.float64)
    # 20 x 20 in the middle: 2.5 pixels a cell, so 5 half pixels.
    middle = shown.reshape(-1, 28, 28)[:, 4:24, 4:24].repeat(2, axis=1).repeat(2, axis=2)
    small = middle.reshape(-1, 8, 5, 8, 5).mean(axis=(2, 4)).reshape(-1, 64)

    def unit(x: np.ndarray) -> np.ndarray:
        x = x - x.mean(axis=1, keepdims=True)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    alike = unit(small) @ unit(scans).T
    own = np.diag(alike)
    assert own.min() > 0.75
    assert (alike.argmax(axis=1) == np.arange(1797)).mean() > 0.7
    assert len({image.tobytes() for image in made.images}) == 70_000


def test_ink_is_like_handwriting(made: Dataset) -> None:
    """MNIST: 19 % of the pixels inked, mean grey 33, full ink and blank paper in every image."""
    assert 0.15 < (made.images > 0).mean() < 0.30
    assert 25 < made.images.mean() < 45
    assert made.images.max(axis=(1, 2)).min() >= 250
    assert made.images.min() == 0
    assert made.images[:, [0, -1]].mean() < 0.5  # digits do not run off the paper
    assert made.images[:, :, [0, -1]].mean() < 0.5


def test_it_is_made_once_and_then_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    first = load_embedded(say=said.append)
    assert said == ["making the embedded digits, which takes some seconds"]
    monkeypatch.setattr(digits, "make_digits", lambda: pytest.fail("made again"))
    again = load_embedded(say=said.append)
    assert len(said) == 1
    assert again.digest == first.digest == DIGITS_DIGEST
    np.testing.assert_array_equal(again.groups, first.groups)
    assert (again.name, again.source, again.classes) == (first.name, first.source, 10)
    assert {file.name for file in cache.rglob("*") if file.is_file()} == {"images", "labels"}


@pytest.mark.parametrize("damage", ["one bit", "truncated", "missing"])
def test_a_damaged_cache_is_made_again(cache: Path, damage: str) -> None:
    load_embedded()
    (images,) = cache.rglob("images")
    content = bytearray(images.read_bytes())
    if damage == "one bit":
        content[-1000] ^= 1
    images.write_bytes(content[:-1] if damage == "truncated" else content)
    if damage == "missing":
        images.unlink()
    said: list[str] = []
    assert load_embedded(say=said.append).digest == DIGITS_DIGEST
    assert len(said) == 1
    assert load_embedded(say=said.append).digest == DIGITS_DIGEST
    assert len(said) == 1


def test_a_cache_that_cannot_be_written_is_done_without(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.touch()
    monkeypatch.setenv("MNIST_MLP_CACHE", str(cache / "below a file"))
    assert load_embedded().digest == DIGITS_DIGEST


def test_another_digest_is_said_and_not_kept(
    cache: Path, made: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Dataset("digits", "", made.images[:10], made.labels[:10], 10)
    monkeypatch.setattr(digits, "make_digits", lambda: other)
    said: list[str] = []
    assert load_embedded(say=said.append) is other
    assert other.digest in said[-1]
    assert DIGITS_DIGEST in said[-1]
    assert not cache.exists()
