"""The same with one training loop for both."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(0)
x = rng.normal(size=(256, 6)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True)).astype("float32")
loader = DataLoader(TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=32, shuffle=True)


def build(units):
    net = nn.Sequential(nn.Linear(6, units), nn.Tanh(), nn.Linear(units, 1))
    for layer in (net[0], net[2]):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return net


def train(net, epochs, lr=0.05):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    for epoch in range(epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(inputs), targets)
            loss.backward()
            optimizer.step()
        print(epoch, loss.item())


wide = build(32)
train(wide, 2)
narrow = build(4)
train(narrow, 3)
