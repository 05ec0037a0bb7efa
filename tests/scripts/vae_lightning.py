import lightning as L
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

L.seed_everything(5)
rng = np.random.default_rng(5)
parts = rng.normal(size=(4, 6 * 6 * 3))
images = 1 / (1 + np.exp(-(rng.normal(size=(480, 4)) @ parts)))
images = torch.tensor(images.reshape(480, 6, 6, 3)).float().permute(0, 3, 1, 2)


class VAE(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.mean = nn.Linear(80, 2)
        self.log_var = nn.Linear(80, 2)
        self.up = nn.Linear(2, 80)
        self.back = nn.ConvTranspose2d(5, 3, 3)
        for m in self.modules():
            if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)

    def forward(self, x):
        h = torch.tanh(self.conv(x)).flatten(1)
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        h = torch.tanh(self.up(z)).view(-1, 5, 4, 4)
        return torch.sigmoid(self.back(h)), mean, log_var

    def training_step(self, batch, batch_idx):
        (x,) = batch
        made, mean, log_var = self(x)
        errors = F.mse_loss(made, x, reduction="sum") / len(x)
        kl = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
        return errors + 0.1 * kl

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


model = VAE()
trainer = L.Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.fit(model, DataLoader(TensorDataset(images), batch_size=50, shuffle=True))
