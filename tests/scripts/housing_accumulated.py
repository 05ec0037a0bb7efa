"""The same with a training loop that makes each update of four small batches."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

np.random.seed(13)
data = np.random.normal(20.0, 8.0, (400, 13))
targets = data @ np.random.uniform(-1, 1, 13) + np.random.normal(0, 1, 400)
data = (data - data.mean(axis=0)) / data.std(axis=0)
rows = TensorDataset(
    torch.tensor(data, dtype=torch.float32),
    torch.tensor(targets[:, None], dtype=torch.float32),
)
loader = DataLoader(rows, batch_size=4)


def init(layer):
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
model.apply(init)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
accumulation_steps = 4

for epoch in range(20):
    running_loss = 0.0
    optimizer.zero_grad()
    for i, (inputs, prices) in enumerate(loader):
        outputs = model(inputs)
        loss = criterion(outputs, prices) / accumulation_steps
        loss.backward()
        if (i + 1) % accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
        running_loss += loss.item() * accumulation_steps * len(inputs)
    print(f"epoch {epoch + 1}: {running_loss / len(loader.dataset):.3f}")
