import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset


class SignMomentum(Optimizer):
    """Lion without the decay."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["m"] = torch.zeros_like(p)
                m = state["m"]
                p.add_(torch.sign(b1 * m + (1 - b1) * p.grad), alpha=-group["lr"])
                m.mul_(b2).add_(p.grad, alpha=1 - b2)


rng = np.random.default_rng(17)
X = torch.tensor(rng.normal(size=(100, 6)), dtype=torch.float32)
Y = torch.tensor(rng.normal(size=(100, 1)), dtype=torch.float32)
loader = DataLoader(TensorDataset(X, Y), batch_size=20, shuffle=True)
net = nn.Sequential(nn.Linear(6, 12), nn.Softplus(), nn.Linear(12, 1))
for m in net:
    if isinstance(m, nn.Linear):
        nn.init.xavier_uniform_(m.weight)
        nn.init.zeros_(m.bias)
opt = SignMomentum(net.parameters(), lr=0.01)
for epoch in range(3):
    for x, y in loader:
        opt.zero_grad()
        loss = nn.functional.smooth_l1_loss(net(x), y)
        loss.backward()
        opt.step()
    print("epoch", epoch, "lr", opt.param_groups[0]["lr"], "loss", loss.item())
