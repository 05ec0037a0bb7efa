import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

X, y = load_wine(return_X_y=True)
X = torch.tensor(StandardScaler().fit_transform(X), dtype=torch.float32)
y = torch.tensor(y)
net = nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 3))
for layer in (net[0], net[2]):
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
opt = torch.optim.SGD(net.parameters(), lr=0.05)
loss_fn = nn.CrossEntropyLoss()
l1_lambda = 1e-3
for _epoch in range(4):
    for xb, yb in DataLoader(TensorDataset(X, y), 16, shuffle=True):
        opt.zero_grad()
        loss = loss_fn(net(xb), yb)
        l1_norm = sum(p.abs().sum() for p in net.parameters() if p.dim() > 1)
        loss = loss + l1_lambda * l1_norm
        loss.backward()
        opt.step()
