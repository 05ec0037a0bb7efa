import lightning.pytorch as pl
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mnist_mlp.data import load_dataset


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.hidden1 = nn.Linear(784, 128)
        self.hidden2 = nn.Linear(128, 64)
        self.out = nn.Linear(64, 10)
        for layer in (self.hidden1, self.hidden2, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = torch.sigmoid(self.hidden1(x))
        x = torch.sigmoid(self.hidden2(x))
        return self.out(x)

    def training_step(self, batch, batch_idx):
        x, y = batch["image"], batch["label"]
        return functional.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch["image"], batch["label"]
        self.log("val_loss", functional.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Digits(Dataset):
    def __init__(self, ids):
        data = load_dataset("mnist")
        self.images, self.labels = data.flat()[ids], data.labels[ids]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = torch.from_numpy(self.images[index]).float() / 255
        return {"image": image, "label": int(self.labels[index]), "index": index}


def loader():
    train, test = train_test_split(np.arange(4000), test_size=0.25, random_state=42)
    return DataLoader(Digits(train), batch_size=128, shuffle=True), DataLoader(Digits(test))


port = {"module": Model, "loader": loader}
