"""Ports of `parts_keras.py` with the parts in other orders, and some with a fault."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(160, 10)).astype("float32")
CLASSES = DRAW.integers(0, 3, 160)
PICTURES = DRAW.normal(size=(96, 8, 8, 2)).astype("float32")
KINDS = DRAW.integers(0, 3, 96)


class Port(L.LightningModule):
    """Trains a network whose layers begin as Keras has it."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.5)


def fitted(net, x=ROWS, y=CLASSES):
    data = TensorDataset(torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y))
    return {"module": Port(net), "loader": DataLoader(data, batch_size=16, shuffle=True)}


class Towers(nn.Module):
    def __init__(self, order, scale=1.0, rate=0.0):
        super().__init__()
        self.towers = nn.ModuleList([nn.Linear(10, n) for n in (2, 4, 6)])
        self.order, self.scale = order, scale
        self.dropout = nn.Dropout(rate)
        self.hidden, self.last = nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x):
        parts = [torch.tanh(tower(x)) for tower in self.towers]
        parts[1] = self.scale * parts[1]
        x = torch.cat([parts[k] for k in self.order], dim=1)
        if self.dropout.p:
            x = self.dropout(x)
        return self.last(F.relu(self.hidden(x)))


def towers():
    return fitted(Towers((0, 1, 2)))


def towers_turned():
    return fitted(Towers((2, 1, 0)))


def towers_exchanged():
    return fitted(Towers((1, 0, 2)))


def towers_turned_and_scaled():
    return fitted(Towers((2, 1, 0), scale=0.5))


def dropped_towers_turned():
    return fitted(Towers((2, 1, 0), rate=0.3))


def dropped_towers_other_rate():
    return fitted(Towers((2, 1, 0), rate=0.6))


class Inception(nn.Module):
    def __init__(self, order, epsilon=1e-5):
        super().__init__()
        sizes = ((2, 1), (3, 3), (4, 5))
        self.parts = nn.ModuleList([nn.Conv2d(2, n, k, padding=k // 2) for n, k in sizes])
        self.order = order
        self.norm = nn.BatchNorm2d(9, eps=epsilon)
        self.conv, self.last = nn.Conv2d(9, 6, 3), nn.Linear(6, 3)

    def forward(self, x):
        parts = [part(x) for part in self.parts]
        x = F.relu(self.norm(torch.cat([parts[k] for k in self.order], dim=1)))
        return self.last(F.relu(self.conv(x)).mean((2, 3)))


def inception_turned():
    return fitted(Inception((2, 1, 0)), PICTURES.transpose(0, 3, 1, 2), KINDS)


def inception_turned_other_epsilon():
    return fitted(Inception((2, 1, 0), epsilon=1e-3), PICTURES.transpose(0, 3, 1, 2), KINDS)
