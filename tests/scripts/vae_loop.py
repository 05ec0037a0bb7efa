import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(5)
rng = np.random.default_rng(5)
parts = rng.normal(size=(4, 6 * 6 * 3))
images = 1 / (1 + np.exp(-(rng.normal(size=(480, 4)) @ parts)))
images = torch.tensor(images.reshape(480, 6, 6, 3)).float().permute(0, 3, 1, 2)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.mean = nn.Linear(80, 2)
        self.log_var = nn.Linear(80, 2)
        self.up = nn.Linear(2, 80)
        self.back = nn.ConvTranspose2d(5, 3, 3)

    def encode(self, x):
        h = torch.tanh(self.conv(x)).flatten(1)
        return self.mean(h), self.log_var(h)

    def reparameterize(self, mean, log_var):
        std = torch.exp(0.5 * log_var)
        return mean + torch.randn_like(std) * std

    def decode(self, z):
        h = torch.tanh(self.up(z)).view(-1, 5, 4, 4)
        return torch.sigmoid(self.back(h))

    def forward(self, x):
        mean, log_var = self.encode(x)
        return self.decode(self.reparameterize(mean, log_var)), mean, log_var


def loss_function(made, x, mean, log_var):
    errors = torch.sum((x - made) ** 2) / len(x)
    kl = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp()) / len(x)
    return errors + 0.1 * kl


vae = VAE()
for m in vae.modules():
    if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(m.weight)
        nn.init.zeros_(m.bias)
loader = DataLoader(images, batch_size=50, shuffle=True)
optimizer = torch.optim.SGD(vae.parameters(), lr=0.01, momentum=0.9)

for epoch in range(3):
    total = 0.0
    for x in loader:
        optimizer.zero_grad()
        made, mean, log_var = vae(x)
        loss = loss_function(made, x, mean, log_var)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    print(epoch, total / len(images))
