"""Any bytes in any reader: a value, or an error of this project; never another exception.

Each reader gets arbitrary bytes and mutated valid files. `--hypothesis-profile=torture` takes
10,000 inputs for each reader instead of 50.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mnist_mlp.bench.record import Case, Document, Sample
from mnist_mlp.bench.record import read as read_sitting
from mnist_mlp.bench.render import as_data, as_text
from mnist_mlp.data.idx import read_idx, write_idx
from mnist_mlp.errors import MnistMlpError
from mnist_mlp.exchange.importing import canonical, read_weights
from mnist_mlp.exchange.pictures import read_picture
from mnist_mlp.readers.regular import MEMBER, NAMED
from mnist_mlp.readers.texts import read_json, read_text
from mnist_mlp.report.comparison import pairs_from, read_document
from mnist_mlp.report.sides import read_sides
from mnist_mlp.run.evaluation import evidence
from mnist_mlp.run.files import json_bytes
from mnist_mlp.run.folder import Run
from mnist_mlp.run.writer import npz_bytes
from mnist_mlp.settings import resolve
from mnist_mlp.spec import Spec

BYTES = st.binary(max_size=300)

# The folder of a test is shared by all of its inputs, which each overwrite the same file.
QUIET = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def mutations(draw: st.DrawFn, content: bytes) -> bytes:
    """A valid file with up to four damages: a byte changed, a part cut, doubled, or replaced."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(changed)))
        length = draw(st.integers(0, 16))
        part = changed[start : start + length]
        match draw(st.sampled_from(["flip", "cut", "double", "replace", "end"])):
            case "flip" if start < len(changed):
                changed[start] ^= draw(st.integers(1, 255))
            case "cut":
                del changed[start : start + length]
            case "double":
                changed[start:start] = part
            case "replace":
                changed[start : start + length] = draw(st.binary(max_size=16))
            case "end":
                del changed[start:]
    return bytes(changed)


def inputs(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes, and mutations of valid files."""
    return st.one_of(BYTES, *(mutations(content) for content in valid))


def survives(read: Callable[[], object]) -> None:
    """Read something; only the project's own errors may leave, each with a short text."""
    try:
        read()
    except MnistMlpError as error:
        text = str(error)
        assert 10 < len(text) < 1500
        assert text.replace("\n", "").isprintable()
        assert "object at 0x" not in text


# --- Formats --------------------------------------------------------------------------------------

JSON = json_bytes({"a": [1, 2.5, None, True, {"text": "\x1b \ud83d\ude00 é"}], "b": -1e-3})
TOML = Spec().as_toml().encode()


@QUIET
@given(content=inputs(JSON))
def test_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)

    def read() -> None:
        value = read_json(path, NAMED)
        # What was read can be written, and has a text.
        json_bytes(value).decode()

    survives(read)


@QUIET
@given(value=st.recursive(st.text() | st.floats() | st.integers() | st.none(), st.lists))
def test_json_of_any_value(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    survives(lambda: json_bytes(read_json(path, NAMED)).decode())


@QUIET
@given(content=inputs(TOML))
def test_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)

    def read() -> None:
        resolve(config=path, environ={}).spec.as_toml()

    survives(read)


@QUIET
@given(
    key=st.sampled_from(["training.epochs", "model.layer_sizes", "name", "optimizer.schedule"]),
    text=st.text(max_size=60) | st.from_regex(r"\[[0-9a-fx_.,\[\]-]*\]", fullmatch=True),
)
def test_set(key: str, text: str) -> None:
    survives(lambda: resolve(environ={}, assignments=[f"{key}={text}"]))


@QUIET
@given(content=inputs("línea\n\x00".encode(), b"\xef\xbb\xbfx"))
def test_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    survives(lambda: read_text(path, NAMED).encode())


WEIGHTS = {"w.1": np.ones((2, 3), np.float32), "b.1": np.zeros(3, np.float64)}
NPZ = npz_bytes(WEIGHTS)
PLAIN_NPZ = io.BytesIO()
np.savez(PLAIN_NPZ, **WEIGHTS)  # type: ignore[arg-type]
_HEADER = json.dumps(
    {
        "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F64", "shape": [3], "data_offsets": [24, 48]},
    }
).encode()
SAFETENSORS = len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(48)
SMALL = Spec().model_copy(
    update={
        "model": Spec().model.model_copy(
            update={"layer_sizes": (2, 3), "activations": ("softmax",)}
        )
    }
)


@QUIET
@given(content=inputs(NPZ, PLAIN_NPZ.getvalue(), SAFETENSORS))
def test_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights"
    path.write_bytes(content)
    survives(lambda: canonical(read_weights(path), SMALL, layout="keras"))


def picture(kind: str) -> bytes:
    content = io.BytesIO()
    image = Image.new("L", (20, 20), 255)
    image.paste(0, (8, 3, 11, 17))
    image.save(content, format=kind)
    return content.getvalue()


@QUIET
@given(content=inputs(picture("PNG"), picture("JPEG")))
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's about damaged metadata
def test_picture(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(content)
    survives(lambda: read_picture(path, (28, 28)))


def idx_files() -> list[bytes]:
    import gzip
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        write_idx(path, np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
        plain = path.read_bytes()
    return [plain, gzip.compress(plain)]


@QUIET
@given(content=inputs(*idx_files()))
def test_idx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    survives(lambda: read_idx(path, ndim=3))


# --- Files of a run folder ------------------------------------------------------------------------

MEMBERS = (
    "run.json",
    "history.csv",
    "weights.safetensors",
    "order.npz",
    "predictions.npz",
    "examples.npz",
)


@pytest.fixture(scope="module")
def folder(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run without its figures."""
    import shutil

    copy = tmp_path_factory.mktemp("property") / "run"
    shutil.copytree(finished_run, copy, ignore=shutil.ignore_patterns("figures"))
    return copy


def use(folder: Path) -> None:
    """Read all that the commands read."""
    run = Run(folder)
    evidence(run)
    assert run.order.keys() == {"train_ids", "epochs"}
    json_bytes(run.record.document())


@pytest.mark.parametrize("name", MEMBERS)
@QUIET
@given(data=st.data())
def test_members(folder: Path, name: str, data: st.DataObject) -> None:
    path = folder / name
    whole = path.read_bytes()
    try:
        path.write_bytes(data.draw(inputs(whole)))
        survives(lambda: use(folder))
    finally:
        path.write_bytes(whole)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(part, (*path, key))
    return found


def replaced(draw: st.DrawFn | Any, content: bytes) -> bytes:
    """A JSON file in which one value is another one, or missing."""
    document = json.loads(content)
    *outer, last = draw(st.sampled_from(places(document)))
    inner = document
    for key in outer:
        inner = inner[key]
    if isinstance(inner, dict) and draw(st.booleans()):
        del inner[last]
    else:
        inner[last] = draw(VALUES)
    return json.dumps(document).encode()


@QUIET
@given(data=st.data())
def test_values_of_a_record(folder: Path, data: st.DataObject) -> None:
    path = folder / "run.json"
    whole = path.read_bytes()
    try:
        path.write_bytes(replaced(data.draw, whole))
        survives(lambda: use(folder))
    finally:
        path.write_bytes(whole)


# --- Documents of other commands ------------------------------------------------------------------

SITTING = Document(
    kind="cases",
    started="2026-01-01T00:00:00+00:00",
    rounds=3,
    seed=0,
    train_rows=52_500,
    test_rows=17_500,
    dataset={"name": "mnist"},
    environment={"processor": "x", "cores": 2},
    cases=(
        Case(key="keras/cpu/fast", kind="worker", spec=Spec(), epochs=3, backend="keras"),
        Case(key="peer/torch_loop", kind="peer", spec=Spec(), epochs=3, point=64),
    ),
    samples=tuple(
        Sample(
            case=case,
            round=number,
            place=1,
            phases={"process_s": 2.0 + number, "import_s": 0.5},
            epochs_s=(0.1, 0.2, 0.3),
            memory={"peak": 10, "import_peak": 5},
            facts={"train_rows": 52_500},
        )
        for case in ("keras/cpu/fast", "peer/torch_loop")
        for number in (1, 2)
    ),
)
SITTINGS = [
    json_bytes(SITTING.model_copy(update={"kind": kind, "axis": axis}).as_json())
    for kind, axis in (("cases", ""), ("scale", "width"), ("profile", ""))
]


@QUIET
@given(data=st.data(), whole=st.sampled_from(SITTINGS))
def test_sitting(tmp_path: Path, data: st.DataObject, whole: bytes) -> None:
    path = tmp_path / "bench.json"
    path.write_bytes(
        data.draw(inputs(whole)) if data.draw(st.booleans()) else replaced(data.draw, whole)
    )

    def read() -> None:
        document = read_sitting(path)
        as_text(document).encode()
        json_bytes(as_data(document))

    survives(read)


@QUIET
@given(data=st.data())
def test_comparison(folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    sides = read_sides([Run(folder), Run(folder)])
    side = {"label": "numpy", "path": str(folder)}
    whole = json_bytes(
        {"schema_version": 1, "verdict": "identical", "sides": {"a": side, "b": side}, "rungs": []}
    )
    path = tmp_path / "compare.json"
    path.write_bytes(
        data.draw(inputs(whole)) if data.draw(st.booleans()) else replaced(data.draw, whole)
    )
    survives(lambda: pairs_from(sides, read_document(path), origin="compare.json"))


def test_a_reader_that_lets_out_another_exception_is_seen(tmp_path: Path) -> None:
    """What the tests above rest on."""
    path = tmp_path / "a.json"
    path.write_text("[")
    with pytest.raises(json.JSONDecodeError):
        survives(lambda: json.loads(path.read_text()))
    with pytest.raises(AssertionError):
        survives(lambda: read_text(path.with_name("x" * 2000), MEMBER))
