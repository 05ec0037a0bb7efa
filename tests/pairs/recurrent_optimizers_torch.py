"""Ports of `recurrent_optimizers_keras.py`."""

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
