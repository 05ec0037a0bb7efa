"""What a Keras original and its Lightning port bring, read by their own hosts and held together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.check.own_data import DataVerdict
from mnist_mlp.parity.check.pair_brought import Brought
from mnist_mlp.parity.check.pair_data import against_original
from mnist_mlp.parity.check.side import setting
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.parent import Worker

ROWS = """
import numpy as np
from pathlib import Path
rows = np.load(Path(__file__).with_name("rows.npz"))
x, y = rows["x"].astype("float32") / 255, rows["y"].astype("int64")
"""

ORIGINAL = (
    """
import keras
import tensorflow as tf
"""
    + ROWS
    + """
def build():
    model = keras.Sequential([
        keras.Input((30,)),
        keras.layers.Dense(9, activation="sigmoid"),
        keras.layers.Dense(4, activation="softmax"),
    ])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model

port = {"model": build, DATA}
"""
)

PORT = (
    """
import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, Subset
"""
    + ROWS
    + """
class Port(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(30, 9), nn.Sigmoid(), nn.Linear(9, 4))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

x, y = torch.tensor(x), torch.tensor(y)
train, test = TensorDataset(x[:150], y[:150]), TensorDataset(x[150:], y[150:])
port = {"module": Port, "loader": DATA}
"""
)

ARRAYS = '"fit": {"x": x[:150], "y": y[:150], "batch_size": 32}'
VALIDATED = '"fit": {"x": x[:150], "y": y[:150], "validation_data": (x[150:], y[150:])}'
STREAM = (
    '"loader": tf.data.Dataset.from_tensor_slices((x[:150], y[:150]))'
    ".shuffle(150).batch(32, drop_remainder=DROP)"
)
SPLIT = '"fit": {"x": x, "y": y, "batch_size": 32, "validation_split": 0.4}'
LOADER = "DataLoader(train, batch_size=32, shuffle=True)"

PAIRS: dict[str, tuple[str, str, tuple[str, str] | None]] = {
    "arrays and a loader": (ARRAYS, LOADER, None),
    "arrays of the usual size": (VALIDATED, f"({LOADER}, DataLoader(test, batch_size=50))", None),
    "a stream and a loader": (STREAM.replace("DROP", "False"), LOADER, None),
    "a last batch dropped by both": (
        STREAM.replace("DROP", "True"),
        "DataLoader(train, batch_size=32, shuffle=True, drop_last=True)",
        None,
    ),
    "a split of the rows": (SPLIT, f"({LOADER}, DataLoader(test, batch_size=50))", None),
    "no shuffle": (ARRAYS, "DataLoader(train, batch_size=32)", ("order", "not_shuffled")),
    "no shuffle beside a stream": (
        STREAM.replace("DROP", "False"),
        "DataLoader(train, batch_size=32)",
        ("order", "not_shuffled"),
    ),
    "a shuffle too much": (
        ARRAYS.replace('"batch_size"', '"shuffle": False, "batch_size"'),
        LOADER,
        ("order", "shuffled"),
    ),
    "the last batch dropped": (
        STREAM.replace("DROP", "False"),
        "DataLoader(train, batch_size=32, shuffle=True, drop_last=True)",
        ("order", "last_batch_dropped"),
    ),
    "another size": (
        ARRAYS,
        "DataLoader(train, batch_size=64, shuffle=True)",
        ("order", "batch_size"),
    ),
    "greys": (
        ARRAYS,
        "DataLoader(TensorDataset(x[:150] * 255, y[:150]), batch_size=32, shuffle=True)",
        ("data", "pixels_not_scaled"),
    ),
    "another split": (
        SPLIT,
        "DataLoader(TensorDataset(x[100:], y[100:]), batch_size=32, shuffle=True)",
        ("data", "other_split"),
    ),
    "validated on training rows": (
        VALIDATED,
        f"({LOADER}, DataLoader(train, batch_size=50))",
        ("data", "other_split"),
    ),
}


@pytest.fixture
def judged(
    tmp_path: Path, workers: Callable[[str], Worker], small_data: Dataset
) -> Callable[[str, str], DataVerdict]:
    """Opens an original and a port that bring data, and judges these."""
    spec = parse_spec(
        {"model": {"layer_sizes": [30, 9, 4]}, "training": {"batch_size": 32, "epochs": 2}}
    )
    given = setting(spec, small_data)
    np.savez(tmp_path / "rows.npz", x=small_data.flat(), y=small_data.labels)

    def judge(original: str, port: str) -> DataVerdict:
        sides: list[Any] = []
        for backend, text in (
            ("keras", ORIGINAL.replace("DATA", original)),
            ("torch", PORT.replace("DATA", port)),
        ):
            path = tmp_path / f"{backend}_side.py"
            path.write_text(text)
            facts = workers(backend).open_port(f"{path}:port", data=given.data, image_shape=(30,))
            sides.append(Brought(facts, None))
        return against_original(*sides, given.plan, small_data)

    return judge


@pytest.mark.parametrize("what", PAIRS)
def test_the_data_of_two_hosts_are_held_together(
    judged: Callable[[str, str], DataVerdict], what: str
) -> None:
    original, port, expected = PAIRS[what]
    found = judged(original, port)
    assert [(item.rung, item.cause.name) for item in found.breaks] == (
        [] if expected is None else [expected]
    )
    assert (found.but_for, found.unjudged) == ("", "")
    if expected is None:
        # A row that one side has dropped in all of its epochs is not known there: one in 300.
        assert found.compared["data"] >= 128 * 3 - 24
        assert found.compared["order"] >= 12
