import lightning as L
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Data(L.LightningDataModule):
    def __init__(self, batch_size=50):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage=None):
        np.random.seed(1)
        x = np.random.random((1000, 32)).astype("float32")
        y = (x.sum(axis=1, keepdims=True) / 10 + 0.1 * np.random.randn(1000, 1)).astype("float32")
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        self.train_set = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)


class Regressor(L.LightningModule):
    def __init__(self, lr=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(32, 16), nn.ELU(), nn.Linear(16, 1))
        self.net.apply(self._init)

    @staticmethod
    def _init(m):
        if isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        y_hat = self(x)
        loss = nn.functional.mse_loss(y_hat, y)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_mae", nn.functional.l1_loss(y_hat, y), on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.8, nesterov=True)


if __name__ == "__main__":
    L.seed_everything(1)
    trainer = L.Trainer(max_epochs=3, accelerator="auto", logger=False, enable_checkpointing=False)
    trainer.fit(Regressor(), datamodule=Data())
