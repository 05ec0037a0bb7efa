import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 12)).astype("float32")
y = (X[:, 0] + X[:, 1] > 0.5).astype("int64") + (X[:, 2] > 1.0).astype("int64")

train_set = TensorDataset(torch.from_numpy(X[:160]), torch.from_numpy(y[:160]))
test_set = TensorDataset(torch.from_numpy(X[160:]), torch.from_numpy(y[160:]))
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
test_loader = DataLoader(test_set, batch_size=64)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(12, 24)
        self.fc2 = nn.Linear(24, 3)

    def forward(self, x):
        x = torch.tanh(self.fc1(x))
        return self.fc2(x)


def init(m):
    if isinstance(m, nn.Linear):
        nn.init.xavier_uniform_(m.weight)
        nn.init.zeros_(m.bias)


model = Net()
model.apply(init)
class_weights = torch.tensor([1.0, 2.0, 4.0])
criterion = nn.CrossEntropyLoss(weight=class_weights)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-3)


def train(epoch):
    model.train()
    running, correct = 0.0, 0
    for xb, yb in train_loader:
        optimizer.zero_grad(set_to_none=True)
        out = model(xb)
        loss = criterion(out, yb)
        loss.backward()
        optimizer.step()
        running += loss.item() * len(xb)
        correct += (out.argmax(1) == yb).sum().item()
    print(f"epoch {epoch}: loss {running / 160:.4f} acc {correct / 160:.3f}")


@torch.no_grad()
def evaluate():
    model.eval()
    correct = 0
    for xb, yb in test_loader:
        correct += (model(xb).argmax(1) == yb).sum().item()
    print("test acc", correct / 40)


for epoch in range(3):
    train(epoch)
    evaluate()
