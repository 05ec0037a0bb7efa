"""A requested GPU is found, or refused with a reason, before any other work is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from mnist_mlp.contract import Capabilities, Environment
from mnist_mlp.errors import SetupError
from mnist_mlp.worker import accelerator
from mnist_mlp.worker.accelerator import gpu_refusal, missing_driver, require_gpu

Cli = Callable[..., CompletedProcess[str]]

ABLE = Capabilities(accelerators=("cpu", "gpu"))
NO_DRIVER = "no NVIDIA driver is installed"


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(accelerator.ctypes, "CDLL", absent)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    monkeypatch.setattr(accelerator.ctypes, "CDLL", asked.append)
    monkeypatch.setattr(accelerator.sys, "platform", "linux")
    return asked


@pytest.mark.parametrize(
    ("command", "label"),
    [
        (("train", "--backend", "torch"), "torch"),
        (("train", "--backend", "mnist_mlp_torch:TorchBackend"), "torchbackend"),
        (("compare", "torch", "keras"), "torch"),
        (("compare", "keras", "torch"), "keras"),
    ],
)
def test_without_a_driver_it_is_told_before_anything_is_loaded_or_started(
    cli: Cli,
    no_driver: None,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    label: str,
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("too early")

    monkeypatch.setattr("mnist_mlp.data.load_dataset", forbidden)
    monkeypatch.setattr("mnist_mlp.training.make_plan", forbidden)
    monkeypatch.setattr("mnist_mlp.worker.parent.subprocess.Popen", forbidden)
    start = time.monotonic()
    done = cli(*command, "--accelerator", "gpu", "--out", "run", "--progress", "none")
    assert time.monotonic() - start < 5
    assert done.returncode == 3
    assert f"--accelerator gpu: backend {label!r} finds no GPU here ({NO_DRIVER}" in done.stderr
    assert "mnist_mlp_torch" not in done.stderr


def test_with_a_driver_the_framework_is_asked_before_the_data_is_loaded(
    cli: Cli, driver: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`numpy` can never use one, and says so by its own name."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("too early")

    monkeypatch.setattr("mnist_mlp.data.load_dataset", forbidden)
    for command in (("train", "--backend", "numpy"), ("compare", "numpy", "numpy")):
        done = cli(*command, "--accelerator", "gpu", "--out", "run", "--progress", "none")
        assert done.returncode == 3, done.stderr
        assert "--accelerator gpu: backend 'numpy' cannot use a GPU; use --accelerator cpu" in (
            done.stderr
        )
    assert driver[0] == "libcuda.so.1"


def test_apple_s_is_refused_in_words(monkeypatch: pytest.MonkeyPatch, driver: list[str]) -> None:
    monkeypatch.setattr(accelerator.sys, "platform", "darwin")
    with pytest.raises(SetupError, match="NVIDIA GPU, through CUDA; Apple's is not used"):
        require_gpu(["torch"])
    assert not driver


def test_what_is_missing_beside_a_driver_is_named(driver: list[str]) -> None:
    found = Environment(versions={}, gpus=("H100",), gpu_install="pip install more")
    assert gpu_refusal("keras", ABLE, found) is None
    refused = gpu_refusal("keras", ABLE, Environment(versions={}, gpu_install="pip install more"))
    assert "finds no GPU here (but a driver is installed: run pip install more)" in str(refused)
    assert missing_driver() is None


@pytest.mark.parametrize("there", [True, False])
def test_backends_names_the_install_line_only_beside_a_driver(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # no device, on any machine
    monkeypatch.setattr(
        "mnist_mlp.registry.installed", lambda: {"keras": "mnist_mlp_keras:KerasBackend"}
    )
    monkeypatch.setattr(accelerator, "missing_driver", lambda: None if there else NO_DRIVER)
    done = cli("backends")
    assert done.returncode == 0, done.stderr
    line = "no GPU found, but a driver is installed: run pip install 'mnist-mlp[gpu]'"
    assert (line in done.stdout) is there
