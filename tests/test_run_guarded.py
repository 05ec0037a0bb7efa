"""Files of a run folder that are something else: each is refused quickly, and named."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_mlp.errors import EXIT_DATA, RunFolderError
from mnist_mlp.exchange.importing import read_weights
from mnist_mlp.report.comparison import read_document
from mnist_mlp.run import guarded
from mnist_mlp.run.folder import Run

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
LIMITS = {"json": guarded.JSON_LIMIT, "csv": guarded.TEXT_LIMIT, "txt": guarded.TEXT_LIMIT}


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
    assert refused(folder, name, run) == "not a regular file"
    path.unlink()
    path.mkdir()
    assert refused(folder, name, run) == "not a regular file"
    path.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(whole)
    for target in ("/dev/zero", elsewhere, tmp_path / "nowhere"):
        path.symlink_to(target)
        assert refused(folder, name, run).startswith("is a link; a run folder must hold the file")
        path.unlink()
    with path.open("wb") as file:
        file.truncate(LIMITS.get(path.suffix[1:], guarded.ARRAYS_LIMIT) + 1)  # sparse
    assert refused(folder, name, run).startswith("larger than ")


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
    with pytest.raises(RunFolderError, match=r"theirs\.npz: not a readable npz"):
        read_weights(folder / "theirs.npz")


def test_members_of_other_names(folder: Path) -> None:
    (folder / "trace.npz").write_bytes(zipped({"readme.txt": b"read me"}))
    assert "array 'readme.txt' is missing" in refused(folder, "trace.npz", Run(folder))


def test_a_bomb_by_its_declared_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is decompressed; two members count together."""
    big = npy(np.zeros(200_000))
    (folder / "examples.npz").write_bytes(zipped({"ids.npy": big, "images.npy": big}))
    run = Run(folder)
    monkeypatch.setattr(guarded, "ARRAYS_LIMIT", 2_000_000)
    monkeypatch.setattr(guarded, "_npy", None)
    told = refused(folder, "examples.npz", run)
    assert "3,200,256 bytes decompressed, but the limit is 2,000,000" in told


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
