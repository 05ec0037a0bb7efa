import lightning.pytorch as pl
import torch
import torchmetrics
from torch import nn
from torch.nn import functional


class Port(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.hidden1 = nn.Linear(784, 128)
        self.hidden2 = nn.Linear(128, 64)
        self.out = nn.Linear(64, 10)
        for layer in (self.hidden1, self.hidden2, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.train_acc = torchmetrics.Accuracy(task="multiclass", num_classes=10)
        self.val_metrics = torchmetrics.MetricCollection(
            {"val_acc": torchmetrics.Accuracy(task="multiclass", num_classes=10)}
        )
        self.val_loss = torchmetrics.MeanMetric()

    def on_validation_epoch_end(self):
        self.log_dict(self.val_metrics.compute())
        self.log("val_loss", self.val_loss.compute())
        self.val_metrics.reset()
        self.val_loss.reset()

    def forward(self, x):
        x = torch.sigmoid(self.hidden1(x))
        x = torch.sigmoid(self.hidden2(x))
        return self.out(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        loss = functional.cross_entropy(logits, y)
        self.train_acc(logits, y)
        self.log("train_acc", self.train_acc, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.val_metrics.update(logits, y)
        self.val_loss.update(functional.cross_entropy(logits, y), len(y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
