"""The limits of the guarded readers, from both sides, and what is said beyond them."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_mlp.errors import DataError, RunFolderError
from mnist_mlp.readers import arrays, regular, texts
from mnist_mlp.readers.arrays import read_npz, read_safetensors, read_safetensors_and_metadata
from mnist_mlp.readers.foreign import KERAS, TORCH, refuse_foreign, refuse_foreign_members
from mnist_mlp.readers.regular import (
    MEMBER,
    NAMED,
    OtherFormatError,
    open_regular,
    parsed,
    read_bytes,
    read_start,
)
from mnist_mlp.readers.texts import read_json, read_text, read_toml


def written(folder: Path, content: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def said(path: Path, read: Any, *words: Any, **options: Any) -> str:
    """What a reader says of a file, without its path."""
    with pytest.raises((DataError, RunFolderError)) as caught:
        read(path, *words, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


# --- Regular files --------------------------------------------------------------------------------


def test_a_link_is_followed_only_where_the_user_named_it(tmp_path: Path) -> None:
    written(tmp_path, b"content")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "file")
    assert read_bytes(link, NAMED, limit=10) == b"content"
    words = "is a link; a run folder must hold the file itself: copy it there"
    assert said(link, open_regular, MEMBER) == words
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert said(tmp_path / "a", open_regular, NAMED).startswith("cannot be read: Too many levels")


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for origin in (NAMED, MEMBER):
        words = "is no regular file (a pipe or a device), expected a file"
        assert said(tmp_path / "pipe", open_regular, origin) == words
        assert said(tmp_path, open_regular, origin) == "is a folder, expected a file"
    assert said(tmp_path / "none", open_regular, NAMED) == "no such file"
    assert said(tmp_path / "none", open_regular, MEMBER) == "missing"


@pytest.mark.parametrize(
    ("name", "words"), [("\0", "embedded null byte"), ("x" * 300, "File name too long")]
)
def test_a_name_that_cannot_be_opened(tmp_path: Path, name: str, words: str) -> None:
    for origin in (NAMED, MEMBER):
        assert said(tmp_path / name, open_regular, origin) == f"cannot be read: {words}"


class Broken(io.FileIO):
    """A file that cannot be read."""

    reason: Exception

    def read(self, size: int | None = -1, /) -> bytes:
        raise self.reason


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("no number"), "no number"),
        (MemoryError(), "out of memory"),
    ],
)
def test_a_file_that_opens_but_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: Exception, words: str
) -> None:
    path = written(tmp_path, b"content")
    monkeypatch.setattr(Broken, "reason", reason, raising=False)
    monkeypatch.setattr(regular, "open_regular", lambda path, _: Broken(path))
    assert said(path, read_bytes, NAMED, limit=10) == f"cannot be read: {words}"
    if isinstance(reason, OSError):
        assert said(path, read_start, NAMED, 3) == f"cannot be read: {words}"


class Counted(io.FileIO):
    """A file that remembers how much was asked of it."""

    asked: list[int | None]

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked.append(size)
        return super().read(-1 if size is None else size)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """How many bytes were asked of each file."""
    found: list[int | None] = []
    monkeypatch.setattr(Counted, "asked", found, raising=False)
    monkeypatch.setattr(regular, "open_regular", lambda path, _: Counted(path))
    return found


def test_no_more_is_read_than_is_allowed(tmp_path: Path, asked: list[int | None]) -> None:
    path = written(tmp_path, b"12345")
    assert read_bytes(path, NAMED, limit=5) == b"12345"
    assert asked == [6]  # one more shows that the file grows
    assert said(path, read_bytes, NAMED, limit=4) == "has 5 bytes, but the limit is 4 bytes"
    assert asked == [6]
    assert read_start(path, NAMED, 2) == b"12"


def test_a_file_that_grows(tmp_path: Path) -> None:
    path = Path("/proc/self/status")  # of no size, until it is read
    if not path.exists():
        pytest.skip("needs /proc")
    assert said(path, read_bytes, NAMED, limit=9).startswith("changed while it was read")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("x"), "not readable: out of memory"),
        (RecursionError("x"), "not readable: nested too deeply"),
        (ValueError("two\nlines"), "not readable: two lines"),
        (AssertionError(), "not readable: AssertionError"),
        (OtherFormatError("a song"), "is a song"),
    ],
)
def test_what_a_parser_raises(tmp_path: Path, error: Exception, words: str) -> None:
    def parse() -> None:
        raise error

    assert said(tmp_path, parsed, NAMED, "readable", parse) == words
    assert parsed(tmp_path, NAMED, "readable", lambda: 7) == 7


# --- Texts ----------------------------------------------------------------------------------------


def test_the_deepest_json_that_is_read(tmp_path: Path) -> None:
    most = texts.MOST_LEVELS
    for begin, end in (("[", "]"), ('{"a": ', "}")):
        empty = begin[0] + end
        content = begin * (most - 1) + empty + end * (most - 1)
        read_json(written(tmp_path, content.encode()), NAMED)
        deeper = written(tmp_path, (begin + content + end).encode())
        words = "not readable JSON: nested too deeply: more than 50 levels"
        assert said(deeper, read_json, NAMED) == words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("18446744073709551616", "a whole number has more than 64 bits: 18446744073709551616"),
        ("[-1e999]", "a number is too large for float64"),
        ("[NaN]", "NaN is no JSON number"),
        ('["\\ud800"]', "'\\ud800' holds a lone surrogate"),
        ('{"\\ud800": 1}', "'\\ud800' holds a lone surrogate"),
        ('{"a": 1, "b": 2, "b": 3}', "the key 'b' appears twice"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = written(tmp_path, content.encode())
    assert said(path, read_json, NAMED) == f"not readable JSON: {words}"


def test_the_largest_numbers_of_json(tmp_path: Path) -> None:
    content = json.dumps([2**64 - 1, 1 - 2**64, 1.7e308, "text"])
    assert read_json(written(tmp_path, content.encode()), NAMED) == json.loads(content)


def test_texts_with_and_without_a_mark(tmp_path: Path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        path = written(tmp_path, mark + "é = 1".encode())
        assert read_text(path, NAMED) == "é = 1"
    assert read_toml(written(tmp_path, b"\xef\xbb\xbfa = 1"), NAMED) == {"a": 1}
    assert said(written(tmp_path, b"\xff"), read_text, NAMED).startswith(
        "not readable UTF-8 text: "
    )
    assert said(written(tmp_path, b"a ="), read_toml, NAMED).startswith("not valid TOML: ")


# --- Other formats --------------------------------------------------------------------------------


def test_a_format_is_known_by_its_beginning_whatever_bytes_come_first() -> None:
    for first in (b"\x1c\0\0\0", b"\n\0\0\0"):  # TensorFlow Lite begins with an offset
        with pytest.raises(OtherFormatError, match="TensorFlow Lite"):
            refuse_foreign(first + b"TFL3" + bytes(20))
    refuse_foreign(b"plain")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["archive/data.pkl"], TORCH),
        (["model.weights.h5", "config.json"], KERAS),
        (["metadata.json"], KERAS),
    ],
)
def test_zip_archives_of_frameworks(names: list[str], words: str) -> None:
    with pytest.raises(OtherFormatError) as caught:
        refuse_foreign_members(names)
    assert str(caught.value) == words
    refuse_foreign_members(["weights.npy", "a.pkl.npy"])


# --- npz ------------------------------------------------------------------------------------------


def npy(array: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(array), version=version)
    return content.getvalue()


def npz(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(f"{name}.npy", member)
    return content.getvalue()


def test_only_the_named_arrays_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, npz({"good": npy([1, 2]), "bad": b"no array"}))
    assert list(read_npz(path, NAMED, names=("good",))) == ["good"]
    assert said(path, read_npz, NAMED).startswith("not a readable npz file: bad: ")
    words = "not a readable npz file: array 'other' is missing"
    assert said(path, read_npz, NAMED, names=("good", "other")) == words


def test_versions_of_npy(tmp_path: Path) -> None:
    path = written(tmp_path, npz({"one": npy([1.5], (1, 0)), "two": npy([2.5, 3], (2, 0))}))
    found = read_npz(path, NAMED)
    assert (found["one"].tolist(), found["two"].tolist()) == ([1.5], [2.5, 3])
    path = written(tmp_path, npz({"three": npy([1.5], (3, 0))}))
    words = "not a readable npz file: three: npy version (3, 0) is not supported"
    assert said(path, read_npz, NAMED) == words


def test_an_array_with_fewer_bytes_than_its_header_says(tmp_path: Path) -> None:
    path = written(tmp_path, npz({"a": npy([1.5, 2.5])[:-3]}))
    words = "not a readable npz file: a: has 13 bytes, but its header says 16"
    assert said(path, read_npz, NAMED) == words


def test_arrays_of_objects_are_not_read(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.array([None]), allow_pickle=True)
    path = written(tmp_path, npz({"a": content.getvalue()}))
    words = "not a readable npz file: a: holds Python objects, and pickles are not read"
    assert said(path, read_npz, NAMED) == words


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for value in (1, 2):
            archive.writestr("a.npy", npy(value))
    path = written(tmp_path, content.getvalue())
    assert said(path, read_npz, NAMED) == "not a readable npz file: two arrays have the same name"


def test_the_most_arrays_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import save

    monkeypatch.setattr(arrays, "MOST_ARRAYS", 3)
    for number in (3, 4):
        members = {f"a{i}": np.zeros(2, np.float32) for i in range(number)}
        zipped = written(tmp_path, npz({name: npy(a) for name, a in members.items()}), "npz")
        tensors = written(tmp_path, save(members), "safetensors")
        if number == 3:
            assert len(read_npz(zipped, NAMED)) == len(read_safetensors(tensors, NAMED)) == 3
    words = "not a readable npz file: has more than 3 arrays, which is the limit"
    assert said(zipped, read_npz, NAMED) == words
    words = "not a readable safetensors file: has 4 arrays, the limit is 3"
    assert said(tensors, read_safetensors, NAMED) == words


def test_the_most_bytes_of_all_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decompressed; the file itself is far smaller."""
    members = {name: npy(np.zeros(2000)) for name in "ab"}
    path = written(tmp_path, npz(members))
    total = sum(len(member) for member in members.values())
    assert path.stat().st_size < total / 10
    monkeypatch.setattr(arrays, "ARRAYS_LIMIT", total)
    assert len(read_npz(path, NAMED)) == 2
    monkeypatch.setattr(arrays, "ARRAYS_LIMIT", total - 1)
    assert said(path, read_npz, NAMED).endswith("31.5 KiB decompressed, but the limit is 31.5 KiB")


# --- safetensors ----------------------------------------------------------------------------------


def tensors(header: str, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + data


ONE = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


def test_the_shortest_and_the_longest_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_safetensors_and_metadata(written(tmp_path, tensors("{}")), NAMED) == ({}, {})
    monkeypatch.setattr(arrays, "HEADER_LIMIT", 100)
    longest = written(tmp_path, tensors(ONE.ljust(100), bytes(4)))
    assert read_safetensors(longest, NAMED)["a"].tolist() == [0]
    words = "not a readable safetensors file: its header announces"
    longer = written(tmp_path, tensors(ONE.ljust(101), bytes(4)))
    assert said(longer, read_safetensors, NAMED) == f"{words} 101 bytes, expected 2 to 100"


def test_a_short_beginning_is_looked_at_before_all_is_read(
    tmp_path: Path, asked: list[int | None]
) -> None:
    path = written(tmp_path, bytes(100_000))
    assert "its header announces 0 bytes" in said(path, read_safetensors, NAMED)
    (first,) = asked
    assert first is not None
    assert 262 <= first <= 1024  # a tar archive is known by bytes 257 to 261


def test_damage_behind_a_right_beginning(tmp_path: Path) -> None:
    path = written(tmp_path, tensors(ONE, bytes(3)))
    assert said(path, read_safetensors, NAMED).startswith("not a readable safetensors file: ")


def test_a_zip_archive_that_is_called_safetensors(tmp_path: Path) -> None:
    path = written(tmp_path, npz({"a": npy(1)}))
    assert said(path, read_safetensors, NAMED) == (
        "is a zip archive, such as numpy.savez, PyTorch and Keras write; expected safetensors"
    )


def test_metadata(tmp_path: Path) -> None:
    from safetensors.numpy import save

    path = written(tmp_path, save({"a": np.zeros(2)}, metadata={"key": "value"}))
    found, metadata = read_safetensors_and_metadata(path, NAMED)
    assert (list(found), metadata) == (["a"], {"key": "value"})
