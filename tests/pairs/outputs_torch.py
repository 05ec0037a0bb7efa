"""Ports of `outputs_keras.py`, faithful, and some with a fault."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


def initialised(module):
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def people():
    """Rows of a table with a class, a number and a yes or no each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 7)).astype("float32")
    job = (x @ rng.normal(size=(7, 4))).argmax(axis=1)
    age = (x @ rng.normal(size=7) + rng.normal(size=160)).astype("float32")
    owner = (x @ rng.normal(size=7) > 0).astype("float32")
    return x, job, age, owner


class People(L.LightningModule):
    """Three outputs in a dictionary, of batches (x, job, age, owner)."""

    def __init__(self, age=0.3, owner=0.5, age_loss=F.mse_loss, reduction="mean"):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Dropout(0.2))
        self.job, self.age, self.owner = nn.Linear(9, 4), nn.Linear(9, 1), nn.Linear(9, 1)
        initialised(self)
        self.weights = age, owner
        self.age_loss, self.reduction = age_loss, reduction

    def hidden(self, h):
        return h

    def forward(self, x):
        h = self.trunk(x)
        return {
            "job": self.job(h),
            "age": self.age(self.hidden(h)).squeeze(-1),
            "owner": self.owner(h),
        }

    def training_step(self, batch, batch_idx):
        x, job, age, owner = batch
        out = self(x)
        loss = F.cross_entropy(out["job"], job, reduction=self.reduction)
        loss = loss + self.weights[0] * self.age_loss(out["age"], age)
        of_owner = F.binary_cross_entropy_with_logits(out["owner"], owner)
        loss = loss + self.weights[1] * of_owner
        right = (out["job"].argmax(1) == job).float().mean()
        numbers = {"loss": loss, "job_acc": right, "owner_loss": of_owner}
        self.log_dict(numbers, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def loader(order=(0, 1, 2, 3)):
    x, job, age, owner = map(torch.from_numpy, people())
    parts = x, job, age, owner[:, None]
    rows = TensorDataset(*(parts[k] for k in order))
    return DataLoader(rows, batch_size=16, shuffle=True)


def by_name(**settings):
    return {"module": People(**settings), "loader": loader()}


class OtherOrder(People):
    def training_step(self, batch, batch_idx):
        x, owner, age, job = batch
        return super().training_step((x, job, age, owner), batch_idx)


def in_other_order():
    return {"module": OtherOrder(), "loader": loader((0, 3, 2, 1))}


class Named(Dataset):
    """Targets in a dictionary."""

    def __len__(self):
        return len(people()[0])

    def __getitem__(self, index):
        x, job, age, owner = people()
        return x[index], {"work": job[index], "years": age[index], "owner": owner[index, None]}


class OfNamed(People):
    def training_step(self, batch, batch_idx):
        x, y = batch
        return super().training_step((x, y["work"], y["years"], y["owner"]), batch_idx)


def in_a_dictionary():
    return {"module": OfNamed(), "loader": DataLoader(Named(), batch_size=16, shuffle=True)}


def weight_left_out():
    return by_name(age=1.0)


def weights_exchanged():
    return by_name(age=0.5, owner=0.3)


def loss_left_out():
    return by_name(owner=0.0)


def other_loss():
    return by_name(age_loss=F.l1_loss)


def summed():
    return by_name(reduction="sum")


class Detached(People):
    def hidden(self, h):
        return h.detach()


def detached():
    return {"module": Detached(), "loader": loader()}


class NotAsked(People):
    def training_step(self, batch, batch_idx):
        x, job, _, owner = batch
        out = self(x)
        loss = F.cross_entropy(out["job"], job)
        return loss + self.weights[1] * F.binary_cross_entropy_with_logits(out["owner"], owner)


def not_asked():
    return {"module": NotAsked(), "loader": loader()}


class Frozen(People):
    def configure_optimizers(self):
        trained = [*self.trunk.parameters(), *self.job.parameters(), *self.age.parameters()]
        return torch.optim.SGD(trained, lr=0.05)


def frozen():
    return {"module": Frozen(), "loader": loader()}


class Numbers(L.LightningModule):
    """Two outputs of one shape, in a tuple."""

    def __init__(self, names=("age", "height"), weight=0.3):
        super().__init__()
        self.trunk = nn.Linear(7, 9)
        self.names, self.weight = names, weight
        for name in names:
            self.add_module(f"head_{name}", nn.Linear(9, 1))
        initialised(self)

    def forward(self, x):
        h = torch.tanh(self.trunk(x))
        return tuple(getattr(self, f"head_{name}")(h).squeeze(1) for name in self.names)

    def training_step(self, batch, batch_idx):
        x, targets = batch
        outputs = self(x)
        weights = {self.names[0]: 1.0, self.names[1]: self.weight}
        return sum(
            weights[name] * F.mse_loss(output, target)
            for name, output, target in zip(self.names, outputs, targets, strict=True)
        )

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


class TwoNumbers(Dataset):
    def __init__(self, order=(0, 1)):
        x, _, age, _ = people()
        self.x, both = x, (age, age * 0.5 + x[:, 0])
        self.y = [both[k].astype("float32") for k in order]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], tuple(y[index] for y in self.y)


def two_numbers(order=(0, 1), **settings):
    rows = DataLoader(TwoNumbers(order), batch_size=16, shuffle=True)
    return {"module": Numbers(**settings), "loader": rows}


def targets_exchanged():
    return two_numbers((1, 0))


def alike():
    return two_numbers(weight=1.0)


def alike_exchanged():
    """Its outputs' names say which is which."""
    return two_numbers((1, 0), weight=1.0)


def alike_in_other_order():
    return two_numbers((1, 0), names=("height", "age"), weight=1.0)


def alike_without_names():
    return two_numbers((1, 0), names=("x", "y"), weight=1.0)


class Nameless(L.LightningModule):
    def __init__(self, weight=2.0, delta=0.5):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.kind, self.place = nn.Linear(4, 5), nn.Linear(4, 2)
        initialised(self)
        self.weight, self.delta = weight, delta

    def forward(self, x):
        h = self.body(x)
        return self.kind(h), self.place(h)

    def training_step(self, batch, batch_idx):
        x, (kind, place) = batch
        scores, where = self(x)
        of_place = F.huber_loss(where, place, delta=self.delta)
        return F.cross_entropy(scores, kind) + self.weight * of_place

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def nameless():
    return Nameless()


def nameless_weight():
    return Nameless(weight=1.0)


def nameless_delta():
    return Nameless(delta=1.0)
