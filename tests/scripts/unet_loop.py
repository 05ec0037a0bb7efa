"""The same U-Net in PyTorch."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Blobs(Dataset):
    def __init__(self, n, size=16, seed=0, transform=None):
        rng = np.random.RandomState(seed)
        self.images = rng.rand(n, size, size, 1).astype("float32") * 0.5
        self.masks = np.zeros((n, size, size, 1), "float32")
        for i in range(n):
            r, c = rng.randint(2, size - 6, 2)
            self.masks[i, r : r + 5, c : c + 4] = 1
        self.images = self.images + 0.5 * self.masks
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image, mask = self.images[i], self.masks[i]
        if self.transform:
            image, mask = self.transform(image), self.transform(mask)
        return image, mask


def to_tensor(picture):
    return torch.from_numpy(picture).permute(2, 0, 1)


class DoubleConv(nn.Module):
    def __init__(self, in_ch, out_ch):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(in_ch, out_ch, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_ch, out_ch, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.net(x)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = DoubleConv(1, 4)
        self.down2 = DoubleConv(4, 8)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.dec = DoubleConv(12, 4)
        self.head = nn.Conv2d(4, 1, 1)
        self._init()

    def _init(self):
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                fan_in = m.weight[0].numel()
                std = (2.0 / fan_in) ** 0.5 / 0.87962566103423978
                nn.init.trunc_normal_(m.weight, std=std, a=-2 * std, b=2 * std)
                nn.init.zeros_(m.bias)
        nn.init.xavier_uniform_(self.head.weight)

    def forward(self, x):
        c1 = self.down1(x)
        c2 = self.down2(F.max_pool2d(c1, 2))
        x = torch.cat([self.up(c2), c1], dim=1)
        return self.head(self.dec(x))


def train(model, loader, epochs, lr):
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    criterion = nn.BCEWithLogitsLoss()
    for epoch in range(epochs):
        model.train()
        for image, mask in loader:
            logits = model(image)
            loss = criterion(logits, mask)
            opt.zero_grad()
            loss.backward()
            opt.step()
        print(epoch, loss.item())


if __name__ == "__main__":
    torch.manual_seed(0)
    data = Blobs(120, transform=to_tensor)
    train_set = torch.utils.data.Subset(data, range(96))
    loader = DataLoader(train_set, batch_size=8, shuffle=True, num_workers=0)
    train(UNet(), loader, epochs=3, lr=0.1)
