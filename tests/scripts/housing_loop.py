"""The same with a training loop."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Housing(Dataset):
    def __init__(self):
        np.random.seed(13)
        data = np.random.normal(20.0, 8.0, (404, 13))
        targets = data @ np.random.uniform(-1, 1, 13) + np.random.normal(0, 1, 404)
        data = (data - data.mean(axis=0)) / data.std(axis=0)
        self.data = torch.tensor(data, dtype=torch.float32)
        self.targets = torch.tensor(targets, dtype=torch.float32)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index], self.targets[index]


def init(layer):
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
model.apply(init)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loader = DataLoader(Housing(), batch_size=16)

for epoch in range(20):
    running_loss = 0.0
    for inputs, prices in loader:
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, prices.unsqueeze(1))
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * len(inputs)
    print(f"epoch {epoch + 1}: {running_loss / len(loader.dataset):.3f}")
