"""The same in Lightning."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(28 * 28, 64)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(64, 10)
        for layer in (self.hidden, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = torch.relu(self.hidden(x.flatten(1)))
        return self.out(self.drop(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3, eps=1e-7)


def main():
    data = datasets.MNIST("data", train=True, download=True, transform=transforms.ToTensor())
    loader = DataLoader(data, batch_size=64, shuffle=True)
    trainer = L.Trainer(max_epochs=2, accelerator="auto", logger=False)
    trainer.fit(Net(), loader)
    trainer.save_checkpoint("net.ckpt")


if __name__ == "__main__":
    main()
