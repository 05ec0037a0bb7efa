import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def frame():
    rng = np.random.default_rng(77)
    age = rng.uniform(18, 90, 360)
    income = rng.lognormal(3, 0.5, 360)
    job = rng.integers(0, 7, 360)
    y = ((age / 40 + (job == 3) + rng.normal(0, 0.3, 360)) > 1.6).astype("float32")
    return age, income, job, y


class Frame(Dataset):
    def __init__(self):
        age, income, job, y = frame()
        numbers = np.stack([age, income], 1).astype("float32")
        self.numbers = (numbers - numbers.mean(0)) / numbers.std(0)
        self.job, self.y = job, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {
            "numbers": torch.tensor(self.numbers[i]),
            "job": torch.tensor(self.job[i]),
            "target": torch.tensor(self.y[i]),
        }


class Tabular(nn.Module):
    def __init__(self):
        super().__init__()
        self.jobs = nn.Embedding(7, 3)
        self.hidden = nn.Linear(5, 16)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(16, 1)
        nn.init.uniform_(self.jobs.weight, -0.05, 0.05)
        nn.init.xavier_uniform_(self.hidden.weight)
        nn.init.zeros_(self.hidden.bias)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, numbers, job):
        h = torch.cat([numbers, self.jobs(job)], dim=1)
        return self.out(self.drop(self.hidden(h).relu())).squeeze(-1)


def run(epochs=3):
    torch.manual_seed(77)
    loader = DataLoader(Frame(), batch_size=36, shuffle=True)
    net = Tabular()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(epochs):
        net.train()
        for batch in loader:
            logits = net(batch["numbers"], batch["job"])
            loss = nn.functional.binary_cross_entropy_with_logits(logits, batch["target"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            everything = [net(b["numbers"], b["job"]).sigmoid() for b in loader]
        print(epoch, torch.cat(everything).mean().item())


run()
