import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(3)
basis = rng.normal(size=(6, 40))
x = 1 / (1 + np.exp(-(rng.normal(size=(500, 6)) @ basis)))
x = torch.tensor(x, dtype=torch.float32)
x_train, x_test = x[:400], x[400:]


class LitAutoEncoder(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 6))
        self.decoder = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 40), nn.Sigmoid())
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)

    def training_step(self, batch, batch_idx):
        x, _ = batch
        x_hat = self.decoder(self.encoder(x))
        loss = F.mse_loss(x_hat, x)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)


L.seed_everything(3)
loader = DataLoader(TensorDataset(x_train, torch.zeros(400)), batch_size=40, shuffle=True)
trainer = L.Trainer(max_epochs=4, logger=False, enable_checkpointing=False)
trainer.fit(LitAutoEncoder(), loader)
