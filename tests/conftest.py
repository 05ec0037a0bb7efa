"""Shared fixtures: backends from the registry, one worker each, small data, real MNIST, commands.

pytest's own process imports no framework; a worker costs seconds to start, so each backend gets one
for the whole session, and it is opened anew with every specification.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

HERE = Path(__file__).parent
STRANGER = HERE / "stranger"
# As if a stranger's package were installed: for this process, and for the workers it starts. And
# the tests' own helpers, which stand beside them.
sys.path += [str(STRANGER), str(HERE)]
# Broken backends are not registered, and only workers import them: `faulty_backends:Class`.
FAULTY = HERE / "faulty"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the command line handles these
known = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
# Each once: the processes of xdist have them already.
os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*known, str(STRANGER), str(FAULTY)]))

from mnist_mlp import cli as command_line  # noqa: E402
from mnist_mlp.data import Dataset, load_dataset  # noqa: E402
from mnist_mlp.data.idx import write_idx  # noqa: E402
from mnist_mlp.ports.downloads import one_at_a_time  # noqa: E402
from mnist_mlp.registry import installed  # noqa: E402
from mnist_mlp.run.folder import Run  # noqa: E402
from mnist_mlp.spec import Spec, parse_spec  # noqa: E402
from mnist_mlp.training import train  # noqa: E402
from mnist_mlp.worker.parent import Worker  # noqa: E402
from mnist_mlp.worker.warm import conditions, warm_workers  # noqa: E402

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


# For `--hypothesis-profile`: inputs for each property test.
settings.register_profile("quick", max_examples=50)
settings.register_profile("torture", max_examples=10_000)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--accelerator gpu`: the shared workers compute on a GPU; `make gpu` runs conformance so."""
    parser.addoption("--accelerator", choices=("cpu", "gpu"), default="cpu")


def pytest_configure(config: pytest.Config) -> None:
    """All processes of this session fork their workers from the same two."""
    if not hasattr(config, "workerinput"):  # xdist's processes have the environment of this one
        stack = ExitStack()
        config.add_cleanup(stack.close)
        os.environ |= jax_cache(Path(stack.enter_context(TemporaryDirectory())))
        stack.enter_context(warm_workers())


def jax_cache(folder: Path) -> dict[str, str]:
    """Variables with which JAX compiles each step once in a session, and not once for each model.

    Compiling takes ten times as long as the trainings of these tests.
    """
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_COMPILATION_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


# With these files started last, one of two processes would end minutes after the other.
LONGEST_FIRST = (
    *("test_readme.py", "test_documents.py", "test_fit.py", "test_keras_port.py"),
    *("test_pair_table.py", "test_fault_share.py", "test_live.py", "test_captured.py"),
    *("test_resume.py", "test_streams.py", "test_script_table.py", "test_devices.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; `--no-loadscope-reorder` keeps the order."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `backend` runs once for each registered backend, strangers' included."""
    if "backend" in metafunc.fixturenames:
        long = ENGINES if metafunc.definition.path.name in LONG_FOR_ENGINES else ()
        backends = [
            registered(name, target, long=name in long) for name, target in installed().items()
        ]
        metafunc.parametrize("backend", backends, scope="session")


ENGINES = ("keras-jax", "keras-torch")
LONG_FOR_ENGINES = ("test_fit.py", "test_warm_workers.py", "test_worker.py")
"""Each `fit` of theirs takes seconds, as Keras has no fast path on them here; so the tests of whole
runs are part of `make acceptance`. One whole run stays in `test_float64.py`."""


def registered(name: str, target: str, *, long: bool) -> Any:
    """A backend as a parameter; skipped in words if a package of its framework is missing."""
    module, _, backend = target.partition(":")
    packages = getattr(importlib.import_module(module), backend).packages
    missing = [package for package in packages if not importlib.util.find_spec(package)]
    reason = f"{name}: no {', '.join(missing)} here"
    marks = [pytest.mark.skipif(bool(missing), reason=reason)]
    return pytest.param(name, marks=[*marks, *([pytest.mark.long] if long else [])])


@pytest.fixture(autouse=True, scope="module")
def nothing_left() -> Iterator[None]:
    """No file of tests changes this process for the next: its variables, limits or cores.

    Later workers would then all start as always, and not be forked.
    """
    before = conditions()
    yield
    assert conditions() == before


@pytest.fixture(scope="session")
def workers(pytestconfig: pytest.Config) -> Iterator[Callable[[str], Worker]]:
    """A running worker of a backend, shared by the whole session."""
    accelerator = pytestconfig.getoption("--accelerator")
    running: dict[str, Worker] = {}

    def get(backend: str) -> Worker:
        if backend not in running:
            running[backend] = Worker(backend, accelerator=accelerator, threads=1)
        return running[backend]

    yield get
    for worker in running.values():
        worker.close()


@pytest.fixture
def worker(backend: str, workers: Callable[[str], Worker]) -> Worker:
    """The shared worker of the backend under test."""
    return workers(backend)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with real MNIST. CI sets the variable, so nothing is skipped there."""
    folder = os.environ.get("MNIST_MLP_DATA")
    if not folder:
        pytest.skip("set MNIST_MLP_DATA to the folder with the four IDX files")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def mnist(mnist_dir: Path) -> Dataset:
    """Real MNIST."""
    return load_dataset("mnist", data_dir=mnist_dir)


@pytest.fixture(scope="session")
def tutorial_runs(mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The tutorial on real MNIST, trained once by each of our backends. Not to be changed."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the processes of xdist share it
        folder = folder.parent
    folder /= "tutorial"
    with one_at_a_time(folder):
        for name in ("keras", "torch", "numpy"):
            if not (folder / name).exists():
                train(Spec(), backend=name, dataset=mnist, out=folder / name, accelerator="cpu")
    return {name: Run(folder / name) for name in ("keras", "torch", "numpy")}


@pytest.fixture(scope="session")
def small_data() -> Dataset:
    """250 images of 6 x 5 pixels in 4 classes that can be learnt: a bright row tells the class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 250).astype(np.uint8)
    images = rng.integers(0, 120, (250, 6, 5)).astype(np.uint8)
    images[np.arange(250), labels] += 120
    return Dataset(name="idx", source="made up", images=images, labels=labels, classes=4)


@pytest.fixture(scope="session")
def idx_dir(small_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data as a folder with four IDX files: what `--data-dir` takes."""
    folder = tmp_path_factory.mktemp("idx")
    for name, rows in (("train", slice(0, 200)), ("t10k", slice(200, 250))):
        write_idx(folder / f"{name}-images-idx3-ubyte", small_data.images[rows])
        write_idx(folder / f"{name}-labels-idx1-ubyte", small_data.labels[rows])
    return folder


@pytest.fixture(scope="session")
def finished_run(small_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder, by the reference backend, figures included. Not to be changed."""
    spec = parse_spec(
        {
            "name": "small",
            "seed": 3,
            "model": {"layer_sizes": [30, 9, 4]},
            "optimizer": {"learning_rate": 0.5, "momentum": 0.5},
            "training": {"batch_size": 32, "epochs": 3},
        }
    )
    folder = tmp_path_factory.mktemp("runs") / "finished"
    return train(spec, backend="numpy", dataset=small_data, out=folder, threads=2).path


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without pictures, which take longer than the training; they have tests of their own."""
    monkeypatch.setattr("mnist_mlp.evaluate.figures.figure_files", lambda _: {})


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., CompletedProcess[str]]]:
    """The command line, called in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in STOPS}

    def call(*words: object) -> CompletedProcess[str]:
        capsys.readouterr()
        arguments = [str(word) for word in words]
        with pytest.raises(SystemExit) as stop:
            command_line.main(arguments)
        told = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return CompletedProcess(arguments, stop.value.code, told.out, told.err)

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def heeded() -> Iterator[None]:
    """SIGINT and SIGHUP reach this process and its children, also where `nohup` or `&` had them
    ignored."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
