import lightning as L
import torch
import torch.nn.functional as F
from torch import nn

SIZES = [3, 12, 7, 50]


class Port(L.LightningModule):
    def __init__(self):
        super().__init__()
        widths = [min(50, (s + 1) // 2) for s in SIZES]
        self.tables = nn.ModuleList(nn.Embedding(s + 1, w) for s, w in zip(SIZES, widths))
        total = sum(widths)
        self.bn = nn.BatchNorm1d(total)
        self.mlp = nn.Sequential(
            nn.Linear(total, 64),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.BatchNorm1d(64),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.BatchNorm1d(64),
            nn.Linear(64, 2),
        )

    def forward(self, x):
        parts = [table(x[:, i].long()) for i, table in enumerate(self.tables)]
        return self.mlp(self.bn(torch.cat(parts, dim=1)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())
