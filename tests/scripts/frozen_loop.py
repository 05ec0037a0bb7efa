import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()
        )
        for m in self.features:
            if isinstance(m, nn.Conv2d):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)

    def forward(self, x):
        return self.features(x).flatten(1)


rng = np.random.default_rng(0)
X = torch.tensor(rng.normal(size=(100, 10, 10, 3)).astype("float32")).permute(0, 3, 1, 2)
y = torch.tensor(rng.integers(0, 3, 100))
model = Base()
for p in model.parameters():
    p.requires_grad = False
head = nn.Linear(32, 3)
nn.init.xavier_uniform_(head.weight)
nn.init.zeros_(head.bias)
optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
criterion = nn.CrossEntropyLoss()
for _epoch in range(3):
    model.eval()
    head.train()
    for inputs, labels in DataLoader(TensorDataset(X, y), batch_size=25, shuffle=True):
        optimizer.zero_grad()
        with torch.no_grad():
            features = model(inputs)
        outputs = head(features)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
