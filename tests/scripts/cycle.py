import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, BATCH = 4, 20
rng = np.random.default_rng(8)
X = torch.tensor(rng.normal(size=(120, 10)), dtype=torch.float32)
y = torch.tensor(rng.integers(0, 3, 120))
train_dl = DataLoader(TensorDataset(X[:100], y[:100]), batch_size=BATCH, shuffle=True)
valid_dl = DataLoader(TensorDataset(X[100:], y[100:]), batch_size=BATCH)

model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 3))
for m in model:
    if isinstance(m, nn.Linear):
        nn.init.kaiming_uniform_(m.weight, nonlinearity="relu")
        nn.init.zeros_(m.bias)
loss_fn = nn.CrossEntropyLoss()
opt = torch.optim.SGD(model.parameters(), lr=0.01)
sched = torch.optim.lr_scheduler.OneCycleLR(
    opt, max_lr=0.2, epochs=EPOCHS, steps_per_epoch=len(train_dl), cycle_momentum=False
)


def fit(epochs, model, loss_fn, opt, train_dl, valid_dl):
    for epoch in range(epochs):
        model.train()
        for xb, yb in train_dl:
            loss = loss_fn(model(xb), yb)
            loss.backward()
            opt.step()
            opt.zero_grad()
            sched.step()

        model.eval()
        with torch.no_grad():
            hits = sum((model(xb).argmax(1) == yb).sum() for xb, yb in valid_dl)
        print(epoch, "acc", hits.item() / 20, "lr", opt.param_groups[0]["lr"])


fit(EPOCHS, model, loss_fn, opt, train_dl, valid_dl)
