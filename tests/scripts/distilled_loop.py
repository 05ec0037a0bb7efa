import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

rng = np.random.default_rng(11)
X = rng.normal(size=(128, 12)).astype("float32")
T = rng.normal(size=(128, 5))
soft = np.exp(T) / np.exp(T).sum(1, keepdims=True)
dataset = torch.utils.data.TensorDataset(
    torch.from_numpy(X), torch.from_numpy(soft.astype("float32"))
)
student = nn.Sequential(nn.Linear(12, 20), nn.ELU(), nn.Linear(20, 5))
student.apply(
    lambda m: (
        (nn.init.xavier_uniform_(m.weight), nn.init.zeros_(m.bias))
        if isinstance(m, nn.Linear)
        else None
    )
)
opt = torch.optim.SGD(student.parameters(), lr=0.1)
kl = nn.KLDivLoss(reduction="batchmean")
for _ in range(3):
    for x, p in torch.utils.data.DataLoader(dataset, batch_size=32, shuffle=True):
        loss = kl(F.log_softmax(student(x), dim=1), p)
        opt.zero_grad()
        loss.backward()
        opt.step()
