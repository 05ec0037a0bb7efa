"""The same with a training loop, whose batches are (x, kind, size)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(21)
samples = rng.normal(size=(400, 8)).astype("float32")
kinds = (samples @ rng.normal(size=(8, 3))).argmax(axis=1)
sizes = (samples @ rng.normal(size=8) + rng.normal(size=400)).astype("float32")


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(8, 16)
        self.kind = nn.Linear(16, 3)
        self.size = nn.Linear(16, 1)
        for layer in self.children():
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        shared = F.relu(self.shared(x))
        return self.kind(shared), self.size(shared)


torch.manual_seed(0)
model = TwoHeads()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
rows = TensorDataset(*map(torch.from_numpy, (samples, kinds, sizes)))
loader = DataLoader(rows, batch_size=32, shuffle=True)

for epoch in range(12):
    for x, kind, size in loader:
        optimizer.zero_grad()
        scores, estimate = model(x)
        loss = F.cross_entropy(scores, kind) + 0.2 * F.mse_loss(estimate.squeeze(1), size)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: {loss.item():.3f}")
