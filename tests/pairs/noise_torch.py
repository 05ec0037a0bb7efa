"""Ports of `noise_keras.py`, faithful, and with a fault each."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Fitted(L.LightningModule):
    def __init__(self, net, loss, rate=0.1):
        super().__init__()
        self.net, self.measure, self.rate = net, loss, rate
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.measure(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate)


class Noise(nn.Module):
    def __init__(self, deviation, always=False):
        super().__init__()
        self.deviation, self.always = deviation, always

    def forward(self, x):
        if self.training or self.always:
            return x + torch.randn_like(x) * self.deviation
        return x


class Multiplied(Noise):
    def forward(self, x):
        if not self.training:
            return x
        return x * torch.normal(1.0, self.deviation, x.shape)


class OneForARow(Noise):
    def forward(self, x):
        return x + self.deviation * torch.randn(len(x), 1) if self.training else x


class OfNumpy(Noise):
    def forward(self, x):
        drawn = np.random.normal(0, self.deviation, tuple(x.shape))  # noqa: NPY002
        return x + torch.as_tensor(drawn, dtype=x.dtype) if self.training else x


def rows():
    rng = np.random.default_rng(5)
    return rng.normal(size=(120, 12)).astype("float32"), rng.integers(0, 3, 120)


def loader(x, y):
    both = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return DataLoader(both, batch_size=16, shuffle=True)


def table(*noise):
    net = nn.Sequential(nn.Linear(12, 16), nn.SELU(), *noise, nn.Linear(16, 3))
    return {"module": Fitted(net, F.cross_entropy), "loader": loader(*rows())}


def gaussian():
    return table(Noise(0.2))


def gaussian_half():
    return table(Noise(0.1))


def gaussian_missing():
    return table()


def gaussian_always():
    return table(Noise(0.2, always=True))


def gaussian_for_rows():
    return table(OneForARow(0.2))


def gaussian_of_numpy():
    return table(OfNumpy(0.2))


def multiplied():
    return table(Multiplied((0.3 / 0.7) ** 0.5))


def multiplied_by_rate():
    return table(Multiplied(0.3))


def alpha():
    return table(nn.AlphaDropout(0.25))


def alpha_other():
    return table(nn.AlphaDropout(0.2))


def alpha_as_dropout():
    return table(nn.Dropout(0.25))


def denoising(*noise):
    x, _ = rows()
    net = nn.Sequential(*noise, nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 12))
    return {"module": Fitted(net, F.mse_loss), "loader": loader(x, x)}


def at_the_input():
    return denoising(Noise(0.5))


def at_the_input_missing():
    return denoising()


def maps(deviation=0.1, dropped=nn.Dropout2d):
    rng = np.random.default_rng(6)
    x = rng.random((60, 6, 6, 2)).astype("float32").transpose(0, 3, 1, 2)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), Noise(deviation), dropped(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip
    data = loader(np.ascontiguousarray(x), rng.integers(0, 3, 60))
    return {"module": Fitted(net, F.cross_entropy), "loader": data}


def maps_louder():
    return maps(0.3)


def maps_in_pixels():
    return maps(dropped=nn.Dropout)


class Sampled(nn.Module):
    def __init__(self, half=1.0):
        super().__init__()
        self.half = half
        self.encode, self.mean, self.deviation = nn.Linear(12, 8), nn.Linear(8, 2), nn.Linear(8, 2)
        self.decode, self.out = nn.Linear(2, 8), nn.Linear(8, 12)

    def forward(self, x):
        h = F.relu(self.encode(x))
        mean, deviation = self.mean(h), torch.exp(self.half * self.deviation(h))
        return self.out(F.relu(self.decode(mean + deviation * torch.randn_like(deviation))))


def sampled(half=1.0):
    x, _ = rows()
    return {"module": Fitted(Sampled(half), F.mse_loss, 0.05), "loader": loader(x, x)}


def sampled_half():
    return sampled(0.5)
