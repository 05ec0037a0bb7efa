"""The textbook port of the tutorial to PyTorch Lightning: same layers, same SGD, same batch size.

Nothing in it fails or warns, and it ends at less than half of the accuracy that the Keras original
reaches, for PyTorch fills new layers with other numbers than Keras. Try it:

    python examples/textbook_port.py              # train it, 10 epochs
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy


class TextbookPort(L.LightningModule):
    """784-128-64-10, sigmoid; the softmax is inside the loss, as it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(784, 128),
            nn.Sigmoid(),
            nn.Linear(128, 64),
            nn.Sigmoid(),
            nn.Linear(64, 10),
        )
        self.accuracy = MulticlassAccuracy(10, average="micro")

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.accuracy(logits, y)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_accuracy", self.accuracy)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Clock(L.Callback):
    """When training started, and when each epoch ended."""

    def on_train_start(self, trainer, pl_module):
        self.times = [time.perf_counter()]

    def on_train_epoch_end(self, trainer, pl_module):
        self.times.append(time.perf_counter())


def loaders(*, batch_size: int = 128):
    """MNIST split 75/25 into a training and a test loader, as the tutorial has it."""
    from sklearn.model_selection import train_test_split
    from torch.utils.data import DataLoader, TensorDataset

    from mnist_mlp.data import load_dataset

    data = load_dataset("mnist")
    x = torch.tensor(data.flat()).float() / 255
    y = torch.tensor(data.labels).long()
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.25, random_state=42)
    return (
        DataLoader(TensorDataset(train_x, train_y), batch_size=batch_size, shuffle=True),
        DataLoader(TensorDataset(test_x, test_y), batch_size=batch_size),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--seed", type=int, default=42)
    options.add_argument("--timings", type=Path, help="write the seconds of each epoch here")
    chosen = options.parse_args()
    L.seed_everything(chosen.seed, verbose=False)
    train, test = loaders()
    clock = Clock()
    trainer = L.Trainer(
        callbacks=[clock],
        max_epochs=chosen.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    port = TextbookPort()
    trainer.fit(port, train, test)
    accuracy = float(trainer.callback_metrics["val_accuracy"])
    print(f"textbook port in Lightning, {chosen.epochs} epochs: accuracy {accuracy:.4f}")
    if chosen.timings:
        seconds = [end - start for start, end in pairwise(clock.times)]
        chosen.timings.write_text(json.dumps({"epochs_s": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
