"""Ports of `sequences_keras.py`, faithful, and some with a fault."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WORDS, LENGTH = 40, 12


def sentences(words=WORDS, length=LENGTH):
    rng = np.random.default_rng(0)
    x = rng.integers(1, words, (150, length))
    for row, n in zip(x, rng.integers(3, length + 1, len(x)), strict=True):
        row[n:] = 0
    return x, (x.sum(axis=1) > x.sum(axis=1).mean()).astype("int64")


def loader(x, y):
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y.astype("float32")))
    return DataLoader(rows, batch_size=30, shuffle=True)


def initialised(module):
    """Weights as Keras draws them."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            nn.init.uniform_(layer.weight, -0.05, 0.05)
    return module


class Fitted(L.LightningModule):
    """One network that gives logits (n, 1) or (n,) of two classes."""

    def __init__(self, net):
        super().__init__()
        self.net = initialised(net)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.binary_cross_entropy_with_logits(self(x).view(-1), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Text(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        self.words = nn.Embedding(WORDS, 8, **settings)
        self.a, self.b = nn.Linear(8, 6), nn.Linear(6, 1)

    def forward(self, x):
        return self.b(self.a(self.words(x).mean(dim=1)).relu())


def text(**settings):
    return {"module": Fitted(Text(**settings)), "loader": loader(*sentences())}


def padded_text():
    return text(padding_idx=0)


def short_vectors():
    return text(max_norm=0.1)


def text_by_frequency():
    return text(scale_grad_by_freq=True)


def sparse_text():
    """The same as a training loop has it, with sparse gradients."""
    return {
        "module": initialised(nn.Sequential(Text(sparse=True), nn.Flatten(0))),
        "loss": nn.BCEWithLogitsLoss(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "loader": loader(*sentences()),
    }


def default_vectors():
    given = text()
    given["module"].net.words.reset_parameters()
    return given


def frozen_vectors():
    given = text()
    given["module"].net.words.weight.requires_grad_(False)
    return given
