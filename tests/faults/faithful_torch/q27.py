import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn import functional


class Port(pl.LightningModule):
    def __init__(self):
        super().__init__()
        shapes = [(128, 784), (64, 128), (10, 64)]
        self.weights = nn.ParameterList(
            nn.init.xavier_uniform_(torch.empty(shape)) for shape in shapes
        )
        self.biases = nn.ParameterList(torch.zeros(units) for units, _ in shapes)

    def forward(self, x):
        x = torch.sigmoid(functional.linear(x, self.weights[0], self.biases[0]))
        x = torch.sigmoid(functional.linear(x, self.weights[1], self.biases[1]))
        return functional.linear(x, self.weights[2], self.biases[2])

    def training_step(self, batch, batch_idx):
        x, y = batch
        return functional.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
