"""Faults on known lines of users' files: `check` names those lines, of port and original.

In each file, a comment `#: NAME` stands on a line that is to be found.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnist_mlp import check
from mnist_mlp.data import load_dataset
from mnist_mlp.parity.findings import Side
from mnist_mlp.parity.outcome import Outcome, as_text
from mnist_mlp.ports.source import NOTEBOOK

KERAS = """
import keras
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(64, 6)).astype("float32")
y = x[:, :1] - x[:, 1:2]

def network():
    return keras.Sequential([
        keras.Input((6,)),
        keras.layers.Dense(8, activation="relu"),  #: activation
        keras.layers.LayerNormalization(),  #: norm
        keras.layers.Dense(
            8),  # the call begins a line above
        keras.layers.ReLU(),  #: functional
        keras.layers.Dense(1),
    ])

model = network()
model.compile(  #: compile
    optimizer="sgd",
    loss="mse",
)
model.fit(x, y, batch_size=16, epochs=2, shuffle=False)  #: fit
"""

LOOP = """
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(0)
x = rng.normal(size=(64, 6)).astype("float32")
y = x[:, :1] - x[:, 1:2]

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.activation = nn.ELU()  #: activation
        self.norm = nn.LayerNorm(8)  #: norm
        self.second = nn.Linear(8, 8)
        self.third = nn.Linear(8, 1)
        for layer in (self.first, self.second, self.third):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = self.norm(self.activation(self.first(x)))
        x = F.silu(self.second(x))  #: functional
        return self.third(x)

net = Net()
criterion = nn.MSELoss(
    reduction="sum",
)
optimizer = torch.optim.SGD(net.parameters(), lr=0.02)  #: optimizer
loader = DataLoader(  #: loader
    TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=16, shuffle=True,
)
for epoch in range(2):
    for inputs, targets in loader:
        loss = criterion(net(inputs), targets)
        loss.backward()
        optimizer.step()  #: step
"""


def line_with(text: str, name: str) -> int:
    """The number of the line that ends with a comment."""
    (number,) = [n for n, x in enumerate(text.splitlines(), 1) if x.endswith(f"#: {name}")]
    return number


def found(outcome: Outcome, side: Side) -> dict[str, tuple[str, int]]:
    """File and line by the name of each cause."""
    return {
        item.cause.name: (item.lines[side].file, item.lines[side].line)
        for item in outcome.breaks
        if side in item.lines
    }


def judged(original: Path | str, port: Path | str) -> Outcome:
    return check(str(port), str(original), dataset=load_dataset("digits"), epochs=1).outcome


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_torch_loop_against_a_keras_script(tmp_path: Path) -> None:
    original = written(tmp_path, "train_keras.py", KERAS)
    port = written(tmp_path, "train_torch.py", LOOP)
    outcome = judged(original, port)
    in_port = {
        "other_activation": "functional",
        "normalisation_settings": "norm",
        "loss_sum": "",
        "gradients_not_cleared": "step",
        "learning_rate": "optimizer",
        "shuffled": "loader",
    }
    expected = {cause: (str(port), line_with(LOOP, n)) for cause, n in in_port.items() if n}
    expected["loss_sum"] = (str(port), LOOP.splitlines().index("criterion = nn.MSELoss(") + 1)
    assert {k: v for k, v in found(outcome, "b").items() if k in expected} == expected
    # Two breaks have the one cause: the module's line comes first, the call's second.
    lines = [x.lines["b"].line for x in outcome.breaks if x.cause.name == "other_activation"]
    assert lines == [line_with(LOOP, "activation"), line_with(LOOP, "functional")]
    in_original = {
        "normalisation_settings": "norm",
        "other_activation": "functional",
        "loss_sum": "compile",
        "learning_rate": "compile",
        "shuffled": "fit",
    }
    theirs = found(outcome, "a")
    assert {cause: theirs[cause] for cause in in_original} == {
        cause: (str(original), line_with(KERAS, name)) for cause, name in in_original.items()
    }
    assert "gradients_not_cleared" not in theirs  # Keras has no such line: nothing is said


TORCH = """
import lightning as L
import torch
from torch import nn
from torch.nn import functional as F

class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4, eps=1e-3, momentum=0.01)  #: norm
        self.out = nn.Linear(4 * 26 * 26, 10)
        for layer in (self.conv, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x)))
        return self.out(torch.flatten(x, 1))

    def training_step(self, batch, number):
        return F.cross_entropy(self(batch[0]), batch[1])  #: loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)  #: optimizer
"""

KERAS_PORT = """
import keras
from layers_beside import norm

def build():
    x = inputs = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(4, 3)(x)
    x = norm()(x)
    x = keras.layers.Flatten()(keras.ops.square(x))
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    model.compile(
        optimizer=keras.optimizers.SGD(0.02),  #: optimizer
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model
"""

BESIDE = """
from keras import layers

def norm():
    return layers.BatchNormalization(epsilon=1e-2)  #: norm
"""


def test_a_keras_port_of_a_torch_module(tmp_path: Path) -> None:
    """By name; a layer that is made in a file beside is found there."""
    original = written(tmp_path, "net.py", TORCH)
    port = written(tmp_path, "port.py", KERAS_PORT)
    beside = written(tmp_path, "layers_beside.py", BESIDE)
    outcome = judged(f"{original}:Net", f"{port}:build")
    assert found(outcome, "b") == {
        "normalisation_settings": (str(beside), line_with(BESIDE, "norm")),
        "unknown": (str(beside), line_with(BESIDE, "norm")),
        "learning_rate": (str(port), line_with(KERAS_PORT, "optimizer")),
    }
    # What stands behind the normalisation has no name: it is told after which line it is.
    (unknown,) = [x for x in outcome.breaks if x.cause.name == "unknown"]
    assert unknown.lines["b"].role == "before"
    assert f"in the port, after: {beside}:5: return layers.Batch" in as_text(outcome)
    (norm,) = [row for row in outcome.layers if row.b and row.b.kind == "batch_norm"]
    assert norm.differing == ("epsilon",)
    assert norm.a is not None
    assert norm.a.line == unknown.lines["a"].as_role("layer")
    assert found(outcome, "a") == {
        "normalisation_settings": (str(original), line_with(TORCH, "norm")),
        "unknown": (str(original), line_with(TORCH, "norm")),
        "learning_rate": (str(original), line_with(TORCH, "optimizer")),
    }


def notebook(folder: Path, name: str, *cells: str) -> Path:
    """A notebook with code cells, a text before the first."""
    book = {
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": "# A title"},
            *({"cell_type": "code", "metadata": {}, "source": text} for text in cells),
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return written(folder, name + NOTEBOOK, json.dumps(book))


def test_a_notebook_is_told_by_its_cell(tmp_path: Path) -> None:
    """Of both: in the second cell of the port, in the first of the original."""
    text = LOOP.replace('reduction="sum",\n', "").replace("F.silu", "F.relu")
    text = text.replace("nn.ELU", "nn.ReLU").replace("nn.LayerNorm(8)", "nn.LayerNorm(8, eps=1e-3)")
    text = text.replace("        loss.backward", "        net.zero_grad()\n        loss.backward")
    first, second = text.replace("lr=0.02", "lr=0.01").split("net = Net()")
    second = f"net = Net(){second}".replace("shuffle=True", "shuffle=False")
    second = second.replace("nn.MSELoss(", "nn.L1Loss(  #: loss")
    original = notebook(tmp_path, "original", KERAS)
    port = notebook(tmp_path, "port", first, f"%matplotlib inline\n{second}")
    outcome = judged(original, port)
    assert found(outcome, "b") == {"other_loss": (f"{port}, cell 2", line_with(second, "loss") + 1)}
    assert found(outcome, "a") == {
        "other_loss": (f"{original}, cell 1", line_with(KERAS, "compile"))
    }
    assert outcome.breaks[0].lines["b"].text == "criterion = nn.L1Loss(  #: loss"


DENSE_KERAS = """
import keras

def build():
    model = keras.Sequential([
        keras.Input((784,)),
        keras.layers.Dense(16, activation="relu"),  #: first
        keras.layers.Dense(16, activation="sigmoid"),
        keras.layers.Dense(10, activation="softmax"),
    ])
    model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")  #: compile
    return model
"""

DENSE_TORCH = """
import lightning as L
import torch
from torch import nn
from torch.nn import functional as F

class Dense(nn.Linear):
    def __init__(self, inputs, units):
        super().__init__(inputs, units)  # here is no layer of the network's
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.first = Dense(784, 16)
        self.second = Dense(16, 16)
        self.act = nn.Sigmoid()
        self.third = nn.Linear(16, 10)  #: third
        nn.init.xavier_uniform_(self.third.weight)

    def forward(self, x):
        x = F.ACTIVATION(self.first(x))  #: functional
        x = self.act(self.second(x))
        return self.third(x)

    def training_step(self, batch, number):
        return F.cross_entropy(self(batch[0]), batch[1], reduction="sum")  #: loss

    def configure_optimizers(self):
        sgd = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)  #: optimizer
        return sgd
"""


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("silu", {"other_activation": ("functional", "first")}),
        (
            "relu",
            {
                "loss_sum": ("loss", "compile"),
                "undeclared_momentum": ("optimizer", "compile"),
                "torch_default_bias_init": ("third", None),
            },
        ),
    ],
)
def test_dense_networks(
    activation: str, expected: dict[str, tuple[str, str | None]], tmp_path: Path
) -> None:
    """Judged by exact arithmetic. A layer of a class of the user's is where that is called."""
    text = DENSE_TORCH.replace("ACTIVATION", activation)
    original = written(tmp_path, "build.py", DENSE_KERAS)
    port = written(tmp_path, "net.py", text)
    outcome = judged(f"{original}:build", f"{port}:Net")
    ours, theirs = found(outcome, "b"), found(outcome, "a")
    for cause, (line, of_original) in expected.items():
        assert ours[cause] == (str(port), line_with(text, line)), cause
        if of_original is not None:
            assert theirs[cause] == (str(original), line_with(DENSE_KERAS, of_original)), cause


LIGHTNING = """
import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(64, 6)).astype("float32")
y = x[:, :1] - x[:, 1:2]

class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8, eps=1e-3))
        self.rest = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        self.apply(self.start)

    def start(self, layer):
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def training_step(self, batch, number):
        return nn.functional.mse_loss(self.rest(self.net(batch[0])), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)  #: schedule
        return [optimizer], [schedule]

class Data(L.LightningDataModule):
    def train_dataloader(self):
        rows = TensorDataset(torch.tensor(x), torch.tensor(y))
        return DataLoader(rows, batch_size=32)  #: loader

trainer = L.Trainer(max_epochs=5, logger=False)  #: trainer
trainer.fit(Net(), datamodule=Data())
"""


def test_what_a_trainer_is_given(tmp_path: Path) -> None:
    original = written(tmp_path, "train_keras.py", KERAS)
    port = written(tmp_path, "train.py", LIGHTNING)
    outcome = judged(original, port)
    ours = found(outcome, "b")
    assert ours["batch_size"] == (str(port), line_with(LIGHTNING, "loader"))
    assert ours["more_epochs"] == (str(port), line_with(LIGHTNING, "trainer"))  # 5 instead of 2
    (scheduled,) = [name for name in ours if "schedule" in name]
    assert ours[scheduled] == (str(port), line_with(LIGHTNING, "schedule"))
