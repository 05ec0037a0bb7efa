"""Ports of `nets_keras.py`, faithful, and some with a fault."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def initialised(module):
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


class Fitted(L.LightningModule):
    """One network with a loss and an optimizer."""

    def __init__(self, net, loss, optimizer):
        super().__init__()
        self.net = initialised(net)
        self.measure, self.made = loss, optimizer

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.measure(self(x), y)

    def configure_optimizers(self):
        return self.made(self.parameters())


def sgd(rate, **settings):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **settings)


def blocks(momentum=0.1, inplace=True):
    layers = []
    sizes = [3, 6, 6, 8, 8]
    for number in range(4):
        layers += [
            nn.Conv2d(sizes[number], sizes[number + 1], 3, padding=1, bias=False),
            nn.BatchNorm2d(sizes[number + 1], momentum=momentum),
            nn.ReLU(inplace=inplace),
        ]
        if number % 2:
            layers += [nn.MaxPool2d(2), nn.Dropout(0.2)]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(8 * 4 * 4, 12), nn.ReLU(), nn.Linear(12, 5)
    )


def vgg():
    return Fitted(blocks(), nn.CrossEntropyLoss(), sgd(0.05))


def vgg_momentum():
    return Fitted(blocks(momentum=0.9), nn.CrossEntropyLoss(), sgd(0.05))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.skip = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm, self.out = nn.BatchNorm2d(4, 1e-3, 0.01), nn.Linear(4, 1)

    def forward(self, x):
        x = self.norm(self.conv(x).relu()) + self.skip(x)
        return self.out(x.mean(dim=(2, 3)))[:, 0]


def residual():
    return Fitted(Residual(), F.l1_loss, sgd(0.01))


def residual_squared():
    return Fitted(Residual(), F.mse_loss, sgd(0.01))


class Series(nn.Module):
    before = (1, 2)

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv1d(3, 6, 5, stride=2), nn.Linear(30, 4)

    def forward(self, x):
        x = torch.tanh(self.conv(F.pad(x.transpose(1, 2), self.before)))
        x = F.max_pool1d(F.dropout1d(x, 0.3, self.training), 2)
        return self.out(x.flatten(1))


def series_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 20, 3)).astype("float32")
    y = rng.integers(0, 4, 200)
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return DataLoader(rows, batch_size=20, shuffle=True)


def series():
    module = Fitted(Series(), F.cross_entropy, sgd(0.1, momentum=0.5))
    return {"module": module, "loader": series_rows()}


def series_shifted():
    net = type("Net", (Series,), {"before": (2, 1)})()
    module = Fitted(net, F.cross_entropy, sgd(0.1, momentum=0.5))
    return {"module": module, "loader": series_rows()}


def autoencoder():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 13 * 13, 10),
        nn.Tanh(), nn.Linear(10, 98), nn.ReLU(), nn.Unflatten(1, (2, 7, 7)),
        nn.ConvTranspose2d(2, 4, 2, stride=2), nn.ReLU(), nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 1, 3, padding=1), nn.Sigmoid(),
    )  # fmt: skip
    return Fitted(net, F.binary_cross_entropy, sgd(0.1))


class Crop(nn.Module):
    """Leaves the last numbers of each axis of space out."""

    def __init__(self, behind, axes=2):
        super().__init__()
        self.cut = (..., *[slice(None, -behind)] * axes)

    def forward(self, x):
        return x[self.cut]


def enlarged(crop=True):
    settings = {} if crop else {"padding": 1, "output_padding": 1}
    net = nn.Sequential(
        nn.Conv2d(1, 4, 2, stride=2), nn.ReLU(), nn.Conv2d(4, 6, 2, stride=2), nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 3, stride=2, **settings),
        Crop(1) if crop else nn.Identity(), nn.ReLU(),
        nn.ConvTranspose2d(4, 1, 3, stride=2, **settings),
        Crop(1) if crop else nn.Identity(), nn.Sigmoid(),
    )  # fmt: skip
    return Fitted(net, F.binary_cross_entropy, sgd(0.1))


def enlarged_elsewhere():
    return enlarged(crop=False)


def strongest():
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 10)
    )
    return Fitted(net, F.cross_entropy, sgd(0.1))


def causal(padding=(2, 4)):
    net = nn.Sequential(
        nn.Conv1d(3, 6, 3, padding=padding[0]), Crop(2, 1), nn.ReLU(),
        nn.Conv1d(6, 6, 3, padding=padding[1], dilation=2), Crop(4, 1), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 4),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 20, 3)).astype("float32").transpose(0, 2, 1)
    y = rng.integers(0, 4, 200)
    rows = TensorDataset(torch.from_numpy(x.copy()), torch.from_numpy(y))
    module = Fitted(net, F.cross_entropy, sgd(0.1))
    return {"module": module, "loader": DataLoader(rows, batch_size=20, shuffle=True)}


def causal_before():
    """The beginning is cut off where the end has to be."""
    given = causal()
    given["module"].net[1].cut = (..., slice(2, None))
    return given


def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 7)).astype("float32")
    return x, (x @ rng.normal(size=7) + rng.normal(size=160)).astype("float32")


def loader(target):
    x, y = table()
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(target(y)))
    return DataLoader(rows, batch_size=16, shuffle=True)


def regression(loss=F.mse_loss, **settings):
    net = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 1), nn.Flatten(0))
    return {"module": Fitted(net, loss, sgd(0.01, **settings)), "loader": loader(lambda y: y)}


def regression_decayed():
    return regression(weight_decay=0.1)


class Standardised(nn.Module):
    def __init__(self, x, unbiased=False):
        super().__init__()
        self.mean = torch.from_numpy(x.mean(0))
        self.deviation = torch.from_numpy(x.std(0, ddof=int(unbiased)))
        self.net = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 1), nn.Flatten(0))

    def forward(self, x):
        return self.net((x - self.mean) / self.deviation)


def standardised(unbiased=False):
    x, y = table()
    rows = TensorDataset(torch.from_numpy(3 * x + 1), torch.from_numpy(y))
    module = Fitted(Standardised(3 * x + 1, unbiased), F.mse_loss, sgd(0.01))
    return {"module": module, "loader": DataLoader(rows, batch_size=16, shuffle=True)}


def standardised_unbiased():
    return standardised(unbiased=True)


def regression_in_columns():
    net = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 1))
    return {"module": Fitted(net, F.mse_loss, sgd(0.01)), "loader": loader(lambda y: y[:, None])}


def regression_broadcast():
    net = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 1))
    return {"module": Fitted(net, F.mse_loss, sgd(0.01)), "loader": loader(lambda y: y)}


def regression_without_data():
    return {"module": regression()["module"]}


def huber(loss=None):
    net = nn.Sequential(nn.Linear(7, 9), nn.SELU(), nn.Linear(9, 1), nn.Flatten(0))
    return {
        "module": Fitted(net, loss or nn.HuberLoss(delta=0.5), sgd(0.01)),
        "loader": loader(lambda y: y),
    }


def huber_delta():
    return huber(nn.HuberLoss())


def binary_net(rate=0.5):
    return nn.Sequential(
        nn.Linear(7, 9), nn.ELU(), nn.BatchNorm1d(9, eps=1e-3, momentum=0.01), nn.Dropout(rate),
        nn.Linear(9, 1), nn.Flatten(0),
    )  # fmt: skip


def adadelta(parameters):
    return torch.optim.Adadelta(parameters, lr=0.5, rho=0.95, eps=1e-7)


def binary():
    return {
        "module": initialised(binary_net()),
        "loss": nn.BCEWithLogitsLoss(),
        "optimizer": adadelta,
        "loader": loader(lambda y: (y > 0).astype("float32")),
    }


def binary_defaults():
    return binary() | {"optimizer": lambda parameters: torch.optim.Adadelta(parameters, lr=0.5)}
