"""Reading IDX files: the right array, or a DataError that says what is wrong."""

from __future__ import annotations

import gzip
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_mlp.data import idx
from mnist_mlp.data.idx import find_files, read_folder, read_idx, write_idx
from mnist_mlp.errors import DataError

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def packed(values: np.ndarray, kind: int = 0x08) -> bytes:
    """An IDX file's bytes, written out independently of `write_idx`."""
    header = struct.pack(">HBB", 0, kind, values.ndim)
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def some(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four small files: 5 training and 3 test images of 4 x 6."""
    for name, values in zip(NAMES, (some(5, 4, 6), some(5), some(3, 4, 6), some(3)), strict=True):
        (tmp_path / name).write_bytes(packed(values))
    return tmp_path


def test_a_file_is_read_plain_and_gzipped_whatever_its_name(tmp_path: Path) -> None:
    values = some(7, 3, 2)
    for name, content in (
        ("plain", packed(values)),
        ("zipped.gz", gzip.compress(packed(values))),
        ("zipped without its suffix", gzip.compress(packed(values))),
        ("plain with the suffix.gz", packed(values)),
    ):
        (tmp_path / name).write_bytes(content)
        read = read_idx(tmp_path / name, ndim=3)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, values)


def test_what_is_written_has_the_published_layout(tmp_path: Path) -> None:
    values = some(2, 3, 4)
    write_idx(tmp_path / "f", values)
    assert (tmp_path / "f").read_bytes() == packed(values)
    write_idx(tmp_path / "g", values[:, ::2])
    np.testing.assert_array_equal(read_idx(tmp_path / "g", ndim=3), values[:, ::2])
    with pytest.raises(TypeError, match="int64"):
        write_idx(tmp_path / "h", np.arange(3))


GOOD = packed(some(5, 4, 6))
ZIPPED = gzip.compress(GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with 0x: not an IDX file"),
        (b"\0\0\x08", "starts with 0x000008: not an IDX file"),
        (b"<html>not found</html>", "starts with 0x3c68746d: not an IDX file"),
        (packed(some(5, 4, 6), kind=0x0D), "holds float32, expected"),
        (packed(some(5, 4, 6), kind=0x55), "unknown type 0x55"),
        (packed(some(120)), "1 dimension.*image and label files mixed up"),
        (GOOD[:10], "ends within its header"),
        (GOOD[:-1], "truncated.* 5 x 4 x 6 = 120 bytes of values, it holds 119"),
        (GOOD + b"\0", "has more data than the 5 x 4 x 6 values"),
        (ZIPPED[:-20], "is damaged: .*Get the file again"),
        (ZIPPED[:-8] + b"\1\2\3\4" + ZIPPED[-4:], "is damaged: CRC check failed"),
        (ZIPPED[:12] + b"\xff\xff\xff" + ZIPPED[15:], "is damaged"),
        (ZIPPED + b"rubbish", "is damaged"),
        (gzip.compress(GOOD[:-1]), "truncated.* it holds 119"),
        (packed(some(0, 4, 6)), "empty set"),
        (packed(some(5, 0, 6)), "empty set"),
        (
            struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 28),
            "bytes cannot hold the 4294967295",
        ),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as told:
        read_idx(path, ndim=3)
    assert str(path) in str(told.value)
    assert len(str(told.value).splitlines()) <= 2


def test_an_unreadable_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such file"):
        read_idx(tmp_path / "absent", ndim=1)
    with pytest.raises(DataError, match="is a folder, expected a file"):
        read_idx(tmp_path, ndim=1)


@settings(max_examples=300, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 3),
    zipped=st.booleans(),
    cut=st.integers(0, 400),
    flips=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), max_size=3),
)
def test_damage_gives_a_data_error_or_the_right_array(
    shape: tuple[int, int, int], zipped: bool, cut: int, flips: list[tuple[int, int]]
) -> None:
    values = some(*shape)
    whole = gzip.compress(packed(values), mtime=0) if zipped else packed(values)
    damaged = bytearray(whole[: len(whole) - min(cut, len(whole))])
    for at, bits in flips:
        if damaged:
            damaged[at % len(damaged)] ^= bits
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(damaged)
        try:
            read = read_idx(path, ndim=3)
        except DataError:
            assert bytes(damaged) != whole  # an undamaged file is never refused
            return
    if zipped:  # gzip's checksum leaves no room for other values; its own header may be touched
        np.testing.assert_array_equal(read, values)
    else:  # plain files have no checksum: what the bytes say is what must be read
        assert packed(read) == bytes(damaged)


def test_a_folder_is_read_training_rows_first(folder: Path) -> None:
    images, labels = read_folder(folder)
    np.testing.assert_array_equal(images, np.concatenate([some(5, 4, 6), some(3, 4, 6)]))
    np.testing.assert_array_equal(labels, np.concatenate([some(5), some(3)]))


def test_spellings_and_gzip_may_be_mixed(folder: Path) -> None:
    expected = read_folder(folder)
    (folder / NAMES[0]).rename(folder / "train-images.idx3-ubyte")
    (folder / f"{NAMES[1]}.gz").write_bytes(gzip.compress((folder / NAMES[1]).read_bytes()))
    (folder / NAMES[1]).unlink()
    content = gzip.compress((folder / NAMES[2]).read_bytes())
    (folder / "t10k-images.idx3-ubyte.gz").write_bytes(content)
    (folder / NAMES[2]).unlink()
    assert [file.name for file in find_files(folder)] == [
        "train-images.idx3-ubyte",
        "train-labels-idx1-ubyte.gz",
        "t10k-images.idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte",
    ]
    for read, wanted in zip(read_folder(folder), expected, strict=True):
        np.testing.assert_array_equal(read, wanted)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / NAMES[1]).unlink()
    (folder / NAMES[2]).unlink()
    with pytest.raises(DataError, match=f"lacks 2 of .*: {NAMES[1]}, {NAMES[2]}\\."):
        read_folder(folder)
    with pytest.raises(DataError, match=r"nowhere cannot be read: No such file.*Give the folder"):
        read_folder(folder / "nowhere")
    with pytest.raises(DataError, match="cannot be read: Not a directory"):
        read_folder(folder / NAMES[0])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (NAMES[1], some(4), "holds 5 images, but train-labels-idx1-ubyte holds 4 labels"),
        (NAMES[3], some(9), "holds 3 images, but t10k-labels-idx1-ubyte holds 9 labels"),
        (NAMES[2], some(3, 6, 4), "training images are 4 x 6 pixels, test images are 6 x 4"),
        (NAMES[2], some(0, 4, 6), "empty set"),
        (NAMES[0], some(5), "mixed up"),
    ],
)
def test_files_that_do_not_fit_are_told(
    folder: Path, name: str, values: np.ndarray, message: str
) -> None:
    (folder / name).write_bytes(packed(values))
    with pytest.raises(DataError, match=message):
        read_folder(folder)


# --- Limits, and the words beyond them ------------------------------------------------------------


def said(path: Path, ndim: int = 3) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(path, ndim=ndim)
    return str(caught.value).removeprefix(f"{path} ")


def test_a_file_of_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "_BLOCK", 7)
    values = some(5, 4, 6)
    for content in (packed(values), gzip.compress(packed(values))):
        (tmp_path / "f").write_bytes(content)
        np.testing.assert_array_equal(read_idx(tmp_path / "f", ndim=3), values)
        (tmp_path / "f").write_bytes(packed(values)[:-1])
        assert said(tmp_path / "f") == (
            "is truncated: its header announces 5 x 4 x 6 = 120 bytes of values, it holds 119. "
            "Get the file again."
        )
        (tmp_path / "f").write_bytes(packed(values) + b"more")
        assert said(tmp_path / "f") == (
            "has more data than the 5 x 4 x 6 values that its header announces. Get the file again."
        )


def test_the_dimensions_that_were_expected(tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(packed(some(5)))
    (tmp_path / "images").write_bytes(packed(some(5, 4, 6)))
    assert said(tmp_path / "labels") == (
        "has 1 dimension(s), expected an IDX file of unsigned bytes with 3 dimensions. "
        "Are image and label files mixed up?"
    )
    assert said(tmp_path / "images", ndim=1) == (
        "has 3 dimension(s), expected an IDX file of unsigned bytes with 1 dimension. "
        "Are image and label files mixed up?"
    )
    assert "with 2 dimensions." in said(tmp_path / "labels", ndim=2)


def test_most_values_and_most_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(packed(some(5, 4, 6)))
    monkeypatch.setattr(idx, "VALUES_LIMIT", 120)
    for memory in (None, 240):
        monkeypatch.setattr(idx, "machine_memory", lambda memory=memory: memory)
        assert read_idx(path, ndim=3).shape == (5, 4, 6)
    monkeypatch.setattr(idx, "machine_memory", lambda: 239)
    assert said(path) == (
        "announces 5 x 4 x 6 values (120 bytes), and training needs them 2 times, but this machine "
        "has 239 bytes of memory. Use a part of the data set."
    )
    monkeypatch.setattr(idx, "VALUES_LIMIT", 119)
    assert said(path) == (
        "announces 5 x 4 x 6 values (120 bytes), but the limit is 119 bytes. "
        "Use a part of the data set."
    )


def test_a_file_that_changed_after_its_shape_was_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(packed(some(5, 4, 6)))
    with pytest.raises(DataError) as caught:
        read_idx(path, ndim=3, out=np.empty((4, 4, 6), np.uint8))
    assert str(caught.value) == (
        f"{path} changed while it was read. Run again when nothing writes to it."
    )


def test_folders_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_files(tmp_path / "none")
    assert str(caught.value) == (
        f"the data folder {tmp_path / 'none'} cannot be read: No such file or directory. "
        f"Give the folder that holds MNIST's four IDX files."
    )
    for name in NAMES[1:]:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        find_files(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} lacks 1 of MNIST's four IDX files: {NAMES[0]}. "
        f"Each may be gzipped (.gz) or not."
    )
