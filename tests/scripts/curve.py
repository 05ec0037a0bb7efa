import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

gen = np.random.default_rng(6)
features = gen.normal(size=(150, 8)).astype(np.float32)
target = (features @ gen.normal(size=(8, 1)) + 0.1 * gen.normal(size=(150, 1))).astype(np.float32)
ds = TensorDataset(torch.tensor(features), torch.tensor(target))
dl = DataLoader(ds, batch_size=30, shuffle=True)

net = nn.Sequential(
    nn.Linear(8, 16), nn.ELU(), nn.Linear(16, 16), nn.LeakyReLU(0.1), nn.Linear(16, 1)
)
for layer in net:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)

criterion = nn.MSELoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.02)

for epoch in range(4):
    net.train()
    losses = []
    for x, y in dl:
        pred = net(x)
        loss = criterion(pred, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"[{epoch}] mse={np.mean(losses):.4f}")
