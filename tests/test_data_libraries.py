"""MNIST through torchvision, Keras and OpenML: stand-ins for the flow, the real ones for the facts.

The real libraries run in a process of their own, without a network: torchvision asks a mirror on
localhost, Keras and scikit-learn find the file that they would have downloaded.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mnist_mlp.data import libraries, load
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.data.facts import FILES, REMEDY
from mnist_mlp.data.idx import read_folder, write_idx
from mnist_mlp.data.load import load_dataset
from mnist_mlp.errors import DataError, SetupError

ROOT = Path(load.__file__).parents[2]
RNG = np.random.default_rng(0)
# The first six sevenths of a set are its training files, as in MNIST.
IMAGES = RNG.integers(0, 256, (14, 28, 28), dtype=np.uint8)
LABELS = (np.arange(14) % 10).astype(np.uint8)
PARTS = (IMAGES[:12], LABELS[:12], IMAGES[12:], LABELS[12:])
DIGEST = Dataset("", "", IMAGES, LABELS, 10).digest

STAND_IN = """
import numpy as np
from pathlib import Path

Path({log!r}).open("a").write("asked\\n")
x, y = np.load({images!r}), np.load({labels!r})

class mnist:
    @staticmethod
    def load_data():
        print("a library's own chatter")
        return (x[:12], y[:12]), (x[12:], y[12:])
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `keras` that holds a small data set, which counts as MNIST; an empty cache."""
    package = tmp_path / "packages" / "keras"
    package.mkdir(parents=True)
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    paths = {"log": "log", "images": "x.npy", "labels": "y.npy"}
    text = STAND_IN.format(**{key: str(tmp_path / name) for key, name in paths.items()})
    (package / "__init__.py").touch()
    (package / "datasets.py").write_text(text)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), str(ROOT)]))
    monkeypatch.setenv("MNIST_MLP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(load, "MNIST_DIGEST", DIGEST)
    return package


def leftovers(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.name != "mnist-keras"]


def test_a_library_is_asked_once_and_its_data_kept(stand_in: Path, tmp_path: Path) -> None:
    said: list[str] = []
    data = load_dataset("mnist", source="keras", say=said.append)
    assert (data.name, data.source, data.digest) == ("mnist", "keras", DIGEST)
    assert said == ["fetching MNIST through keras; starting the library takes some seconds"]
    again = load_dataset("auto", source="keras", say=said.append)
    assert again.source == f"keras (user cache {tmp_path / 'cache' / 'mnist-keras'})"
    np.testing.assert_array_equal(again.images, IMAGES)
    assert len(said) == 1
    assert (tmp_path / "log").read_text() == "asked\n"
    assert sorted(path.name for path in leftovers(tmp_path / "cache")) == sorted(FILES)


def test_a_source_named_comes_before_the_folder_of_the_environment(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_MLP_DATA", "/nowhere")
    assert load_dataset("auto", source="keras").source == "keras"


def test_another_digest_stops_the_run_and_is_not_kept(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "MNIST_DIGEST", "f" * 64)
    for dataset in ("mnist", "auto"):
        with pytest.raises(DataError, match=f"keras is not MNIST: digest {DIGEST}.* {'f' * 64}"):
            load_dataset(dataset, source="keras")
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (
            "mnist = None",
            DataError,
            "through keras: AttributeError: .* has no attribute 'load_data'",
        ),
        ("raise OSError('no\\nnetwork')", DataError, "through keras: OSError: no network"),
        ("import os; os._exit(9)", DataError, "through keras: it ended with status 9"),
        (None, SetupError, r"cannot be imported: ImportError: broken.\nReinstall it with pip"),
    ],
)
def test_a_library_that_fails_is_quoted(
    stand_in: Path, tmp_path: Path, code: str | None, error: type[Exception], message: str
) -> None:
    if code is None:
        (stand_in / "__init__.py").write_text("raise ImportError('broken')")
    else:
        (stand_in / "datasets.py").write_text(code)
    with pytest.raises(error, match=message) as told:
        load_dataset("auto", source="keras")
    assert len(str(told.value).splitlines()) == 2
    assert error is SetupError or REMEDY in str(told.value)
    assert leftovers(tmp_path / "cache") == []


ENDLESS = """
import sys
from mnist_mlp.data import fetch

def endless(scratch, mirror):
    with (scratch / "part").open("wb") as file:
        for _ in range(1000):
            file.write(bytes(1 << 20))

fetch.LARGEST = 3 << 20
fetch.FETCHERS["openml"] = endless
sys.exit(fetch.main(["openml", sys.argv[1]]))
"""


def test_a_library_that_writes_without_end_is_stopped(tmp_path: Path) -> None:
    """A server that never ends would fill the disk."""
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "File too large" in done.stderr) == (1, True)
    assert (tmp_path / "scratch" / "part").stat().st_size <= 3 << 20


@pytest.mark.parametrize(
    ("source", "extra"), [("torchvision", "mnist-mlp[torch]"), ("keras", "mnist-mlp[keras]")]
)
def test_a_library_that_is_not_installed(
    source: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SetupError) as told:
        load_dataset("auto", source=source)
    assert f"{source} is not installed. Install it with pip install '{extra}'" in str(told.value)


def run_fetch(
    folder: Path, library: str, *arguments: str, before: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `mnist_mlp.data.fetch` after some lines that prepare the library."""
    code = (
        f"{before}\nimport sys\nfrom mnist_mlp.data.fetch import main\nsys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, library, str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1", **environment},
    )


def assert_fetched(folder: Path) -> None:
    images, labels = read_folder(folder)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.skipif(not importlib.util.find_spec("torchvision"), reason="no torchvision")
def test_the_real_torchvision_asks_the_mirror_and_checks_it(tmp_path: Path) -> None:
    """It knows the checksums of the .gz files as published, so these files it must refuse.

    Told the checksums of these files instead, it must take them. Both in one process, because
    importing it takes seconds.
    """
    site = tmp_path / "site"
    site.mkdir()
    resources = []
    for name, values in zip(FILES, PARTS, strict=True):
        write_idx(tmp_path / "plain", values)
        content = gzip.compress((tmp_path / "plain").read_bytes())
        (site / f"{name}.gz").write_bytes(content)
        resources.append((f"{name}.gz", hashlib.md5(content).hexdigest()))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    before = f"""
from mnist_mlp.data.fetch import main
assert main(["torchvision", {str(tmp_path / "refused")!r}, {url!r}]) == 1
from torchvision.datasets import MNIST
MNIST.resources = {resources!r}
"""
    try:
        done = run_fetch(tmp_path / "taken", "torchvision", url, before=before)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert done.returncode == 0, done.stderr
    assert "RuntimeError: Error downloading train-images-idx3-ubyte.gz" in done.stderr
    assert f"Tried {url}, got: File not found or corrupted" in done.stderr
    assert not (tmp_path / "refused" / "train-images-idx3-ubyte").exists()
    assert_fetched(tmp_path / "taken")


@pytest.mark.skipif(not importlib.util.find_spec("keras"), reason="no keras")
def test_the_real_keras_reads_its_own_file(tmp_path: Path) -> None:
    """Only its download is replaced: the published file's checksum cannot be met without it."""
    x_train, y_train, x_test, y_test = PARTS
    file = tmp_path / "mnist.npz"
    np.savez(file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    before = f"""
import keras.src.datasets.mnist as module
def get_file(fname, origin, file_hash):
    assert origin.startswith("https://") and len(file_hash) == 64
    return {str(file)!r}
module.get_file = get_file
"""
    home = str(tmp_path / "home")
    done = run_fetch(tmp_path / "got", "keras", before=before, KERAS_HOME=home)
    assert done.returncode == 0, done.stderr
    assert_fetched(tmp_path / "got")


def fill_openml_cache(home: Path) -> None:
    """What scikit-learn would have downloaded for `mnist_784`, version 1, with 14 rows."""
    pixels = [f"pixel{i + 1}" for i in range(784)]
    rows = np.column_stack([IMAGES.reshape(14, 784), LABELS])
    lines = [
        "@RELATION mnist_784",
        *(f"@ATTRIBUTE {pixel} real" for pixel in pixels),
        "@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}",
        "@DATA",
        *(",".join(map(str, row)) for row in rows.tolist()),
    ]
    arff = "\n".join(lines) + "\n"
    common = {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
    features: list[dict[str, object]] = [
        {"index": str(i), "name": pixel, "data_type": "numeric", "is_target": "false", **common}
        for i, pixel in enumerate(pixels)
    ]
    features.append(
        {"index": "784", "name": "class", "data_type": "nominal", "is_target": "true", **common}
        | {"nominal_value": list("0123456789")}
    )
    description = {
        "id": "554",
        "name": "mnist_784",
        "version": "1",
        "format": "ARFF",
        "status": "active",
        "description": "",
        "url": "https://api.openml.org/data/v1/download/52667/mnist_784.arff",
        "md5_checksum": hashlib.md5(arff.encode()).hexdigest(),
    }
    quality = {"name": "NumberOfInstances", "value": "14"}
    answers = {
        "data/list/data_name/mnist_784/limit/2/data_version/1": {
            "data": {"dataset": [{"did": 554, "name": "mnist_784", "version": 1}]}
        },
        "data/554": {"data_set_description": description},
        "data/features/554": {"data_features": {"feature": features}},
        "data/qualities/554": {"data_qualities": {"quality": [quality]}},
    }
    contents = {f"api/v1/json/{path}": json.dumps(answer) for path, answer in answers.items()}
    contents["data/v1/download/52667/mnist_784.arff"] = arff
    for path, content in contents.items():
        file = home / "openml" / "openml.org" / f"{path}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(content.encode()))


def test_the_real_scikit_learn_parses_openml_without_pandas(tmp_path: Path) -> None:
    fill_openml_cache(tmp_path / "home")
    no_pandas = "import sys; sys.modules['pandas'] = None"
    home = str(tmp_path / "home")
    done = run_fetch(tmp_path / "got", "openml", before=no_pandas, SCIKIT_LEARN_DATA=home)
    assert done.returncode == 0, done.stderr
    assert_fetched(tmp_path / "got")
