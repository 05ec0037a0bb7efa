"""Data without targets, and data whose targets are their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_mlp.parity.pair.own_rows import same_rows
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.protocol import OwnData, OwnPass, Rows
from mnist_mlp.ports.unlabelled import BARE, BESIDE, TUPLE, batch_of, form_of, with_repeats
from mnist_mlp.worker.parent import Worker

X = np.random.default_rng(0).random((12, 4, 4, 3))
IDS = (np.arange(8), np.arange(8, 12))


def own_of(x: np.ndarray, y: np.ndarray, **more: Any) -> OwnData:
    table, targets = x.reshape(len(x), -1), y.reshape(len(y), -1)
    one = OwnPass(IDS, targets if targets.shape[1] > 1 else targets[:, 0])
    return OwnData(Rows(table), x.shape[1:], (one,), **{"first_targets": y[:8], **more})


@pytest.mark.parametrize(
    ("batch", "form"),
    [(X, BARE), ((X,), TUPLE), ([X], TUPLE), ((X, X), ""), ({"x": X}, "")],
    ids=["array", "tuple", "list", "pair", "names"],
)
def test_how_a_batch_comes_that_is_one_array(batch: Any, form: str) -> None:
    assert form_of(batch) == form


def test_a_batch_in_each_form() -> None:
    assert batch_of(BARE, X) is X
    assert batch_of(TUPLE, X) == (X,)
    assert batch_of(BESIDE, X, 7) == (X, 7)


CHANGED = X.copy()
CHANGED[3, 0, 0, 0] += 1e-3


@pytest.mark.parametrize(
    ("y", "more", "again"),
    [(X, {}, True), (CHANGED, {}, False), (np.zeros(12), {"unlabelled": BARE}, True)],
    ids=["the inputs", "one number is another", "none"],
)
def test_whether_targets_are_the_inputs_again(
    y: np.ndarray, more: Mapping[str, Any], again: bool
) -> None:
    own = with_repeats(own_of(X, y, **more))
    assert own is not None
    assert own.again is again


MOVED = np.moveaxis(X, -1, 1)
PORTS = {
    "bare": (
        own_of(MOVED, np.zeros(12), unlabelled=BARE, again=True, first_targets=MOVED[:8]),
        MOVED,
    ),
    "again": (own_of(MOVED, MOVED, again=True), MOVED),
    "flat targets": (own_of(MOVED, MOVED.reshape(12, -1), again=True), MOVED.reshape(12, -1)),
}


@pytest.mark.parametrize("port", PORTS)
def test_the_ports_targets_are_its_own_inputs_in_its_own_order(port: str) -> None:
    """The original has the channels last: to reshape its targets would mix colours."""
    own, wanted = PORTS[port]
    made = same_rows(PairRows(X, X, 8), own, Rows(X.reshape(12, -1)), np.arange(12))
    assert made is not None
    assert made.unlabelled == own.unlabelled
    assert np.array_equal(made.x, np.float32(MOVED))
    assert np.array_equal(made.y, np.float32(wanted))


def test_an_original_without_targets_leaves_the_port_its_own() -> None:
    labels = np.arange(12) % 3
    rows = PairRows(X, X, 8, unlabelled=BARE)
    made = same_rows(rows, own_of(X, labels), Rows(X.reshape(12, -1)), np.arange(12))
    assert made is not None
    assert made.unlabelled == ""
    assert np.array_equal(made.y, labels)


PLAIN = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

x = torch.rand(20, 4)

def loaders():
    held_out = TensorDataset(x[:6], torch.arange(6))
    return DataLoader(TensorDataset(x), batch_size=8), DataLoader(held_out, batch_size=6)

port = {
    "module": lambda: nn.Linear(4, 4),
    "loss": nn.MSELoss(),
    "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "loader": loaders,
}
"""


def test_a_validation_may_have_targets_where_the_training_has_none(
    tmp_path: Path, workers: Callable[[str], Worker]
) -> None:
    path = tmp_path / "plain.py"
    path.write_text(PLAIN)
    worker = workers("torch")
    worker.describe_port(f"{path}:port")
    own = worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1)).own
    assert own is not None
    assert own.unlabelled == TUPLE
    assert own.validation is not None
    assert own.validation.sizes == (6,)
    x = np.ones((12, 4))
    facts = worker.pair_open([PairRows(x, x, 8, unlabelled=TUPLE)], precision="float64")
    assert facts.loss is not None
