import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(1)
rng = np.random.default_rng(1)
images = rng.random((128, 1, 12, 12), dtype=np.float32)
labels = rng.integers(0, 4, 128)


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 3 * 3, 4)
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(m.bias)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        return F.log_softmax(self.fc(x), dim=1)


model = ConvNet()
opt = torch.optim.SGD(model.parameters(), lr=0.05)
scheduler = torch.optim.lr_scheduler.StepLR(opt, step_size=2, gamma=0.5)
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(torch.tensor(images), torch.tensor(labels)),
    batch_size=16,
    shuffle=True,
    drop_last=True,
)

for epoch in range(5):
    model.train()
    total = 0
    for data, target in loader:
        opt.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        opt.step()
        total += loss.item()
    scheduler.step()
    print(epoch, total / len(loader), scheduler.get_last_lr())
