"""An autoencoder of two modules, which one optimizer trains."""

import itertools

import torch
from sklearn.datasets import load_digits
from torch import nn

x = torch.from_numpy((load_digits().data[:200] / 16).astype("float32"))
encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
decoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64), nn.Sigmoid())
for net in (encoder, decoder):
    for m in net:
        if isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)
optimizer = torch.optim.SGD(itertools.chain(encoder.parameters(), decoder.parameters()), lr=0.5)
loader = torch.utils.data.DataLoader(x, batch_size=25, shuffle=True)
mse = nn.MSELoss()
for _epoch in range(3):
    for batch in loader:
        z = encoder(batch)
        recon = decoder(z)
        loss = mse(recon, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(loss.item())
