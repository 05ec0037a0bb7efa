import pytorch_lightning as pl
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from mnist_mlp.data import load_dataset


class Model(pl.LightningModule):
    def __init__(self):
        super(Model, self).__init__()
        self.fc1 = nn.Linear(784, 32)
        self.fc2 = nn.Linear(32, 10)
        for fc in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(fc.weight)
            nn.init.constant_(fc.bias, 0.0)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.001)


def Port():
    data = load_dataset()
    x = torch.from_numpy(data.images[:4000].reshape(-1, 784) / 255.0).float()
    y = torch.from_numpy(data.labels[:4000]).long()
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=False)
    return {"module": Model(), "loader": loader}
