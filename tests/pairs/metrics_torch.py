"""Ports of `metrics_keras.py`: what they log is right in some, and wrong in others."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def rows():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(70, 8, 2)).astype("float32")
    return x, x[:, :, 0] @ rng.normal(size=8) + 0.3


def brought(module, y):
    data = TensorDataset(torch.from_numpy(rows()[0]), torch.from_numpy(y))
    return {"module": module, "loader": DataLoader(data, batch_size=20, shuffle=True)}


class Port(L.LightningModule):
    """The network; a subclass says what is logged, and of which loss."""

    units = 1

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4, eps=1e-3, momentum=0.1)
        self.out = nn.Linear(24, self.units)
        for layer in (self.conv, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = self.bn(self.conv(x.transpose(1, 2)).relu())
        return self.out(x.transpose(1, 2).flatten(1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.2)


class Classes(Port):
    units = 4

    def training_step(self, batch, batch_idx):
        x, y = batch
        z = self(x)
        loss = F.cross_entropy(z, y)
        self.report(loss, (z.argmax(1) == y).float().mean(), z, y)
        return loss

    def report(self, loss, accuracy, z, y):
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        self.log("train_acc", accuracy, on_step=False, on_epoch=True)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        z = self(x)
        self.log("val_loss", F.cross_entropy(z, y))
        self.log("val_acc", (z.argmax(1) == y).float().mean())


def target():
    return np.digitize(rows()[1], (-1.5, 0, 2))


def classes():
    return brought(Classes(), target())


class ByTorchmetrics(Classes):
    """As torchmetrics' documentation has it, with the loss of each step and a metric of its own."""

    def __init__(self):
        super().__init__()
        self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=4)
        self.top = torchmetrics.Accuracy(task="multiclass", num_classes=4, top_k=2)
        self.f1 = torchmetrics.F1Score(task="multiclass", num_classes=4)

    def report(self, loss, accuracy, z, y):
        for metric in (self.accuracy, self.top, self.f1):
            metric(z, y)
        self.log("train_loss", loss)
        self.log("accuracy", self.accuracy, on_step=True, on_epoch=True)
        self.log("acc", self.top, on_step=False, on_epoch=True)
        self.log("f1", self.f1, on_step=False, on_epoch=True)
        self.log("perplexity", loss.exp(), on_step=False, on_epoch=True)


def by_torchmetrics():
    return brought(ByTorchmetrics(), target())


class MeanOfBatches(Classes):
    def on_train_epoch_start(self):
        self.shares = []

    def report(self, loss, accuracy, z, y):
        self.shares.append(accuracy)

    def on_train_epoch_end(self):
        self.log("train_acc", torch.stack(self.shares).mean())


def mean_of_batches():
    return brought(MeanOfBatches(), target())


class LossOfBatches(Classes):
    def on_train_epoch_start(self):
        self.losses = []

    def report(self, loss, accuracy, z, y):
        self.losses.append(loss.detach())

    def on_train_epoch_end(self):
        self.log("train_loss", torch.stack(self.losses).mean())


def loss_of_batches():
    return brought(LossOfBatches(), target())


class NeverReset(Classes):
    def __init__(self):
        super().__init__()
        self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=4)

    def report(self, loss, accuracy, z, y):
        self.accuracy.update(z, y)

    def on_train_epoch_end(self):
        self.log("train_acc", self.accuracy.compute())


def never_reset():
    return brought(NeverReset(), target())


class NeverResetInValidation(Classes):
    def __init__(self):
        super().__init__()
        self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=4)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.accuracy.update(self(x), y)

    def on_validation_epoch_end(self):
        self.log("val_acc", self.accuracy.compute())


def never_reset_in_validation():
    return brought(NeverResetInValidation(), target())


class Macro(Classes):
    def __init__(self):
        super().__init__()
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(num_classes=4)

    def report(self, loss, accuracy, z, y):
        self.accuracy(z, y)
        self.log("train_acc", self.accuracy, on_step=False, on_epoch=True)


def macro():
    return brought(Macro(), target())


class Smoothed(Classes):
    """A number of its own under the name of an accuracy: nobody knows what it means."""

    def report(self, loss, accuracy, z, y):
        self.log("train_acc", 0.9 * accuracy + 0.05, on_step=False, on_epoch=True)


def smoothed():
    return brought(Smoothed(), target())


class Binary(Port):
    def training_step(self, batch, batch_idx):
        x, y = batch
        z = self(x)[:, 0]
        loss = F.binary_cross_entropy_with_logits(z, y)
        self.log("loss", loss, on_step=False, on_epoch=True)
        self.log("acc", (self.guess(z) == y).float().mean(), on_step=False, on_epoch=True)
        return loss

    def guess(self, z):
        return torch.sigmoid(z) > 0.5


def signs():
    return (rows()[1] > -4).astype("float32")


def binary():
    return brought(Binary(), signs())


class BinaryByTorchmetrics(Binary):
    def __init__(self):
        super().__init__()
        self.accuracy = torchmetrics.classification.BinaryAccuracy()
        self.auroc = torchmetrics.classification.BinaryAUROC()
        self.error = torchmetrics.MeanAbsoluteError()

    def training_step(self, batch, batch_idx):
        x, y = batch
        z = self(x)[:, 0]
        for metric in (self.accuracy, self.auroc, self.error):
            metric(torch.sigmoid(z), y if metric is self.error else y.int())
        self.log("train_acc", self.accuracy, on_step=False, on_epoch=True)
        self.log("train_auc", self.auroc, on_step=False, on_epoch=True)
        self.log("train_mae", self.error, on_step=False, on_epoch=True)
        return F.binary_cross_entropy_with_logits(z, y)


def binary_by_torchmetrics():
    return brought(BinaryByTorchmetrics(), signs())


def logits_against_half():
    return brought(type("Port", (Binary,), {"guess": lambda self, z: z > 0.5})(), signs())


class Regression(Port):
    def training_step(self, batch, batch_idx):
        x, y = batch
        z = self(x)[:, 0]
        loss = F.mse_loss(z, y)
        self.report(loss, F.l1_loss(z, y))
        return loss

    def report(self, loss, error):
        self.log_dict({"train_mse": loss, "train_mae": error}, on_step=False, on_epoch=True)


def numbers():
    return rows()[1].astype("float32")


def regression():
    return brought(Regression(), numbers())


class ErrorOfLastBatch(Regression):
    def report(self, loss, error):
        self.last = error.detach()

    def on_train_epoch_end(self):
        self.log("train_mae", self.last)


def error_of_last_batch():
    return brought(ErrorOfLastBatch(), numbers())
