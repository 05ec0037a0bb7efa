"""Ports of `optimizers_keras.py`, faithful, and with a fault."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


def loader():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 7)).astype("float32")
    y = (x @ rng.normal(size=7) + rng.normal(size=160)).astype("float32")
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return DataLoader(rows, batch_size=16, shuffle=True)


class Port(L.LightningModule):
    def __init__(self, optimizer):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 1), nn.Flatten(0))
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.made = optimizer

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.mse_loss(self(x), y)

    def configure_optimizers(self):
        return self.made(self.parameters())


def ported(kind, trainer=None, **settings):
    module = Port(lambda parameters: kind(parameters, **settings))
    return {"module": module, "loader": loader(), "trainer": {"max_epochs": 3, **(trainer or {})}}


class KerasAdam(optim.Adam):
    """Epsilon where Keras has it."""

    count = 0

    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            group["eps"] = 1e-7 / (1 - 0.999**self.count) ** 0.5
        return super().step(closure)


class KerasRMSprop(optim.Optimizer):
    """Epsilon within the root."""

    def __init__(self, parameters, lr=1e-3, rho=0.9, eps=1e-7):
        super().__init__(parameters, {"lr": lr, "rho": rho, "eps": eps})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for w in group["params"]:
                square = self.state[w].setdefault("square", torch.zeros_like(w))
                square.mul_(group["rho"]).addcmul_(w.grad, w.grad, value=1 - group["rho"])
                w.sub_(group["lr"] * w.grad / (square + group["eps"]).sqrt())
        return loss


class KerasAdamax(optim.Optimizer):
    """Epsilon behind the maximum."""

    def __init__(self, parameters, lr=1e-3):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for w in group["params"]:
                kept = self.state[w]
                kept["step"] = kept.get("step", 0) + 1
                mean = kept.setdefault("mean", torch.zeros_like(w)).lerp_(w.grad, 0.1)
                largest = kept.setdefault("largest", torch.zeros_like(w)).mul_(0.999)
                torch.maximum(largest, w.grad.abs(), out=largest)
                w.sub_(group["lr"] / (1 - 0.9 ** kept["step"]) * mean / (largest + 1e-7))
        return loss


# --- Faithful -------------------------------------------------------------------------------------


class Decoupled(optim.SGD):
    """SGD that subtracts its decay from the weights, as Keras does."""

    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for w in group["params"]:
                    w.mul_(1 - group["lr"] * 1e-2)
        super().step()
        return loss


def sgd():
    return ported(Decoupled, lr=0.01, momentum=0.9)


def adam():
    return ported(KerasAdam, lr=0.002)


def amsgrad():
    return ported(KerasAdam, lr=0.002, amsgrad=True)


def adamw():
    return ported(KerasAdam, lr=0.002, weight_decay=0.004, decoupled_weight_decay=True)


def rmsprop():
    return ported(KerasRMSprop)


def adagrad():
    return ported(optim.Adagrad, lr=1e-3, initial_accumulator_value=0.1 + 1e-7, eps=0)


def adagrad_by_arguments():
    return ported(optim.Adagrad, lr=1e-3, initial_accumulator_value=0.1, eps=1e-7)


def adadelta():
    return ported(optim.Adadelta, lr=0.5, rho=0.95, eps=1e-7)


def adamax():
    return ported(KerasAdamax)


def nadam():
    return ported(optim.NAdam, lr=1e-3, momentum_decay=1.0, eps=1e-7)


def clipped():
    return ported(optim.SGD, {"gradient_clip_val": 0.5}, lr=0.01)


def clipped_values():
    return ported(
        optim.SGD, {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}, lr=0.01
    )


# --- With a fault ---------------------------------------------------------------------------------


def coupled_decay():
    return ported(optim.SGD, lr=0.01, momentum=0.9, weight_decay=1e-2)


def no_decay():
    return ported(optim.SGD, lr=0.01, momentum=0.9)


def adam_for_sgd():
    return ported(optim.Adam, lr=0.01)


def sgd_for_adam():
    return ported(optim.SGD, lr=0.01, momentum=0.9)


def amsgrad_missing():
    return ported(KerasAdam, lr=0.002)


def amsgrad_of_torch():
    return ported(optim.Adam, lr=0.002, amsgrad=True)


def adamw_of_torch():
    return ported(optim.AdamW, lr=0.002)


def adamw_rate():
    return ported(optim.AdamW, lr=0.002 * 1.00001, weight_decay=0.004, eps=1e-7)


def rmsprop_of_torch():
    return ported(optim.RMSprop, lr=1e-3, alpha=0.9, eps=1e-7)


def rmsprop_by_default():
    return ported(optim.RMSprop)


def rmsprop_rate():
    return ported(optim.RMSprop, lr=1e-3 * 1.00001, alpha=0.9, eps=1e-7)


def centered_of_torch():
    return ported(optim.RMSprop, lr=0.002, alpha=0.9, eps=1e-7, momentum=0.9, centered=True)


def not_centered():
    return ported(optim.RMSprop, lr=0.002, alpha=0.9, eps=1e-7, momentum=0.9)


def adagrad_by_default():
    return ported(optim.Adagrad)


def adagrad_rate():
    return ported(optim.Adagrad, lr=1e-3 * 1.00001, initial_accumulator_value=0.1, eps=1e-7)


def adadelta_by_default():
    return ported(optim.Adadelta)


def adadelta_rate():
    return ported(optim.Adadelta, lr=0.5 * 1.00001, rho=0.95, eps=1e-7)


def adamax_of_torch():
    return ported(optim.Adamax, lr=1e-3, eps=1e-7)


def adamax_wide():
    return ported(optim.Adamax, lr=1e-3, eps=1e-3)


def adamax_rate():
    return ported(optim.Adamax, lr=1e-3 * 1.00001, eps=1e-7)


def nadam_by_default():
    return ported(optim.NAdam)


def nadam_rate():
    return ported(optim.NAdam, lr=1e-3 * 1.00001, momentum_decay=1.0, eps=1e-7)


class ByHand(Port):
    """Clips in a hook of its own, as a training loop does."""

    limit = 0.5

    def on_before_optimizer_step(self, optimizer):
        nn.utils.clip_grad_norm_(self.parameters(), self.limit)


def clipped_by_hand(limit=0.5):
    module = ByHand(lambda parameters: optim.SGD(parameters, lr=0.01))
    module.limit = limit
    return {"module": module, "loader": loader(), "trainer": {"max_epochs": 3}}


def clipped_by_hand_to_another():
    return clipped_by_hand(0.3)


def accumulated():
    return ported(optim.SGD, {"accumulate_grad_batches": 4}, lr=0.01)


def not_clipped():
    return ported(optim.SGD, lr=0.01)


def clipped_to_another():
    return ported(optim.SGD, {"gradient_clip_val": 0.7}, lr=0.01)


def kernels_decay():
    """All tensors decay."""
    return ported(KerasAdam, lr=0.002, weight_decay=0.004, decoupled_weight_decay=True)


# --- Schedules ------------------------------------------------------------------------------------

schedules = optim.lr_scheduler


class Scheduled(Port):
    def __init__(self, optimizer, schedule, **how):
        super().__init__(optimizer)
        self.schedule, self.how = schedule, how

    def configure_optimizers(self):
        optimizer = self.made(self.parameters())
        scheduler = self.schedule(optimizer, self.trainer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **self.how}}


def scheduled(schedule, interval="step", rate=0.05, trainer=None, **settings):
    how = {"interval": interval, **settings}
    made = lambda parameters: optim.SGD(parameters, lr=rate)  # noqa: E731
    module = Scheduled(made, lambda optimizer, trainer: schedule(optimizer), **how)
    return {"module": module, "loader": loader(), "trainer": {"max_epochs": 3, **(trainer or {})}}


def halving(optimizer):
    return schedules.ExponentialLR(optimizer, 0.5 ** (1 / 20))


def exponential():
    return scheduled(halving)


def staircase():
    return scheduled(lambda optimizer: schedules.StepLR(optimizer, 4, 0.5))


def piecewise():
    return scheduled(lambda optimizer: schedules.MultiStepLR(optimizer, [16]))


def cosine():
    """Its end is asked of the trainer."""

    def schedule(optimizer, trainer):
        steps = trainer.estimated_stepping_batches
        return schedules.CosineAnnealingLR(optimizer, steps, eta_min=0.005)

    made = lambda parameters: optim.SGD(parameters, lr=0.05)  # noqa: E731
    module = Scheduled(made, schedule, interval="step")
    return {"module": module, "loader": loader(), "trainer": {"max_epochs": 3}}


def polynomial():
    def share(step):
        return (1e-4 + (0.05 - 1e-4) * (1 - min(step, 25) / 25) ** 2) / 0.05

    return scheduled(lambda optimizer: schedules.LambdaLR(optimizer, share))


def inverse_time():
    return scheduled(
        lambda optimizer: schedules.LambdaLR(optimizer, lambda step: 1 / (1 + 0.5 * step / 10))
    )


def own_schedule():
    return scheduled(
        lambda optimizer: schedules.LambdaLR(optimizer, lambda step: 1 / (1 + 0.05 * step))
    )


def by_epoch():
    return scheduled(lambda optimizer: schedules.ExponentialLR(optimizer, 0.5), "epoch")


def plateau(patience, mode="abs"):
    def schedule(optimizer):
        return schedules.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=patience, threshold_mode=mode
        )

    return schedule


def trained(callback):
    return {"max_epochs": 12, "callbacks": [callback]}


def watched():
    stopping = L.pytorch.callbacks.EarlyStopping("val_loss", patience=3)
    return scheduled(plateau(4), "epoch", 0.01, trained(stopping), monitor="val_loss")


def watched_longer():
    """Keras's patience."""
    stopping = L.pytorch.callbacks.EarlyStopping("val_loss", patience=3)
    return scheduled(plateau(5), "epoch", 0.01, trained(stopping), monitor="val_loss")


def stopped_later():
    stopping = L.pytorch.callbacks.EarlyStopping("val_loss", patience=5)
    return scheduled(plateau(4), "epoch", 0.01, trained(stopping), monitor="val_loss")


def exponential_by_epoch():
    """As Lightning has it by default."""
    return scheduled(halving, "epoch")


def exponential_momentum():
    made = lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.9)  # noqa: E731
    module = Scheduled(made, lambda optimizer, trainer: halving(optimizer), interval="step")
    return {"module": module, "loader": loader(), "trainer": {"max_epochs": 3}}


def exponential_faster():
    return scheduled(lambda optimizer: schedules.ExponentialLR(optimizer, 0.5 ** (1 / 19)))


def exponential_rate():
    return scheduled(halving, rate=0.05 * 1.00001)


def constant():
    return ported(optim.SGD, lr=0.05)


def undeclared():
    return scheduled(lambda optimizer: schedules.StepLR(optimizer, 1, 0.9), "epoch", 0.01)


def piecewise_early():
    return scheduled(lambda optimizer: schedules.MultiStepLR(optimizer, [15]))


def cosine_to_a_rate():
    """Keras's share as a rate."""
    return scheduled(lambda optimizer: schedules.CosineAnnealingLR(optimizer, 30, eta_min=0.1))


def by_step():
    return scheduled(lambda optimizer: schedules.ExponentialLR(optimizer, 0.5))
