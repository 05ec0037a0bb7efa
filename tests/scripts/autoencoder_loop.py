import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
rng = np.random.default_rng(3)
basis = rng.normal(size=(6, 40))
x = 1 / (1 + np.exp(-(rng.normal(size=(500, 6)) @ basis)))
x = torch.tensor(x, dtype=torch.float32)
x_train, x_test = x[:400], x[400:]


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 6))
        self.decoder = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 40), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))


def init_weights(m):
    if isinstance(m, nn.Linear):
        nn.init.xavier_uniform_(m.weight)
        m.bias.data.fill_(0.0)


model = Autoencoder()
model.apply(init_weights)
loader = DataLoader(TensorDataset(x_train), batch_size=40, shuffle=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
loss_fn = nn.MSELoss()

for epoch in range(4):
    running = 0.0
    for (batch,) in loader:
        recon = model(batch)
        loss = loss_fn(recon, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item()
    print(f"epoch {epoch} loss {running / len(loader):.5f}")
