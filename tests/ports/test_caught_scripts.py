"""What is taken of a script at its `Model.fit` or `Trainer.fit`, and how it is made anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.pair import PairJob
from mnist_mlp.ports.pair_rows import PairRows, WholeRun
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.testing import assert_same_training
from mnist_mlp.worker.parent import Worker

Workers = Callable[[str], Worker]

SCRIPTS = Path(__file__).parent.parent / "scripts"

KERAS = """
import keras, numpy as np
from pathlib import Path

keras.utils.set_random_seed(1)
x, y = np.random.normal(size=(40, 4)), np.random.normal(size=(40, 1))

class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, name="the_only_one")

    def call(self, x):
        return self.dense(x)

    def fit(self, *args, **options):
        return super().fit(*args, **options)

model = Own()
model.compile("sgd", "mse")
FIT
Path(__file__).with_suffix(".after").write_text("trained")
"""

LIGHTNING = """
import PACKAGE as L
import torch
from pathlib import Path
from torch.utils.data import DataLoader, TensorDataset

L.seed_everything(1)
x, y = torch.randn(40, 4), torch.randn(40, 1)

class Data(L.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(x, y), batch_size=10)

class Own(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, number):
        return torch.nn.functional.mse_loss(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

trainer = L.Trainer(max_epochs=3, accelerator="gpu", devices=2, gradient_clip_val=0.5, logger=False)
trainer.fit(Own(), FIT)
Path(__file__).with_suffix(".after").write_text("trained")
"""

RNG = np.random.default_rng(0)
ROWS = PairRows(RNG.normal(size=(20, 4)), RNG.normal(size=(20, 1)), 8)


def opened(worker: Worker, folder: Path, text: str, number: str = "") -> tuple[str, PairBrought]:
    path = folder / "train.py"
    path.write_text(text)
    target = f"{path}{number}"
    worker.describe_port(target)
    brought = worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1))
    assert not path.with_suffix(".after").exists()
    return target, brought


def draws_of(worker: Worker, name: str) -> int:
    """How many models with different initial weights were made."""
    worker.pair_open([ROWS], precision="float32")
    draws = worker.pair_draws()
    kernels = {draw[name].tobytes() for draw in draws}
    assert len(kernels) == len(draws)
    return len(draws)


def test_a_keras_fit_is_caught_with_its_arguments(tmp_path: Path, workers: Workers) -> None:
    """By place or by name, and through a model's own `fit`; callbacks that write don't run."""
    fit = (
        "model.fit(x, y, 10, 3, shuffle=False, validation_split=0.25, callbacks=["
        "keras.callbacks.ModelCheckpoint('best.keras'), keras.callbacks.LambdaCallback()])"
    )
    worker = workers("keras")
    _, brought = opened(worker, tmp_path, KERAS.replace("FIT", fit))
    own = brought.own
    assert own is not None
    assert own.validation is not None
    assert (brought.batch_size, brought.epochs, brought.shuffle) == (10, 3, False)
    assert [one.sizes for one in own.epochs] == [(10, 10, 10)] * 3
    assert own.validation.sizes == (10,)
    told: list[Mapping[str, float]] = []
    worker.pair_train(WholeRun(3), on_epoch=told.append)
    assert [set(numbers) for numbers in told] == [{"loss", "val_loss"}] * 3
    assert told[0]["loss"] > told[2]["loss"]
    assert draws_of(worker, "0/kernel") > 1
    facts = worker.pair_open([ROWS], precision="float64")
    assert [layer.name for layer in facts.layers] == ["the_only_one: Dense"]
    assert facts.open_questions == ("the callback LambdaCallback after the first steps",)
    assert len(worker.pair_fit(PairJob(ROWS, 2))) == 6


def test_the_second_fit_follows_the_first(tmp_path: Path, workers: Workers) -> None:
    fit = "model.fit(x, y, epochs=1, verbose=0)\nmodel.fit(x[:20], y[:20], batch_size=5)"
    _, brought = opened(workers("keras"), tmp_path, KERAS.replace("FIT", fit), ":2")
    assert (brought.batch_size, brought.epochs) == (5, 1)
    assert brought.own is not None
    assert sum(brought.own.epochs[0].sizes) == 20


def test_train_on_batch_is_caught_without_data(tmp_path: Path, workers: Workers) -> None:
    _, brought = opened(
        workers("keras"), tmp_path, KERAS.replace("FIT", "model.train_on_batch(x[:8], y[:8])")
    )
    assert brought.own is None


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        ("print(model)", r"neither Model\.fit or train_on_batch nor apply"),
        ("import tensorflow as tf\ntf.GradientTape()", r"it ended without training"),
        ("import sys\nsys.exit('no data')", r"it ended itself .* \(exit code no data\)"),
        ("input('which?')", "it asks for input"),
        ("keras.Sequential([keras.layers.Dense(1)]).fit(x, y)", "a model that is not compiled"),
    ],
)
def test_a_keras_script_that_does_not_train(
    fit: str, words: str, tmp_path: Path, workers: Workers
) -> None:
    with pytest.raises(UsageError, match=words):
        opened(workers("keras"), tmp_path, KERAS.replace("FIT", fit))


@pytest.mark.parametrize(
    ("package", "fit"),
    [
        ("lightning", "datamodule=Data()"),
        ("lightning.pytorch", "Data()"),
        ("pytorch_lightning", "Data().train_dataloader()"),
    ],
)
def test_a_trainer_fit_is_caught_with_its_trainer(
    package: str, fit: str, tmp_path: Path, workers: Workers
) -> None:
    """Under each name of the package; the devices that it asks for need not be here."""
    worker = workers("torch")
    text = LIGHTNING.replace("PACKAGE", package).replace("FIT", fit)
    _, brought = opened(worker, tmp_path, text)
    own = brought.own
    assert own is not None
    assert brought.epochs == 3
    assert brought.options["gradient_clip_val"] == "0.5"
    assert [one.sizes for one in own.epochs] == [(10,) * 4] * 3
    assert any("accelerator='gpu'" in text for text in brought.left_out)
    assert any("devices=2" in text for text in brought.not_judged)
    told: list[Mapping[str, float]] = []
    worker.pair_train(WholeRun(3), on_epoch=told.append)
    assert [set(numbers) for numbers in told] == [{"loss"}] * 3
    assert told[0]["loss"] > told[2]["loss"]
    assert draws_of(worker, "0/kernel") > 3
    worker.pair_open([ROWS], precision="float64")
    assert len(worker.pair_fit(PairJob(ROWS, 2))) == 6


TWO = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
loader = DataLoader(TensorDataset(torch.randn(40, 4), torch.randn(40, 1)), batch_size=10)


def train(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for a, b in loader:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(a), b).backward()
        optimizer.step()


wide, narrow = nn.Linear(4, 1), nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
train(wide)
train(narrow)
"""


def test_one_of_several_loops_is_chosen_by_the_name_of_its_model(tmp_path: Path) -> None:
    with Worker("torch", accelerator="cpu", model="narrow") as worker:
        opened(worker, tmp_path, TWO)
        facts = worker.pair_open([ROWS], precision="float64")
        assert [layer.shapes["kernel"] for layer in facts.layers[:2]] == [(4, 2), (2, 1)]
        assert len(worker.pair_fit(PairJob(ROWS, 2))) == 6
        told: list[Mapping[str, float]] = []
        worker.pair_train(WholeRun(1, 4), on_epoch=told.append)
        assert len(told) == 1


def test_scripts_in_a_test_suite(tmp_path: Path) -> None:
    port = tmp_path / "slices.py"
    text = (SCRIPTS / "housing_slices.py").read_text(encoding="utf-8")
    port.write_text(text.replace("lr=0.01", "lr=0.02"))
    with pytest.raises(
        AssertionError, match=r"cause: learning_rate \(learning_rate 0\.02 instead of 0\.01;"
    ):
        assert_same_training(str(port), str(SCRIPTS / "housing.py"), dataset="digits")
