import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(0)
np.random.seed(0)

t = np.arange(500)
series = np.sin(0.1 * t) + 0.1 * np.random.randn(500)
series = (series - series.mean()) / series.std()

WINDOW = 20


class WindowDataset(Dataset):
    def __init__(self, series, window, start, stop):
        self.series = torch.tensor(series, dtype=torch.float32)
        self.window, self.start, self.stop = window, start, stop

    def __len__(self):
        return self.stop - self.start

    def __getitem__(self, i):
        i += self.start
        return self.series[i : i + self.window].unsqueeze(-1), self.series[
            i + self.window : i + self.window + 1
        ]


class Forecaster(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, 1)
        self.reset(hidden)

    def reset(self, hidden):
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)
        for name, p in self.lstm.named_parameters():
            if "weight_ih" in name:
                nn.init.xavier_uniform_(p)
            elif "weight_hh" in name:
                # Keras: one orthogonal matrix (units, 4 * units)
                with torch.no_grad():
                    p.copy_(nn.init.orthogonal_(torch.empty(hidden, 4 * hidden)).T)
            else:
                nn.init.zeros_(p)
        with torch.no_grad():
            self.lstm.bias_ih_l0[hidden : 2 * hidden] = 1.0
        self.lstm.bias_hh_l0.requires_grad_(False)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(out[:, -1])


train_loader = DataLoader(WindowDataset(series, WINDOW, 0, 400), batch_size=32, shuffle=False)
val_loader = DataLoader(WindowDataset(series, WINDOW, 400, 480), batch_size=32)

model = Forecaster()
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for epoch in range(5):
    model.train()
    losses = []
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        val = np.mean([criterion(model(xb), yb).item() for xb, yb in val_loader])
    print(f"Epoch {epoch + 1}: {np.mean(losses):.4f} {val:.4f}")
