"""Ports of `blocks_keras.py`, faithful, and some with a fault."""

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn


def initialised(layer):
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Mobile(L.LightningModule):
    """As MobileNets are in torch: squeeze and excitation by convolutions of single points."""

    def __init__(self, slope=0.0, leak=0.1, squeezed=F.relu):
        super().__init__()
        self.depthwise = initialised(nn.Conv2d(3, 3, 3, stride=2, groups=3, bias=False))
        self.pointwise = initialised(nn.Conv2d(3, 8, 1))
        self.norm = nn.BatchNorm2d(8, eps=1e-3, momentum=0.01)
        self.reduce, self.expand = (initialised(nn.Conv2d(*n, 1)) for n in ((8, 4), (4, 8)))
        self.slopes = nn.PReLU(8, init=slope)
        self.hidden, self.out = initialised(nn.Linear(8, 6)), initialised(nn.Linear(6, 3))
        self.leak, self.squeezed = leak, squeezed

    def forward(self, x):
        x = self.depthwise(F.pad(x, (0, 1, 0, 1)))
        x = self.norm(F.relu(self.pointwise(x)))
        s = self.squeezed(self.reduce(F.adaptive_avg_pool2d(x, 1)))
        x = self.slopes(x * torch.sigmoid(self.expand(s)))
        return self.out(F.leaky_relu(self.hidden(x.mean((2, 3))), self.leak))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def mobile_slopes():
    return Mobile(slope=0.25)


def mobile_leak():
    return Mobile(leak=0.01)


def mobile_squeezed():
    return Mobile(squeezed=F.silu)


class Words(L.LightningModule):
    """As in the paper's ports: one map of words by features, and windows over all features."""

    def __init__(self, widths=(2, 3, 4)):
        super().__init__()
        self.vectors = nn.Embedding(30, 5)
        nn.init.uniform_(self.vectors.weight, -0.05, 0.05)
        self.convolutions = nn.ModuleList(nn.Conv2d(1, 4, (width, 5)) for width in widths)
        for conv in self.convolutions:
            bound = (6 / (conv.kernel_size[0] * (5 + 4))) ** 0.5  # as of a Conv1D
            nn.init.uniform_(conv.weight, -bound, bound)
            nn.init.zeros_(conv.bias)
        self.scores = initialised(nn.Linear(12, 3))

    def forward(self, tokens):
        x = self.vectors(tokens).unsqueeze(1)
        found = [F.relu(conv(x)).squeeze(3) for conv in self.convolutions]
        return self.scores(torch.cat([F.max_pool1d(c, c.shape[2])[..., 0] for c in found], 1))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WordsByTanh(Words):
    def forward(self, tokens):
        x = self.vectors(tokens).unsqueeze(1)
        found = [torch.tanh(conv(x)).squeeze(3) for conv in self.convolutions]
        return self.scores(torch.cat([F.max_pool1d(c, c.shape[2])[..., 0] for c in found], 1))
