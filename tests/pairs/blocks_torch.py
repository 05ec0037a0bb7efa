"""Ports of `blocks_keras.py`, faithful, and some with a fault."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


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


class Penalised(L.LightningModule):
    """The penalty as a decay of the penalised tensors."""

    def __init__(self, decay=0.02, *, everywhere=False):
        super().__init__()
        sizes = ((7, 9), (9, 5), (5, 2))
        self.layers = nn.ModuleList(initialised(nn.Linear(*size)) for size in sizes)
        self.decay, self.everywhere = decay, everywhere

    def forward(self, x):
        first, second, last = self.layers
        return last(F.softplus(second(torch.tanh(first(x)))))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.binary_cross_entropy_with_logits(self(x), y)

    def configure_optimizers(self):
        kernels = [layer.weight for layer in self.layers[:2]]
        rest = [p for p in self.parameters() if all(p is not kernel for kernel in kernels)]
        groups = [
            {"params": kernels},
            {"params": rest, "weight_decay": self.decay if self.everywhere else 0.0},
        ]
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=self.decay)


def penalised_by_half():
    return Penalised(0.01)


def penalised_everywhere():
    return Penalised(everywhere=True)


class Twins(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.conv = initialised(nn.Conv2d(1, 4, 3))
        self.dense, self.out = initialised(nn.Linear(144, 5)), initialised(nn.Linear(5, 1))

    def tower(self, image):
        return self.dense(F.relu(self.conv(image)).flatten(1))

    def forward(self, a, b):
        return self.out(self.tower(a) - self.tower(b))

    def training_step(self, batch, batch_idx):
        (a, b), y = batch
        return F.binary_cross_entropy_with_logits(self(a, b).view(-1), y.view(-1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Painted(L.LightningModule):
    """Each gradient is clipped by itself, as Keras's `clipnorm` does."""

    def __init__(self, mode="nearest", corners=None):
        super().__init__()
        self.conv, self.out = initialised(nn.Conv2d(2, 4, 3)), initialised(nn.Conv2d(4, 1, 1))
        self.up = nn.Upsample(scale_factor=2, mode=mode, align_corners=corners)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(F.pad(x, (1, 1, 1, 1)))), 2)
        return self.out(self.up(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.binary_cross_entropy_with_logits(self(x), y)

    def on_before_optimizer_step(self, optimizer):
        for parameter in self.parameters():
            nn.utils.clip_grad_norm_([parameter], 0.05)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def painted_bilinear():
    return Painted("bilinear", corners=False)


def painted_corners():
    return Painted("bilinear", corners=True)


class KerasRMSprop(torch.optim.Optimizer):
    """With epsilon within the root."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        if closure is not None:  # Lightning computes the gradients in it
            with torch.enable_grad():
                closure()
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                square = self.state[p].setdefault("square", torch.zeros_like(p))
                square.mul_(0.9).addcmul_(p.grad, p.grad, value=0.1)
                p.sub_(group["lr"] * p.grad / (square + 1e-7).sqrt())


def standardised(deviation=np.std):
    """The data are standardised, and not in the model."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6)) * [1, 10, 0.1, 5, 2, 30] + [0, 5, 1, -3, 2, 100]
    x, y = x.astype("float32"), rng.integers(0, 3, 80)
    x = (x - x.mean(axis=0)) / deviation(x, axis=0)
    net = nn.Sequential(initialised(nn.Linear(6, 5)), nn.Tanh(), initialised(nn.Linear(5, 3)))
    return {
        "module": net,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": lambda parameters: KerasRMSprop(parameters, lr=0.01),
        "loader": DataLoader(
            TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=16, shuffle=True
        ),
    }


def ranged():
    """Divided by the range of each feature instead of its deviation."""
    return standardised(np.ptp)
