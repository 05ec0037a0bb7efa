"""Files that are something else than they are called: each is refused quickly, and named."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_mlp.bench.record import read as read_sitting
from mnist_mlp.data.idx import read_idx
from mnist_mlp.errors import EXIT_DATA, DataError, MnistMlpError, RunFolderError
from mnist_mlp.exchange.importing import read_weights
from mnist_mlp.exchange.pictures import read_picture
from mnist_mlp.readers import arrays, texts
from mnist_mlp.readers.regular import NAMED
from mnist_mlp.report.comparison import read_document
from mnist_mlp.run.folder import Run
from mnist_mlp.run.tensors import tensors_to_bytes
from mnist_mlp.settings import resolve
from mnist_mlp.spec import SpecError

READERS: dict[str, Callable[[Run], Any]] = {
    "run.json": lambda run: Run(run.path),
    "history.csv": lambda run: run.history,
    "initial_weights.safetensors": lambda run: run.initial_weights,
    "weights.safetensors": lambda run: run.weights,
    "order.npz": lambda run: run.order,
    "predictions.npz": lambda run: run.predictions,
    "examples.npz": lambda run: run.examples,
    "trace.npz": lambda run: run.arrays("trace.npz"),
    "report.txt": lambda run: run.report_text,
}
LIMITS = dict.fromkeys(("json", "csv", "txt"), texts.TEXT_LIMIT)


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run of one's own to damage, without the figures."""
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy, ignore=shutil.ignore_patterns("figures"))
    return copy


def refused(folder: Path, name: str, run: Run) -> str:
    with pytest.raises(RunFolderError) as caught:
        READERS[name](run)
    text = str(caught.value)
    assert caught.value.exit_code == EXIT_DATA
    assert text.startswith(f"{folder / name}: ")
    assert len(text) < len(str(folder)) + 400
    return text.removeprefix(f"{folder / name}: ")


@pytest.mark.parametrize("name", READERS)
def test_members_are_regular_files_of_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    run, path = Run(folder), folder / name
    whole = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert refused(folder, name, run).startswith("is no regular file (a pipe or a device)")
    path.unlink()
    path.mkdir()
    assert refused(folder, name, run) == "is a folder, expected a file"
    path.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(whole)
    for target in ("/dev/zero", elsewhere, tmp_path / "nowhere"):
        path.symlink_to(target)
        assert refused(folder, name, run).startswith("is a link; a run folder must hold the file")
        path.unlink()
    with path.open("wb") as file:
        file.write(whole[:512])  # the right beginning
        file.truncate(LIMITS.get(path.suffix[1:], arrays.ARRAYS_LIMIT) + 1)  # sparse
    assert "but the limit is " in refused(folder, name, run)


def test_a_folder_may_itself_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(folder)
    assert Run(tmp_path / "linked").predictions["ids"].size


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        (f'{{"threads": {"9" * 5000}}}', "integer string conversion"),
        ('{"a": "\\udc', "Invalid"),
    ],
)
def test_json_that_breaks_parsers(folder: Path, content: str, words: str) -> None:
    run = Run(folder)
    (folder / "run.json").write_text(content)
    assert words in refused(folder, "run.json", run)
    document = folder / "compare.json"
    document.write_text(content)
    with pytest.raises(RunFolderError, match="not readable JSON"):
        read_document(document)


@pytest.mark.parametrize("name", ["weights.safetensors", "history.csv"])
@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        struct.pack("<Q", 60)
        + b'{"a":{"dtype":"F32","shape":[9999999999,9999999999],"data_offsets":[0,4]}}',
        b"epoch," * 10 + b"9" * 200_000,
        b'"' * 99,
    ],
)
def test_other_formats_that_break_parsers(folder: Path, name: str, content: bytes) -> None:
    run = Run(folder)
    (folder / name).write_bytes(content)
    refused(folder, name, run)


# --- npz ------------------------------------------------------------------------------------------


def zipped(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(array))
    return content.getvalue()


def header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (b"", "magic string"),
        (b"no array at all", "magic string"),
        (header("(1000000000000,)"), "its header says 8000000000000"),
        (header("(4,)") + bytes(24), "24 bytes, but its header says 32"),
        (header("(4,)") + bytes(40), "40 bytes, but its header says 32"),
        (header("(-4,)") + bytes(32), "its header says -32"),
        (header("(4,)", "'|O'") + bytes(32), "pickle"),
        (header("(" * 3000), "readable npz"),
        (header(f"({'9' * 5000},)"), "readable npz"),
        (b"\x93NUMPY\x09\x00", "version (9, 0)"),
    ],
)
def test_members_that_are_no_arrays(folder: Path, member: bytes, words: str) -> None:
    run = Run(folder)
    (folder / "examples.npz").write_bytes(zipped({"ids.npy": member, "images.npy": npy([0])}))
    assert words in refused(folder, "examples.npz", run)
    (folder / "theirs.npz").write_bytes(zipped({"w.npy": member}))
    with pytest.raises(DataError, match=r"theirs\.npz: not a readable npz"):
        read_weights(folder / "theirs.npz")


def test_members_of_other_names(folder: Path) -> None:
    (folder / "trace.npz").write_bytes(zipped({"readme.txt": b"read me"}))
    assert "array 'readme.txt' is missing" in refused(folder, "trace.npz", Run(folder))


def test_a_bomb_by_its_declared_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is decompressed; two members count together."""
    big = npy(np.zeros(200_000))
    (folder / "examples.npz").write_bytes(zipped({"ids.npy": big, "images.npy": big}))
    run = Run(folder)
    monkeypatch.setattr(arrays, "ARRAYS_LIMIT", 2_000_000)
    monkeypatch.setattr(arrays, "_npy", None)
    told = refused(folder, "examples.npz", run)
    assert "3.05 MiB decompressed, but the limit is 1.91 MiB" in told


def test_a_bomb_that_declares_less_than_it_unpacks_to(folder: Path) -> None:
    """zipfile reads no further than declared, and then sees that the checksum is another."""
    array = npy(np.zeros(200_000))
    content = bytearray(zipped({"ids.npy": array, "images.npy": npy([0])}))
    real, declared = struct.pack("<I", len(array)), struct.pack("<I", 400)
    assert content.count(real) == 2
    (folder / "examples.npz").write_bytes(bytes(content).replace(real, declared))
    refused(folder, "examples.npz", Run(folder))


def test_files_that_a_user_names_may_be_links(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "mine.safetensors"
    linked.symlink_to(folder / "weights.safetensors")
    assert read_weights(linked).keys() == Run(folder).weights.keys()
    (tmp_path / "told.json").write_text(json.dumps({"schema_version": 1}))
    (tmp_path / "linked.json").symlink_to(tmp_path / "told.json")
    assert read_document(tmp_path / "linked.json") == {"schema_version": 1}


# --- Text, JSON and TOML --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' appears twice"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": 1e999}', "too large for float64"),
        (b'{"a": [["\\ud800"]]}', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b'{"a": 18446744073709551616}', "more than 64 bits"),
        (b"[" * 51 + b"]" * 51, "nested too deeply: more than 50 levels"),
        (b"\x00", "Expecting value"),
        (b"", "Expecting value"),
        (b"\xff\xfe[\x00]\x00", "not readable UTF-8 text"),
    ],
)
def test_json_is_strict(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "told.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        texts.read_json(path, NAMED)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: not readable ")


def test_a_byte_order_mark_is_no_content(tmp_path: Path, folder: Path) -> None:
    """Editors on Windows write one."""
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert texts.read_json(tmp_path / "a.json", NAMED) == [1]
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfseed = 3")
    assert texts.read_toml(tmp_path / "a.toml", NAMED) == {"seed": 3}
    truth = Run(folder).history
    history = folder / "history.csv"
    history.write_bytes(b"\xef\xbb\xbf" + history.read_bytes())
    assert Run(folder).history == truth


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"seed = {'9' * 5000}".encode(), "not valid TOML: Exceeds the limit"),
        (b"a = " + b"[" * 5000, "not valid TOML: nested too deeply"),
        (b"a = " + b"{b=" * 5000, "not valid TOML: "),
        (b"seed = 1\nseed = 2", "not valid TOML: Cannot overwrite a value"),
        (b"seed = \x00", "not valid TOML: "),
        (b'name = "\xe9"', "not readable UTF-8 text"),
        (b"#" * (texts.TOML_LIMIT + 1), "has 16 KiB, but the limit is 16 KiB"),
    ],
)
def test_toml_that_breaks_parsers(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        resolve(config=path, environ={})
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < len(str(path)) + 300


def test_toml_that_takes_long_is_too_large(tmp_path: Path) -> None:
    """The parser needs quadratic time for a dotted key; the limit keeps that short."""
    path = tmp_path / "mine.toml"
    path.write_text(".".join("a" * (texts.TOML_LIMIT // 2 - 2)) + "=1")
    started = time.monotonic()
    with pytest.raises(SpecError, match="unknown key 'a'"):
        resolve(config=path, environ={})
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_a_user_names_is_a_file(tmp_path: Path, kind: str) -> None:
    """None of them may hang or take all memory."""
    path = tmp_path / "named"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    for read in (
        lambda: resolve(config=path, environ={}),
        lambda: read_weights(path),
        lambda: read_picture(path, (28, 28)),
        lambda: read_idx(path, ndim=3),
        lambda: read_sitting(path),
        lambda: read_document(path),
    ):
        with pytest.raises(MnistMlpError) as caught:
            read()
        assert str(path) in str(caught.value)


# --- Other formats --------------------------------------------------------------------------------

FOREIGN = {
    "model.pt": (zipped({"model/data.pkl": b"\x80\x02.", "model/data/0": b"0000"}), "PyTorch"),
    "model.keras": (zipped({"metadata.json": b"{}", "model.weights.h5": b"\x89HDF"}), "Keras"),
    "model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "model.pkl": (pickle.dumps({"w": 1}), "a pickle"),
    "old.pt": (pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2), "a pickle"),
    "model.onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.9.0:", "an ONNX model"),
    "model.npy": (npy([1.0]), "a single array"),
    "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(30), "TensorFlow Lite"),
    "model.gguf": (b"GGUF\x03\0\0\0", "GGUF"),
    "model.gz": (gzip.compress(b"x"), "compressed: unpack it first"),
    "model.tar": (bytes(257) + b"ustar" + bytes(250), "a tar archive"),
}


@pytest.mark.parametrize("suffix", ["", ".npz", ".safetensors"])
@pytest.mark.parametrize("name", FOREIGN)
def test_other_formats_are_told_by_their_content(tmp_path: Path, name: str, suffix: str) -> None:
    content, words = FOREIGN[name]
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_weights(path)
    assert f"{path}: is " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["weights.safetensors", "predictions.npz"])
def test_a_folder_of_other_formats(folder: Path, name: str) -> None:
    run = Run(folder)
    for content, words in FOREIGN.values():
        (folder / name).write_bytes(content)
        told = refused(folder, name, run)
        assert words in told or (name == "weights.safetensors" and "a zip archive" in told)


def test_the_format_is_known_by_its_content(folder: Path, tmp_path: Path) -> None:
    truth = Run(folder).weights
    (tmp_path / "theirs.bin").write_bytes((folder / "weights.safetensors").read_bytes())
    assert read_weights(tmp_path / "theirs.bin").keys() == truth.keys()
    np.savez(tmp_path / "theirs.npz", **truth)
    (tmp_path / "theirs.npz").rename(tmp_path / "theirs.safetensors")
    assert read_weights(tmp_path / "theirs.safetensors").keys() == truth.keys()


# --- Many arrays, odd names -----------------------------------------------------------------------


def test_too_many_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MOST_ARRAYS", 20)
    tensors = {f"a{i}": np.zeros(1, np.float32) for i in range(21)}
    np.savez(tmp_path / "many.npz", **tensors)
    (tmp_path / "many.safetensors").write_bytes(tensors_to_bytes(tensors))
    for name in ("many.npz", "many.safetensors"):
        with pytest.raises(DataError, match=r"has (more than 20|21) arrays"):
            read_weights(tmp_path / name)


def test_a_header_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", arrays.HEADER_LIMIT + 1) + b"{}")
    with pytest.raises(
        DataError, match="header announces 4,194,305 bytes, expected 2 to 4,194,304"
    ):
        read_weights(path)


def test_names_of_arrays_are_printable(tmp_path: Path) -> None:
    np.savez(tmp_path / "odd.npz", **{"\x1b[31mw": np.zeros(1)})
    (tmp_path / "odd.safetensors").write_bytes(tensors_to_bytes({"\x1b[31mw": np.zeros(1)}))
    for name in ("odd.npz", "odd.safetensors"):
        with pytest.raises(DataError, match=r"control characters: '\\x1b\[31mw'"):
            read_weights(tmp_path / name)


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in (1.0, 2.0):
            archive.writestr("w.npy", npy([value]))
    (tmp_path / "w.npz").write_bytes(content.getvalue())
    with pytest.raises(DataError, match="two arrays have the same name"):
        read_weights(tmp_path / "w.npz")


def test_a_file_that_is_still_being_written() -> None:
    """The size of a file in /proc is 0, and it holds more."""
    with pytest.raises(DataError, match="changed while it was read"):
        texts.read_text(Path("/proc/self/status"), NAMED)


def test_a_type_that_numpy_lacks(tmp_path: Path) -> None:
    text = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(DataError, match="NumPy has no type 'BF16'; save the tensors as float32"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 0x8B1F + 1, 0x1208 * 8])
def test_a_header_whose_length_looks_like_another_format(tmp_path: Path, length: int) -> None:
    """640 is 0x280, and a pickle begins with 0x80 0x02."""
    text = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", length) + text.ljust(length).encode() + bytes(4))
    assert read_weights(path).keys() == {"w"}
