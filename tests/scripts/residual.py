import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(14)
x = torch.tensor(rng.normal(size=(120, 16)), dtype=torch.float32)
y = torch.tensor(rng.integers(0, 5, 120))
loader = DataLoader(TensorDataset(x, y), batch_size=24, shuffle=True)


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 2 * dim)
        self.fc2 = nn.Linear(2 * dim, dim)
        self.act = nn.GELU()

    def forward(self, x):
        return x + self.fc2(self.act(self.fc1(self.norm(x))))


class ResMLP(nn.Module):
    def __init__(self, dim=16, depth=2, classes=5):
        super().__init__()
        self.blocks = nn.Sequential(*[Block(dim) for _ in range(depth)])
        self.head = nn.Linear(dim, classes)
        self.apply(
            lambda m: (
                (nn.init.xavier_uniform_(m.weight), nn.init.zeros_(m.bias))
                if isinstance(m, nn.Linear)
                else None
            )
        )

    def forward(self, x):
        return torch.log_softmax(self.head(self.blocks(x)), dim=1)


model = ResMLP()
criterion = nn.NLLLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-2)
for epoch in range(3):
    correct = 0
    for xb, yb in loader:
        optimizer.zero_grad()
        out = model(xb)
        loss = criterion(out, yb)
        loss.backward()
        optimizer.step()
        correct += out.argmax(dim=1).eq(yb).sum().item()
    print(f"Epoch {epoch} Accuracy {100 * correct / len(x):.1f}%")
