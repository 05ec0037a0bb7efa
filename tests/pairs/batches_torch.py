"""Ports of `batches_keras.py` whose loaders give dictionaries; some have a fault."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


def images():
    rng = np.random.default_rng(3)
    return rng.random((120, 6, 6, 2)).astype("float32"), rng.integers(0, 4, 120)


class Images(Dataset):
    """Samples with more in them than a training step reads."""

    scale, offset, shift = 1.0, 0.0, 0

    def __init__(self):
        self.x, self.y = images()

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        image = self.x[index].transpose(2, 0, 1) * self.scale + self.offset
        label = (int(self.y[index]) + self.shift) % 4
        return {"idx": index, "image": image, "label": label, "name": f"image {index}"}


def net():
    made = nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)
    )
    for layer in (made[0], made[4]):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return made


class Named(L.LightningModule):
    smoothing = 0.0

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        logits = self(batch["image"])
        return F.cross_entropy(logits, batch["label"], label_smoothing=self.smoothing)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Smoothed(Named):
    smoothing = 0.1


class Whole(Named):
    """Its `forward` is given the batch."""

    def forward(self, batch):
        return self.net(batch["image"])

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch), batch["label"])


def loader(kind=Images):
    return DataLoader(kind(), batch_size=16, shuffle=True)


def named():
    return {"module": Named(), "loader": loader()}


def named_whole():
    return {"module": Whole(), "loader": loader()}


def named_smoothed():
    return {"module": Smoothed(), "loader": loader()}


def named_shifted():
    return {"module": Named(), "loader": loader(type("Shifted", (Images,), {"shift": 1}))}


def named_scaled():
    scaled = type("Scaled", (Images,), {"scale": 2.0, "offset": -1.0})
    return {"module": Named(), "loader": loader(scaled)}


def named_plain():
    return {
        "module": net(),
        "loss": nn.CrossEntropyLoss(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        "loader": DataLoader(ImagesAlone(), batch_size=16, shuffle=True),
    }


class ImagesAlone(Images):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return {"x": sample["image"], "y": sample["label"]}


class Nameless(Images):
    """Nobody can tell which of the two is the target."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return {"first": sample["image"], "second": sample["label"]}


class OfNameless(Named):
    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch["first"]), batch["second"])


def nameless():
    return {"module": OfNameless(), "loader": loader(Nameless)}


class Two(Dataset):
    swapped = False

    def __init__(self):
        rng = np.random.default_rng(4)
        self.wide, self.deep = (rng.normal(size=(120, n)).astype("float32") for n in (7, 3))

    def __len__(self):
        return len(self.wide)

    def __getitem__(self, index):
        wide = self.wide[index]
        return {"wide": wide, "deep": self.deep[index], "target": wide[:1]}


class WideAndDeep(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(3, 6), nn.Linear(13, 1)
        for layer in (self.hidden, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, wide, deep):
        return self.out(torch.cat([torch.tanh(self.hidden(deep)), wide], dim=1))


class OfTwo(L.LightningModule):
    reduction = "mean"

    def __init__(self):
        super().__init__()
        self.net = WideAndDeep()

    def forward(self, wide, deep):
        return self.net(wide, deep)

    def training_step(self, batch, batch_idx):
        y = batch.pop("target")
        return F.mse_loss(self(**batch), y, reduction=self.reduction)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def two():
    return {"module": OfTwo(), "loader": loader(Two)}


def two_plain():
    return {
        "module": WideAndDeep(),
        "loss": F.mse_loss,
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.05),
        "loader": loader(Two),
    }


def two_summed():
    return {"module": type("Summed", (OfTwo,), {"reduction": "sum"})(), "loader": loader(Two)}
