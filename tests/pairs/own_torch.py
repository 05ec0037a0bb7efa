"""Ports of `own_keras.py`: layers of torch for those by hand, and by hand for those of Keras."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(160, 10)).astype("float32")
CLASSES = DRAW.integers(0, 3, 160)
NUMBERS = (ROWS[:, :1] - 0.5 * ROWS[:, 1:2] + 0.1 * DRAW.normal(size=(160, 1))).astype("float32")
WORDS = DRAW.integers(0, 30, (160, 6))


class OwnDense(nn.Module):
    """A dense layer by hand, its kernel as Keras has it."""

    def __init__(self, inputs, units, bias=True, gain=1.0, scale=1.0):
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(inputs, units))
        nn.init.xavier_uniform_(self.kernel, gain=gain)
        self.bias = nn.Parameter(torch.zeros(units)) if bias else None
        self.scale = scale

    def forward(self, x):
        made = self.scale * (x @ self.kernel)
        return made if self.bias is None else made + self.bias


class ByEinsum(nn.Module):
    """The same with the kernel as torch has it."""

    def __init__(self, inputs, units):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(units, inputs))
        nn.init.xavier_uniform_(self.weight)
        self.offset = nn.Parameter(torch.zeros(units))

    def forward(self, x):
        return torch.einsum("bi,ui->bu", x, self.weight) + self.offset


def linear(inputs, units, gain=1.0):
    layer = nn.Linear(inputs, units)
    nn.init.xavier_uniform_(layer.weight, gain=gain)
    nn.init.zeros_(layer.bias)
    return layer


class Port(L.LightningModule):
    """Trains any network by any loss of outputs and targets."""

    def __init__(self, *net, loss=F.cross_entropy):
        super().__init__()
        self.net, self.loss = nn.Sequential(*net), loss

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.loss(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.5)


def fitted(port, y=CLASSES, x=ROWS):
    data = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    loader = DataLoader(data, batch_size=16, shuffle=True)
    return {"module": port, "loader": loader, "trainer": {"max_epochs": 2}}


def classifier(first, last):
    return fitted(Port(first, nn.Tanh(), last))


# --- Ports of `dense` and `every` -----------------------------------------------------------------


def dense():
    return classifier(linear(10, 16), linear(16, 3))


def by_hand():
    """The port has both by hand."""
    return classifier(OwnDense(10, 16), ByEinsum(16, 3))


def half_by_hand():
    return classifier(OwnDense(10, 16), linear(16, 3))


def turned():
    """By hand, and the kernel as torch has it."""
    return classifier(ByEinsum(10, 16), linear(16, 3))


def scaled():
    return classifier(OwnDense(10, 16, scale=0.5), linear(16, 3))


def last_scaled():
    return classifier(linear(10, 16), OwnDense(16, 3, scale=0.5))


def without_bias():
    first = nn.Linear(10, 16, bias=False)
    nn.init.xavier_uniform_(first.weight)
    return classifier(first, linear(16, 3))


def by_hand_without_bias():
    return classifier(OwnDense(10, 16, bias=False), linear(16, 3))


def other_start():
    return classifier(nn.Linear(10, 16), linear(16, 3))


def by_hand_other_start():
    return classifier(OwnDense(10, 16, gain=3.0), OwnDense(16, 3))


def without_activation():
    return fitted(Port(OwnDense(10, 16), OwnDense(16, 3)))


def by_sum():
    return fitted(
        Port(
            OwnDense(10, 16),
            nn.Tanh(),
            ByEinsum(16, 3),
            loss=lambda p, y: F.cross_entropy(p, y, reduction="sum"),
        )
    )


# --- Ports of `square` and `layers_of_keras` ------------------------------------------------------


def regressor(*net, loss=F.mse_loss):
    return fitted(Port(*net, loss=loss), NUMBERS)


def square():
    return regressor(linear(10, 10), nn.Tanh(), linear(10, 10), nn.Tanh(), linear(10, 1))


def square_by_hand():
    return regressor(ByEinsum(10, 10), nn.Tanh(), OwnDense(10, 10), nn.Tanh(), ByEinsum(10, 1))


def square_scaled():
    first = OwnDense(10, 10, scale=0.9)
    return regressor(first, nn.Tanh(), linear(10, 10), nn.Tanh(), linear(10, 1))


def layers_of_keras():
    """All by hand."""
    return regressor(OwnDense(10, 16), nn.Tanh(), ByEinsum(16, 8), nn.Tanh(), OwnDense(8, 1))


def one_of_keras():
    return regressor(linear(10, 16), nn.Tanh(), OwnDense(16, 8), nn.Tanh(), linear(8, 1))


def one_of_keras_scaled():
    middle = OwnDense(16, 8, scale=0.5)
    return regressor(linear(10, 16), nn.Tanh(), middle, nn.Tanh(), linear(8, 1))


# --- Ports of `positions` and `embedded_positions` ------------------------------------------------


class Words(nn.Module):
    """Words with positions, by a table of one's own or embedded."""

    def __init__(self, std=0.05, scale=1.0):
        super().__init__()
        self.words = nn.Embedding(30, 8)
        nn.init.uniform_(self.words.weight, -0.05, 0.05)
        self.make(std)
        self.scale = scale
        self.first, self.last = linear(8, 12), linear(12, 3)

    def make(self, std):
        self.position = nn.Embedding(6, 8)
        nn.init.normal_(self.position.weight, std=std)

    def positions(self):
        return self.position(torch.arange(6))

    def forward(self, words):
        x = self.words(words) + self.scale * self.positions()
        return self.last(F.relu(self.first(x)).mean(1))


class WordsByTable(Words):
    def make(self, std):
        self.position = nn.Parameter(std * torch.randn(1, 6, 8))

    def positions(self):
        return self.position


def embedded():
    return fitted(Port(Words()), x=WORDS)


def embedded_scaled():
    return fitted(Port(Words(scale=8**0.5)), x=WORDS)


def embedded_other_start():
    return fitted(Port(Words(std=1.0)), x=WORDS)


def table():
    return fitted(Port(WordsByTable()), x=WORDS)


def table_scaled():
    return fitted(Port(WordsByTable(scale=8**0.5)), x=WORDS)


def table_frozen():
    module = WordsByTable()
    module.position.requires_grad_(False)
    return fitted(Port(module), x=WORDS)
