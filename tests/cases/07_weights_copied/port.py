from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import nn


class Port(L.LightningModule):
    """Starts from the very weights of the Keras model, to compare both step by step."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(784, 32)
        self.out = nn.Linear(32, 10)
        saved = np.load(Path(__file__).parent / "keras_weights.npz")
        w = [torch.tensor(saved[f"arr_{i}"]) for i in range(4)]
        with torch.no_grad():
            self.hidden.weight.copy_(w[0].T)
            self.hidden.bias.copy_(w[1])
            self.out.weight.copy_(w[2].T)
            self.out.bias.copy_(w[3])

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
