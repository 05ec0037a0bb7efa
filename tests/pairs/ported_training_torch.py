"""Ports of `ported_training_keras.py`, faithful, and some with a fault."""

import math

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset


def loader():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 6)).astype("float32")
    y = (x @ rng.normal(size=6) + rng.normal(size=120)).astype("float32")
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y[:, None]))
    return DataLoader(rows, batch_size=15, shuffle=True)


class Port(L.LightningModule):
    """`optimizer` makes an optimizer from a module, `schedule` a schedule from an optimizer."""

    def __init__(self, optimizer, schedule=None, interval="step"):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 1))
        for layer in (self.net[0], self.net[3]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.optimizer, self.schedule, self.interval = optimizer, schedule, interval

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.mse_loss(self(x), y)

    def configure_optimizers(self):
        optimizer = self.optimizer(self)
        if self.schedule is None:
            return optimizer
        scheduler = {"scheduler": self.schedule(optimizer), "interval": self.interval}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def trained(optimizer, schedule=None, interval="step", epochs=3, **trainer):
    return {
        "module": Port(optimizer, schedule, interval),
        "loader": loader(),
        "trainer": {"max_epochs": epochs, **trainer},
    }


def sgd(momentum=0.0, rate=0.05):
    return lambda module: torch.optim.SGD(module.parameters(), lr=rate, momentum=momentum)


def warmed(step):
    if step < 6:
        return step / 6
    return 0.5 * (1 + math.cos(math.pi * min((step - 6) / 18, 1)))


def warmup_cosine():
    return trained(sgd(), lambda o: lr_scheduler.LambdaLR(o, warmed))


def warmup_cosine_of_transformers(steps=18):
    """`decay_steps` are counted from the start here, and from the end of the warm-up in Keras."""

    def factor(step):
        return (
            step / 6
            if step < 6
            else 0.5 * (1 + math.cos(math.pi * min((step - 6) / (steps - 6), 1)))
        )

    return trained(sgd(), lambda o: lr_scheduler.LambdaLR(o, factor))


def warmup_cosine_by_epoch():
    return trained(sgd(), lambda o: lr_scheduler.LambdaLR(o, warmed), "epoch")


def one_cycle():
    """Another recipe, of which only the top is the same."""
    return trained(
        sgd(),
        lambda o: lr_scheduler.OneCycleLR(
            o, 0.05, total_steps=24, pct_start=0.25, cycle_momentum=False
        ),
    )


def cyclic(up=4):
    return trained(
        sgd(),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.05, step_size_up=up, cycle_momentum=False),
    )


def cyclic_up():
    return cyclic(up=6)


def polynomial(steps=24):
    def factor(step):
        return (0.001 + (0.05 - 0.001) * (1 - min(step, steps) / steps)) / 0.05

    return trained(sgd(), lambda o: lr_scheduler.LambdaLR(o, factor))


def polynomial_of_torch():
    """It ends at nothing, not at the last rate."""
    return trained(sgd(), lambda o: lr_scheduler.PolynomialLR(o, total_iters=24, power=1.0))


def by_epoch():
    return trained(sgd(), lambda o: lr_scheduler.ExponentialLR(o, math.exp(-0.2)), "epoch")


def by_epoch_each_step():
    return trained(sgd(), lambda o: lr_scheduler.ExponentialLR(o, math.exp(-0.2)))


class KerasAdamW(torch.optim.Optimizer):
    """With epsilon where Keras has it."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.01, "weight_decay": 0.0})
        self.count = 0

    @torch.no_grad()
    def step(self, closure=None):
        if closure is not None:
            with torch.enable_grad():
                closure()
        self.count += 1
        scale = (1 - 0.999**self.count) ** 0.5 / (1 - 0.9**self.count)
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                m = state.setdefault("m", torch.zeros_like(p))
                v = state.setdefault("v", torch.zeros_like(p))
                p.sub_(group["lr"] * group["weight_decay"] * p)
                m.add_((p.grad - m) * 0.1)
                v.add_((p.grad**2 - v) * 0.001)
                p.sub_(group["lr"] * scale * m / (v.sqrt() + 1e-8))


def groups(module):
    kernels = [p for p in module.parameters() if p.ndim > 1]
    rest = [p for p in module.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}]


def excluded():
    return trained(lambda module: KerasAdamW(groups(module)))


def excluded_by_torch():
    return trained(lambda module: torch.optim.AdamW(groups(module), lr=0.01))


def excluded_not():
    return trained(
        lambda module: torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=0.02)
    )


def accumulated(batches=4):
    return trained(sgd(), accumulate_grad_batches=batches)


def accumulated_less():
    return accumulated(2)


def accumulated_by_three():
    return accumulated(3)


class Other(Port):
    """The same with another network."""

    def __init__(self, optimizer, *layers):
        super().__init__(optimizer)
        self.net = nn.Sequential(nn.Linear(6, 8), *layers, nn.Linear(8, 1))
        for layer in (self.net[0], self.net[-1]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def accumulating(module):
    return {
        "module": module,
        "loader": loader(),
        "trainer": {"max_epochs": 3, "accumulate_grad_batches": 4},
    }


def dropped_out(rate=0.4):
    def adam(module):
        return torch.optim.Adam(module.parameters(), lr=0.05, eps=1e-12)

    return accumulating(Other(adam, nn.Tanh(), nn.Dropout(rate)))


def dropped_out_otherwise():
    return dropped_out(0.5)


def normalised():
    return accumulating(Other(sgd(), nn.BatchNorm1d(8), nn.Tanh()))


def averaged():
    return trained(sgd())


def clipped_values():
    return trained(sgd(), gradient_clip_val=0.05, gradient_clip_algorithm="value")


def clipped_values_by_norm():
    return trained(sgd(), gradient_clip_val=0.05)


def clipped_together():
    return trained(sgd(), gradient_clip_val=0.5)


def clipped_apart_together():
    return trained(sgd(), gradient_clip_val=0.1)


class Lion(torch.optim.Optimizer):
    """As its authors have it."""

    def __init__(self, params, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": 1e-3})
        self.betas = betas

    @torch.no_grad()
    def step(self, closure=None):
        if closure is not None:
            with torch.enable_grad():
                closure()
        first, second = self.betas
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.sub_(group["lr"] * torch.sign(m * first + p.grad * (1 - first)))
                m.mul_(second).add_(p.grad, alpha=1 - second)


def lion(betas=(0.9, 0.99)):
    return trained(lambda module: Lion(module.parameters(), betas))


def lion_betas():
    return lion((0.9, 0.9))


def centered():
    """torch's own, whose epsilon stands elsewhere."""
    return trained(
        lambda module: torch.optim.RMSprop(
            module.parameters(), lr=0.01, alpha=0.95, eps=1e-7, momentum=0.5, centered=True
        )
    )


def few():
    return trained(sgd(), epochs=1)


def few_more():
    return trained(sgd(), epochs=4)


class Frozen(L.LightningModule):
    """The first layers are not trained, and keep their statistics."""

    def __init__(self, evaluated=True, frozen=True):
        super().__init__()
        self.dense, self.norm = nn.Linear(6, 8), nn.BatchNorm1d(8, 1e-3, 0.01)
        self.head = nn.Linear(8, 1)
        for layer in (self.dense, self.head):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        if frozen:
            for parameter in (*self.dense.parameters(), *self.norm.parameters()):
                parameter.requires_grad = False
        self.evaluated = evaluated

    def on_train_epoch_start(self):
        if self.evaluated:
            self.norm.eval()

    def forward(self, x):
        return self.head(self.norm(F.relu(self.dense(x))))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.mse_loss(self(x), y)

    def configure_optimizers(self):
        rest = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.SGD(rest, lr=0.05)


def frozen_base(**changes):
    return {"module": Frozen(**changes), "loader": loader()}


def frozen_base_in_training():
    return frozen_base(evaluated=False)


def frozen_base_trained():
    return frozen_base(frozen=False)
