import itertools

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class MLP(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.out = nn.Linear(sizes[-1], 1)
        for m in [*self.hidden, self.out]:
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, x):
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.out(x)


X, y = load_diabetes(return_X_y=True)
X = torch.tensor(X[:300], dtype=torch.float32) * 20
y = torch.tensor(y[:300] / 100, dtype=torch.float32).unsqueeze(1)
model = MLP([10, 16, 8])
opt = torch.optim.SGD(model.parameters(), lr=0.01)
for _epoch in range(3):
    loader = DataLoader(TensorDataset(X, y), batch_size=30, shuffle=True)
    for xb, yb in loader:
        loss = nn.functional.l1_loss(model(xb), yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
