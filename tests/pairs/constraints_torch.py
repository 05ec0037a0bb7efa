"""Ports of `constraints_keras.py`, which constrain their weights after each step by hand."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def norms_of(w, dim):
    return w.square().sum(dim, keepdim=True).sqrt()


def max_norm_of(limit, dim=1):
    """As Keras has it; its axis 0 are the inputs, which torch has second."""

    def constrain(layer):
        norms = norms_of(layer.weight, dim)
        layer.weight.mul_(norms.clamp(max=limit) / (1e-7 + norms))

    return constrain


def renorm_of(limit):
    def constrain(layer):
        layer.weight.copy_(torch.renorm(layer.weight, p=2, dim=0, maxnorm=limit))

    return constrain


def non_neg_of(layer):
    layer.weight.clamp_(min=0)
    layer.bias.clamp_(min=0)


def weights_alone(layer):
    layer.weight.clamp_(min=0)


def unit_norm_of(layer):
    layer.weight.div_(1e-7 + norms_of(layer.weight, 1))


def min_max_of(rate):
    def constrain(layer):
        norms = norms_of(layer.weight, 1)
        wanted = rate * norms.clamp(0.5, 0.9) + (1 - rate) * norms
        layer.weight.mul_(wanted / (1e-7 + norms))

    return constrain


def rounded(layer):
    layer.weight.mul_(20).round_().div_(20)


class Port(L.LightningModule):
    def __init__(self, net, constrain=None, optimizer=None):
        super().__init__()
        self.net, self.constrain = net, constrain
        self.made = optimizer or (lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def on_train_batch_end(self, *_):
        if self.constrain is not None:
            with torch.no_grad():
                self.constrain(self.net[0])

    def configure_optimizers(self):
        return self.made(self.parameters())


class InTheStep(Port):
    """The constraint stands behind the optimizer's step, and not in a hook."""

    def optimizer_step(self, *args, **options):
        super().optimizer_step(*args, **options)
        Port.on_train_batch_end(self)

    def on_train_batch_end(self, *_):
        pass


def rows():
    rng = np.random.default_rng(8)
    return rng.normal(size=(120, 9)).astype("float32"), rng.integers(0, 3, 120)


def loader(x, y):
    both = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return DataLoader(both, batch_size=16, shuffle=True)


def table(constrain=None, optimizer=None, kind=Port):
    net = nn.Sequential(nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 3))
    return {"module": kind(net, constrain, optimizer), "loader": loader(*rows())}


def none():
    return table()


def max_norm():
    return table(max_norm_of(0.8))


def max_norm_in_the_step():
    return table(max_norm_of(0.8), kind=InTheStep)


def max_norm_larger():
    return table(max_norm_of(1.0))


def max_norm_by_outputs():
    return table(max_norm_of(0.8, dim=0))


def renorm():
    return table(renorm_of(0.8))


def with_momentum(rate=0.05):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=0.9)


def max_norm_and_momentum():
    return table(max_norm_of(0.8), with_momentum())


def none_and_faster():
    return table(None, with_momentum(0.1))


def max_norm_and_faster():
    return table(max_norm_of(0.8), with_momentum(0.1))


def non_neg():
    return table(non_neg_of)


def non_neg_weights():
    return table(weights_alone)


def unit_norm():
    return table(unit_norm_of)


def min_max():
    return table(min_max_of(0.5))


def min_max_at_once():
    return table(min_max_of(1.0))


def own():
    return table(rounded)


def filters(dim=(1, 2, 3)):
    rng = np.random.default_rng(9)
    x = np.ascontiguousarray(rng.random((60, 6, 6, 2)).astype("float32").transpose(0, 3, 1, 2))
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    port = Port(net, max_norm_of(0.7, dim))
    return {"module": port, "loader": loader(x, rng.integers(0, 3, 60))}


def filters_by_maps():
    return filters((2, 3))
