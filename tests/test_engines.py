"""Keras on torch and on JAX: what conformance does not say of them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnist_mlp.contract import Environment, State
from mnist_mlp.data import Dataset
from mnist_mlp.errors import MissingPackagesError
from mnist_mlp.plan import make_plan, training_data
from mnist_mlp.registry import installed
from mnist_mlp.spec import parse_spec
from mnist_mlp.training import train
from mnist_mlp.worker.accelerator import gpu_refusal
from mnist_mlp.worker.child import load
from mnist_mlp.worker.parent import Worker
from mnist_mlp_keras import KerasJaxBackend, KerasTorchBackend

Cli = Callable[..., CompletedProcess[str]]

ENGINES = {"keras-jax": KerasJaxBackend, "keras-torch": KerasTorchBackend}

HAS_JAX = pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="no jax")
BOTH = [pytest.param("keras-jax", marks=HAS_JAX), "keras-torch"]


def test_each_is_registered() -> None:
    assert {name: installed()[name].partition(":")[2] for name in ENGINES} == {
        name: backend.__name__ for name, backend in ENGINES.items()
    }


@pytest.mark.parametrize("name", BOTH)
def test_tensorflow_is_never_loaded(
    name: str, workers: Callable[[str], Worker], small_data: Dataset
) -> None:
    """Told by the libraries that its process has in memory, after all that it can do."""
    worker = workers(name)
    _, environment = worker.describe()
    spec = parse_spec({"model": {"layer_sizes": [30, 9, 4]}, "training": {"epochs": 1}})
    plan = make_plan(spec, small_data)
    data = training_data(plan, small_data)
    worker.open(spec)
    worker.fit(plan, data)
    worker.step(State(0, plan.initial_weights), data.train_images[:9], data.train_labels[:9])
    worker.predict(plan.initial_weights, data.test_images)
    worker.draw(plan)
    loaded = Path(f"/proc/{worker._process.pid}/maps").read_text()
    assert {"keras-jax": "jaxlib", "keras-torch": "libtorch"}[name] in loaded
    assert "tensorflow" not in loaded
    assert set(environment.versions) == {"keras", name.removeprefix("keras-")}


@HAS_JAX
def test_tensorflow_goes_without_jax(workers: Callable[[str], Worker], small_data: Dataset) -> None:
    """Which Keras and TensorFlow would import where it is installed."""
    worker = workers("keras")
    spec = parse_spec({"model": {"layer_sizes": [30, 9, 4]}, "training": {"epochs": 1}})
    plan = make_plan(spec, small_data)
    worker.open(spec)
    worker.fit(plan, training_data(plan, small_data))
    loaded = Path(f"/proc/{worker._process.pid}/maps").read_text()
    assert "tensorflow" in loaded
    assert "jaxlib" not in loaded


@pytest.mark.parametrize("name", ENGINES)
def test_what_is_missing_is_told_with_its_remedy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = name.removeprefix("keras-")
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: module != engine or None)
    with pytest.raises(MissingPackagesError) as told:
        load(installed()[name], name=name)
    assert str(told.value) == (
        f"backend {name!r} needs {engine}, not installed here: run pip install 'mnist-mlp[{name}]'"
    )


@pytest.mark.parametrize("name", ENGINES)
def test_a_gpu_is_refused(name: str) -> None:
    found = Environment(versions={}, gpus=("a GPU that others can use",))
    refused = gpu_refusal(name, ENGINES[name].capabilities, found)
    assert f"backend {name!r} cannot use a GPU" in str(refused)


@pytest.fixture(scope="module")
def by_numpy(small_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A correct run, of which a fault of a replayed backend shows."""
    spec = parse_spec(
        {
            "model": {"layer_sizes": [30, 9, 4], "activations": ["gelu", "softmax"]},
            "optimizer": {"learning_rate": 0.05},
            "training": {"batch_size": 32, "epochs": 2},
        }
    )
    folder = tmp_path_factory.mktemp("runs") / "numpy"
    return train(spec, backend="numpy", dataset=small_data, out=folder).path


@pytest.mark.parametrize(
    ("fault", "rung", "cause"),
    [
        pytest.param("JaxGeluBackend", "forward", "gelu_tanh_approximation", marks=HAS_JAX),
        ("TorchRateBackend", "update", "learning_rate"),
    ],
)
@pytest.mark.usefixtures("no_figures")
def test_a_planted_fault_is_named(
    cli: Cli, by_numpy: Path, idx_dir: Path, tmp_path: Path, fault: str, rung: str, cause: str
) -> None:
    """The folder says that the faulty backend made it. So that one is replayed and judged."""
    shutil.copytree(by_numpy, tmp_path / "other")
    path = tmp_path / "other" / "run.json"
    record = json.loads(path.read_text())
    record["backend"] = {"name": "keras-other", "target": f"faulty_engines:{fault}"}
    path.write_text(json.dumps(record))
    options = ("--trust-backend", f"faulty_engines:{fault}", "--data-dir", idx_dir, "--json")
    done = cli("compare", by_numpy, "./other", *options)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)["breaks"][0]
    assert (found["side"], found["rung"], found["cause"]["name"]) == ("b", rung, cause)
    assert "keras." in found["cause"]["fix"], "the cure is Keras's on any engine"
