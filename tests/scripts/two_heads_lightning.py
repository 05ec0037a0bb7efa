"""The same with Lightning, whose batches are (x, {"kind": ..., "size": ...})."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Samples(Dataset):
    def __init__(self):
        rng = np.random.default_rng(21)
        self.samples = rng.normal(size=(400, 8)).astype("float32")
        self.kinds = (self.samples @ rng.normal(size=(8, 3))).argmax(axis=1)
        sizes = self.samples @ rng.normal(size=8) + rng.normal(size=400)
        self.sizes = sizes.astype("float32")

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index], {"kind": self.kinds[index], "size": self.sizes[index]}


class TwoHeads(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(8, 16)
        self.kind, self.size = nn.Linear(16, 3), nn.Linear(16, 1)
        for layer in self.children():
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        shared = torch.relu(self.shared(x))
        return {"kind": self.kind(shared), "size": self.size(shared)[:, 0]}

    def training_step(self, batch, batch_idx):
        x, targets = batch
        outputs = self(x)
        kind = F.cross_entropy(outputs["kind"], targets["kind"])
        size = F.mse_loss(outputs["size"], targets["size"])
        self.log("train_loss", kind + 0.2 * size, on_step=False, on_epoch=True)
        return kind + 0.2 * size

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


trainer = L.Trainer(max_epochs=12, logger=False, enable_checkpointing=False)
trainer.fit(TwoHeads(), DataLoader(Samples(), batch_size=32, shuffle=True))
