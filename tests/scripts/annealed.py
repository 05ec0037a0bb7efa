import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
rng = np.random.default_rng(9)
data = rng.random((96, 3, 8, 8), dtype=np.float32)
lab = rng.integers(0, 4, 96)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(3, 8, 3)
        self.gn = nn.GroupNorm(4, 8)
        self.pool = nn.AvgPool2d(2)
        self.drop = nn.Dropout(0.25)
        self.fc = nn.Linear(8 * 9, 4)
        nn.init.xavier_uniform_(self.c1.weight)
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.c1.bias)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        x = self.pool(torch.relu(self.gn(self.c1(x))))
        x = self.drop(x)
        return self.fc(x.view(x.size(0), -1))


def train_one_epoch(model, loader, criterion, optimizer):
    model.train()
    correct = total = 0
    for images, targets in loader:
        images, targets = images.to(device), targets.to(device)
        optimizer.zero_grad()
        outputs = model(images)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        correct += outputs.argmax(1).eq(targets).sum().item()
        total += targets.size(0)
    return correct / total


def main():
    torch.manual_seed(42)
    loader = DataLoader(
        TensorDataset(torch.from_numpy(data), torch.from_numpy(lab)), batch_size=32, shuffle=True
    )
    model = Net().to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = CosineAnnealingLR(optimizer, T_max=6)
    for epoch in range(6):
        acc = train_one_epoch(model, loader, criterion, optimizer)
        scheduler.step()
        print(f"epoch {epoch} train acc {acc:.3f}")


if __name__ == "__main__":
    main()
