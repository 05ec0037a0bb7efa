"""NaN and infinity: named by step and tensor with exit code 5, never a verdict, never a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_runs import copied, rewrite_arrays, rewrite_history, rewrite_tensors, trained
from numpy_side import NumpySide
from small_problems import made_up, problem, spec_of

from mnist_mlp.data import load_dataset
from mnist_mlp.errors import DivergedError
from mnist_mlp.parity.check.port import check_port
from mnist_mlp.parity.check.target import parse_target
from mnist_mlp.parity.compare.runs import compare_runs
from mnist_mlp.parity.findings import JudgedStep
from mnist_mlp.parity.steps.drift import distance
from mnist_mlp.parity.steps.shapes import finite_part
from mnist_mlp.run.folder import Run
from mnist_mlp.spec import parse_spec

# --- Judged steps ---------------------------------------------------------------------------------


def steps() -> list[JudgedStep]:
    spec = spec_of()
    return problem(spec).steps(NumpySide(spec))


def planted(step: JudgedStep, field: str) -> JudgedStep:
    """A step with one NaN in a tensor of its record."""
    record = step.record
    if field == "loss":
        return replace(step, record=replace(record, loss=float("nan")))
    if field in ("gradient", "weights"):
        source = record.gradient if field == "gradient" else record.state.weights
        tensors = {name: tensor.copy() for name, tensor in source.items()}
        tensors["layers.1.kernel"][2, 3] = np.inf
        if field == "gradient":
            return replace(step, record=replace(record, gradient=tensors))
        return replace(step, record=replace(record, state=replace(record.state, weights=tensors)))
    arrays = [array.copy() for array in getattr(record, field)]
    arrays[0][1, 0] = np.nan
    return replace(step, record=replace(record, **{field: tuple(arrays)}))


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("pre_activations", "the output of layer 0"),
        ("activations", "the activation of layer 0"),
        ("loss", "the loss"),
        ("gradient", "the gradient of layers.1.kernel"),
        ("weights", "layers.1.kernel after the update"),
    ],
)
def test_the_first_tensor_is_named(field: str, name: str) -> None:
    clean = steps()
    at = clean[3]
    spoilt = [planted(step, field) if step is at else step for step in clean]
    before, words = finite_part(spoilt)
    assert words == f"{name} is not finite at step {at.step} (epoch {at.epoch})"
    assert [step.step for step in before if not step.stress] == [s.step for s in clean[:3]]
    assert any(step.stress for step in before), "the stress batch is judged as it is"


def test_finite_steps_are_all_kept() -> None:
    clean = steps()
    assert finite_part(clean) == (clean, "")


def test_nan_is_infinitely_far() -> None:
    """max() of a list with NaN in it depends on the order of the list."""
    exact = {"a": np.ones(3), "b": np.ones(3)}
    for name in exact:
        got = exact | {name: np.array([1, np.nan, 1])}
        assert distance(got, exact, exact, precision="float32") == np.inf


# --- Finished runs --------------------------------------------------------------------------------


def nan_weight(tensors: dict[str, Any]) -> None:
    tensors["layers.0.bias"][1] = np.nan


def nan_logit(arrays: dict[str, Any]) -> None:
    arrays["logits"][0, 0] = np.inf


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: rewrite_tensors(f, "weights.safetensors", nan_weight), "layers.0.bias"),
        (lambda f: rewrite_arrays(f, "predictions.npz", nan_logit), "predictions.npz: a logit"),
        (
            lambda f: rewrite_history(f, lambda row: replace(row, loss=float("nan")), epoch=2),
            "history.csv: a loss of epoch 2",
        ),
    ],
)
def test_a_run_that_is_not_finite_gets_no_verdict(
    runs: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    run = trained("numpy", runs)
    folder = copied(run, tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(DivergedError, match=words) as caught:
        compare_runs(Run(run.path), Run(folder), dataset=made_up())
    assert caught.value.exit_code == 5


# --- Ports ----------------------------------------------------------------------------------------

PORT = """
import lightning as L
import torch
from torch import nn


class Port(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(784, 16), nn.Linear(16, 10)
        for layer in (self.hidden, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        {start}

    def forward(self, x):
        return self.out(torch.sigmoid(self.hidden(x)))

    def training_step(self, batch, batch_index):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        return {loss}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""


@pytest.mark.parametrize(
    ("start", "loss", "words"),
    [
        (
            "pass",
            "loss * float('nan') if batch_index == 2 else loss",
            r"port\.py:Port: the loss is not finite at step 3 \(epoch 1\)",
        ),
        (
            "nn.init.constant_(self.out.bias, float('inf'))",
            "loss",
            r"port\.py:Port: layers\.1\.bias is not finite before training",
        ),
    ],
    ids=["step 3 only", "initial weights"],
)
def test_a_port_that_is_not_finite_gets_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, loss: str, words: str
) -> None:
    (tmp_path / "port.py").write_text(PORT.format(start=start, loss=loss))
    monkeypatch.chdir(tmp_path)
    spec = parse_spec(
        {
            "name": "small",
            "data": {"dataset": "digits", "rows": 400},
            "model": {"layer_sizes": [784, 16, 10]},
            "optimizer": {"learning_rate": 0.1},
            "training": {"batch_size": 32, "epochs": 2},
        }
    )
    with pytest.raises(DivergedError, match=words):
        check_port(parse_target("port.py:Port"), spec=spec, dataset=load_dataset("digits"))
