"""The same with a training loop that applies the weights itself."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

np.random.seed(13)
data = np.random.normal(20.0, 8.0, (400, 13)).astype("float32")
targets = (data @ np.random.uniform(-1, 1, 13)).astype("float32")[:, None]
data = (data - data.mean(axis=0)) / data.std(axis=0)
weights = np.where(data[:, 0] > 0, 2.0, 0.5).astype("float32")

rows = TensorDataset(*map(torch.from_numpy, (data, targets, weights)))
loader = DataLoader(rows, batch_size=16)
model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 1))
for layer in (model[0], model[2]):
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
criterion = nn.MSELoss(reduction="none")
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

for _ in range(5):
    for inputs, prices, weight in loader:
        optimizer.zero_grad()
        losses = criterion(model(inputs), prices).squeeze(1)
        loss = (losses * weight).mean()
        loss.backward()
        optimizer.step()
