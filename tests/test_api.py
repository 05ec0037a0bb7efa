"""The library in Python: the words of the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mnist_mlp
from mnist_mlp import Spec, compare, load_run, train
from mnist_mlp.data import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.spec import parse_spec

SMALL = parse_spec(
    {
        "name": "small",
        "model": {"layer_sizes": [30, 9, 4]},
        "training": {"batch_size": 32, "epochs": 2},
    }
)


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, mnist_mlp; print('numpy' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_every_public_name_is_there() -> None:
    for name in mnist_mlp.__all__:
        assert getattr(mnist_mlp, name) is not None
    assert dir(mnist_mlp) == sorted(mnist_mlp.__all__)
    with pytest.raises(AttributeError, match="trian"):
        _ = mnist_mlp.trian


def test_train_and_compare(small_data: Dataset, tmp_path: Path) -> None:
    run = train(SMALL, backend="numpy", dataset=small_data, out=tmp_path / "a", epochs=1)
    assert run.spec.training.epochs == 1
    assert run.spec.model == SMALL.model
    again = train(SMALL, backend="numpy", dataset=small_data, out=tmp_path / "b", epochs=1)
    outcome = compare(run, str(again.path), dataset=small_data)
    assert outcome.verdict == "identical"
    assert np.array_equal(
        load_run(tmp_path / "a").weights["layers.0.bias"], again.weights["layers.0.bias"]
    )


def test_compare_trains_what_is_named(small_data: Dataset, tmp_path: Path) -> None:
    outcome = compare("numpy", "stranger", spec=SMALL, dataset=small_data, out=tmp_path, seed=3)
    assert outcome.verdict in ("identical", "equivalent")
    assert load_run(tmp_path / "stranger").spec.seed == 3


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        train(Spec(), epohs=3)


def test_the_environment_is_the_command_line_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_MLP_EPOCHS", "77")
    assert mnist_mlp.api.specification(None, {}).training.epochs == 10
