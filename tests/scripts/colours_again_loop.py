import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(6)
parts = rng.normal(size=(5, 8 * 8 * 3))
x = 1 / (1 + np.exp(-(rng.normal(size=(300, 5)) @ parts)))
x = torch.from_numpy(x.reshape(300, 8, 8, 3).transpose(0, 3, 1, 2).astype("float32"))

model = nn.Sequential(
    nn.ZeroPad2d((0, 1, 0, 1)),
    nn.Conv2d(3, 6, 3, stride=2),
    nn.ReLU(),
    nn.Conv2d(6, 2, 1),
    nn.Upsample(scale_factor=2),
    nn.Conv2d(2, 3, 3, padding=1),
    nn.Sigmoid(),
)
for layer in model:
    if isinstance(layer, nn.Conv2d):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
loader = DataLoader(TensorDataset(x, torch.arange(300)), batch_size=32, shuffle=True)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for _epoch in range(3):
    for images, _ in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), images)
        loss.backward()
        optimizer.step()
