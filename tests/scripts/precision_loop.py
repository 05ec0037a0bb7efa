import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--amp", action="store_true")
parser.add_argument("--compile", action="store_true")
args = parser.parse_args()

torch.manual_seed(42)
rng = np.random.RandomState(42)
x = rng.rand(320, 8, 8, 1).astype(np.float32)
y = (x.mean(axis=(1, 2, 3)) * 40).astype(int) % 4
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.fc = nn.Linear(8 * 3 * 3, 4)
        nn.init.xavier_uniform_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc(torch.flatten(x, 1))


model = Net().to(device)
if args.compile:
    model = torch.compile(model)
train_ds = torch.utils.data.TensorDataset(
    torch.from_numpy(x.transpose(0, 3, 1, 2)), torch.from_numpy(y)
)
train_dl = torch.utils.data.DataLoader(train_ds, batch_size=32, shuffle=True, drop_last=False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler(device.type, enabled=args.amp and device.type == "cuda")
dtype = torch.float16 if device.type == "cuda" else torch.bfloat16

for epoch in range(3):
    model.train()
    for xb, yb in train_dl:
        xb, yb = xb.to(device, non_blocking=True), yb.to(device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device_type=device.type, dtype=dtype, enabled=args.amp):
            output = model(xb)
            loss = F.cross_entropy(output, yb)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        scaler.step(optimizer)
        scaler.update()
    print(epoch, loss.item())
