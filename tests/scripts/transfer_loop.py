import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(5)
rng = np.random.default_rng(5)
labels = rng.integers(0, 3, 240)
images = rng.random((240, 12, 12, 3)).astype("float32")
for i, k in enumerate(labels):
    images[i, :, :, k] += 0.4
dataset = TensorDataset(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))
loader = DataLoader(dataset, batch_size=24, shuffle=True)


class Classifier(nn.Module):
    def __init__(self, n_classes=3):
        super().__init__()
        self.base = nn.Sequential(
            nn.Conv2d(3, 6, 3, bias=False),
            nn.BatchNorm2d(6, eps=1e-3, momentum=0.01),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2),
            nn.ReLU(),
        )
        self.head = nn.Linear(8, n_classes)
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(m.weight)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

    def forward(self, x):
        return self.head(self.base(x).mean(dim=(2, 3)))


def fit(model, optimizer, epochs):
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        model.train()
        model.base.eval()  # as training=False in Keras
        total, correct = 0.0, 0
        for x, y in loader:
            optimizer.zero_grad()
            out = model(x)
            loss = criterion(out, y)
            loss.backward()
            optimizer.step()
            total += loss.item() * x.size(0)
            correct += (out.argmax(1) == y).sum().item()
        print(epoch, total / len(dataset), correct / len(dataset))


model = Classifier()
for p in model.base.parameters():
    p.requires_grad = False
fit(
    model,
    torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr=0.1, momentum=0.9),
    3,
)

for p in model.base.parameters():
    p.requires_grad = True
fit(model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), 2)
