"""Ports of `sequence_optimizers_keras.py`, most of them with a fault."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Series(L.LightningModule):
    """A recurrent layer, of which the last step is classified; with weights as Keras draws them."""

    def __init__(self, layer, optimizer, *, two_biases=False):
        super().__init__()
        self.layer, self.out, self.optimizer = layer, nn.Linear(5, 4), optimizer
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        nn.init.xavier_uniform_(layer.weight_ih_l0)
        nn.init.orthogonal_(layer.weight_hh_l0)
        nn.init.zeros_(layer.bias_ih_l0)
        nn.init.zeros_(layer.bias_hh_l0)
        if isinstance(layer, nn.LSTM):
            nn.init.ones_(layer.bias_ih_l0[5:10])
            layer.bias_hh_l0.requires_grad_(two_biases)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def forward(self, x):
        return self.out(self.layer(x)[0][:, -1])

    def configure_optimizers(self):
        return self.optimizer(self.parameters())


def loader():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 10, 3)).astype("float32")
    y = rng.integers(0, 4, len(x))
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return DataLoader(rows, batch_size=30, shuffle=True)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3, eps=1e-7)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def lstm():
    return {"module": Series(nn.LSTM(3, 5, batch_first=True), adam), "loader": loader()}


def two_biases():
    module = Series(nn.LSTM(3, 5, batch_first=True), adam, two_biases=True)
    return {"module": module, "loader": loader()}


def gru(optimizer=lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3, alpha=0.9, eps=1e-7)):
    return {"module": Series(nn.GRU(3, 5, batch_first=True), optimizer), "loader": loader()}


def clipped_gru():
    return {**gru(sgd), "trainer": {"gradient_clip_val": 0.05}}


def unclipped_gru():
    return gru(sgd)


def decayed_lstm():
    """Of all tensors."""
    net = nn.LSTM(3, 5, batch_first=True)
    module = Series(net, lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01), two_biases=True)
    return {"module": module, "loader": loader()}


class Words(Series):
    """Of embedded words, at a falling rate."""

    def __init__(self, *, falling):
        super().__init__(nn.LSTM(3, 5, batch_first=True), None, two_biases=True)
        self.words, self.falling = nn.Embedding(40, 3), falling
        nn.init.uniform_(self.words.weight, -0.05, 0.05)

    def forward(self, x):
        return super().forward(self.words(x))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01, eps=1e-7)
        if not self.falling:
            return optimizer
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def words(*, falling=True):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 40, (150, 12)), rng.integers(0, 4, 150)
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return {
        "module": Words(falling=falling),
        "trainer": {"max_epochs": 3},
        "loader": DataLoader(rows, batch_size=30, shuffle=True),
    }


def words_at_one_rate():
    return words(falling=False)
