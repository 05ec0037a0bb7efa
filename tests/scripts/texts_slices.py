"""A port of `texts.py` as a loop that pads its batches itself."""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

rng = np.random.default_rng(0)
texts = [rng.integers(1, 60, n) for n in 3 + rng.geometric(0.3, 200)]
labels = np.array([text.mean() > 30 for text in texts], "float32")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(60, 8)
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.fc = nn.Linear(6, 1)
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        nn.init.xavier_uniform_(self.lstm.weight_ih_l0)
        nn.init.orthogonal_(self.lstm.weight_hh_l0)
        nn.init.zeros_(self.lstm.bias_ih_l0)
        nn.init.ones_(self.lstm.bias_ih_l0[6:12])
        nn.init.zeros_(self.lstm.bias_hh_l0).requires_grad_(False)
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        lengths = (x != 0).sum(dim=1)
        packed = pack_padded_sequence(
            self.embedding(x), lengths, batch_first=True, enforce_sorted=False
        )
        _, (h, _) = self.lstm(packed)
        return self.fc(h[-1]).squeeze(1)


net = Net()
optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
loss_function = nn.BCEWithLogitsLoss()

for _ in range(3):
    order = np.random.permutation(len(texts))
    for start in range(0, len(texts), 32):
        ids = order[start : start + 32]
        x = pad_sequence([torch.from_numpy(texts[k]) for k in ids], batch_first=True)
        y = torch.from_numpy(labels[ids])
        optimizer.zero_grad()
        loss = loss_function(net(x), y)
        loss.backward()
        optimizer.step()
