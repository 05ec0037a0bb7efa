import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset


class PairDataset(Dataset):
    def __init__(self, n=200, seed=0):
        d = load_digits()
        self.x = d.images[:300].astype("float32") / 16.0
        self.y = d.target[:300]
        rng = np.random.RandomState(seed)
        self.idx = [tuple(rng.randint(0, 300, 2)) for _ in range(n)]

    def __len__(self):
        return len(self.idx)

    def __getitem__(self, k):
        i, j = self.idx[k]
        same = np.float32(self.y[i] == self.y[j])
        return (
            torch.from_numpy(self.x[i])[None],
            torch.from_numpy(self.x[j])[None],
            torch.tensor([same]),
        )


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.fc = nn.Sequential(nn.Linear(8 * 3 * 3, 16), nn.ReLU(inplace=True))
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)

    def forward_once(self, x):
        out = self.cnn(x)
        return self.fc(out.view(out.size(0), -1))

    def forward(self, a, b):
        return self.forward_once(a), self.forward_once(b)


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=1.0):
        super().__init__()
        self.margin = margin

    def forward(self, o1, o2, label):
        d = torch.sqrt(torch.clamp((o1 - o2).pow(2).sum(1, keepdim=True), min=1e-7))
        return torch.mean(
            label * d.pow(2) + (1 - label) * torch.clamp(self.margin - d, min=0.0).pow(2)
        )


net = SiameseNetwork()
criterion = ContrastiveLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
loader = DataLoader(PairDataset(), shuffle=True, batch_size=20)
for epoch in range(3):
    for i, data in enumerate(loader, 0):
        img0, img1, label = data
        optimizer.zero_grad()
        o1, o2 = net(img0, img1)
        loss = criterion(o1, o2, label)
        loss.backward()
        optimizer.step()
        if i % 5 == 0:
            print("Epoch", epoch, "loss", loss.item())
