"""The textbook port of `lenet_keras.py` to PyTorch Lightning. It is silently wrong in five places.

Nothing in it fails or warns: every line is what a reader of both manuals would write. `check` names
what differs:

    python -m mnist_mlp check examples/lenet_keras.py:build examples/lenet_port.py:LeNetPort

To train it, 3 epochs:

    python examples/lenet_port.py
"""

from __future__ import annotations

import argparse

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy


class LeNetPort(L.LightningModule):
    """The same layers in the same order, with torch's defaults."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding="same"),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Dropout(0.75),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
            nn.Softmax(dim=1),
        )
        self.accuracy = MulticlassAccuracy(10, average="micro")

    def forward(self, x):
        return self.classifier(self.features(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.accuracy(self(x), y)
        self.log("val_accuracy", self.accuracy)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def loaders(*, batch_size: int = 128):
    """MNIST split 75/25 into a training and a test loader, as in `lenet_keras.py`."""
    from sklearn.model_selection import train_test_split
    from torch.utils.data import DataLoader, TensorDataset

    from mnist_mlp.data import load_dataset

    data = load_dataset("mnist")
    x = torch.tensor(data.images[:, None]).float() / 255
    y = torch.tensor(data.labels).long()
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.25, random_state=42)
    return (
        DataLoader(TensorDataset(train_x, train_y), batch_size=batch_size, shuffle=True),
        DataLoader(TensorDataset(test_x, test_y), batch_size=batch_size),
    )


def train(port: L.LightningModule, *, name: str) -> None:
    options = argparse.ArgumentParser(description=f"Train the {name} LeNet in Lightning.")
    options.add_argument("--epochs", type=int, default=3)
    epochs = options.parse_args().epochs
    train_rows, test_rows = loaders()
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(port, train_rows, test_rows)
    accuracy = float(trainer.callback_metrics["val_accuracy"])
    print(f"{name} LeNet in Lightning, {epochs} epochs: accuracy {accuracy:.4f}")


if __name__ == "__main__":
    L.seed_everything(42, verbose=False)
    train(LeNetPort(), name="textbook")
