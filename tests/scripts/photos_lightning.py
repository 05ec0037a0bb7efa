"""The same with Lightning."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_sets():
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (480, 32, 32, 3)).astype("uint8")
    labels = rng.randint(0, 10, (480, 1))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
    y = torch.from_numpy(labels).squeeze(1).long()
    return TensorDataset(x[:400], y[:400]), TensorDataset(x[400:], y[400:])


class PhotoNet(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8, eps=1e-3, momentum=0.01)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2)
        self.fc1 = nn.Linear(16, 24)
        self.fc2 = nn.Linear(24, 10)
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv1(x))), 2)
        x = F.relu(self.conv2(x))
        x = x.mean(dim=(2, 3))
        return self.fc2(F.relu(self.fc1(x)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", F.cross_entropy(self(x), y), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9, nesterov=True)


train_set, val_set = make_sets()
trainer = L.Trainer(max_epochs=3, accelerator="cpu", enable_checkpointing=False, logger=False)
trainer.fit(
    PhotoNet(),
    DataLoader(train_set, batch_size=40, shuffle=True),
    DataLoader(val_set, batch_size=40),
)
torch.save(trainer.model.state_dict(), "photos.pt")
