"""The same without a loader: rows are sliced, and the labels come along."""

import numpy as np
import torch

np.random.seed(13)
data = np.random.normal(20.0, 8.0, (404, 13))
targets = data @ np.random.uniform(-1, 1, 13) + np.random.normal(0, 1, 404)
data = (data - data.mean(axis=0)) / data.std(axis=0)

X = torch.tensor(data, dtype=torch.float32)
Y = torch.tensor(targets, dtype=torch.float32).reshape(-1, 1)

model = torch.nn.Sequential(
    torch.nn.Linear(13, 32),
    torch.nn.ReLU(),
    torch.nn.Linear(32, 32),
    torch.nn.ReLU(),
    torch.nn.Linear(32, 1),
)
for module in model:
    if isinstance(module, torch.nn.Linear):
        torch.nn.init.xavier_uniform_(module.weight)
        torch.nn.init.zeros_(module.bias)

loss_fn = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

n_epochs = 20
batch_size = 16

for epoch in range(n_epochs):
    for i in range(0, len(X), batch_size):
        Xbatch = X[i : i + batch_size]
        y_pred = model(Xbatch)
        ybatch = Y[i : i + batch_size]
        loss = loss_fn(y_pred, ybatch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"Finished epoch {epoch}, latest loss {loss}")

with torch.no_grad():
    y_pred = model(X)
print("error:", (y_pred - Y).abs().mean().item())
torch.save(model, "housing.pt")
