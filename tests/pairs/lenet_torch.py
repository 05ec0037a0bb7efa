"""Ports of `lenet_keras.py`: `Port` is faithful, each function has one fault."""

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn


def initialised(module):
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return module


class Port(L.LightningModule):
    rate = 0.25
    epsilon, momentum = 1e-3, 0.01
    learning_rate, sgd_momentum = 0.05, 0.9
    reduction = "mean"
    smoothing = 0.0

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding="same")
        self.bn = nn.BatchNorm2d(6, eps=self.epsilon, momentum=self.momentum)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2)
        self.fc1 = nn.Linear(8 * 3 * 3, 24)
        self.drop = nn.Dropout(self.rate)
        self.fc2 = nn.Linear(24, 10)
        initialised(self)

    def activation(self, x):
        return F.relu(x)

    def padded(self, x):
        return F.pad(x, (0, 1, 0, 1))

    def first_pool(self, x):
        return F.max_pool2d(x, 2)

    def second_pool(self, x):
        return F.avg_pool2d(x, 2)

    def normalised(self, x):
        return self.activation(self.bn(x))

    def dropped(self, x):
        return self.drop(x)

    def forward(self, x):
        x = self.first_pool(self.normalised(self.conv1(x)))
        x = self.second_pool(self.activation(self.conv2(self.padded(x))))
        x = self.activation(self.fc1(x.flatten(1)))
        return self.fc2(self.dropped(x))

    def loss(self, logits, y):
        return F.cross_entropy(logits, y, reduction=self.reduction, label_smoothing=self.smoothing)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.loss(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate, momentum=self.sgd_momentum)


def with_fault(**changes):
    return type("Port", (Port,), changes)()


def bn_epsilon():
    return with_fault(epsilon=1.1e-3)


def bn_epsilon_default():
    return with_fault(epsilon=1e-5)


def bn_momentum():
    return with_fault(momentum=0.99)


def padding():
    return with_fault(padded=lambda self, x: F.pad(x, (1, 0, 1, 0)))


def average_for_max():
    return with_fault(first_pool=lambda self, x: F.avg_pool2d(x, 2))


def max_for_average():
    return with_fault(second_pool=lambda self, x: F.max_pool2d(x, 2))


def keep_for_rate():
    return with_fault(rate=0.75)


def no_dropout():
    return with_fault(dropped=lambda self, x: x)


def more_dropout():
    return with_fault(dropped=lambda self, x: F.dropout(self.drop(x), 0.1, self.training))


def loss_sum():
    return with_fault(reduction="sum", learning_rate=0.05)


def smoothed():
    return with_fault(smoothing=0.1)


def learning_rate():
    return with_fault(learning_rate=0.05 * 1.00001)


def sgd_momentum():
    return with_fault(sgd_momentum=0.8)


def other_activation():
    return with_fault(activation=lambda self, x: F.elu(x))


def no_activation():
    return with_fault(normalised=lambda self, x: self.bn(x))


def softmax_twice():
    return with_fault(loss=lambda self, z, y: F.cross_entropy(F.softmax(z, 1), y))


def own_loss():
    """By hand, without a function that could be exchanged."""
    return with_fault(loss=lambda self, z, y: 1.1 * F.cross_entropy(z, y))


def frozen():
    module = Port()
    module.conv1.weight.requires_grad_(False)
    return module


def default_init():
    module = Port()
    for layer in (module.conv1, module.conv2, module.fc1, module.fc2):
        layer.reset_parameters()
    return module


def no_bias():
    module = Port()
    module.fc1 = nn.Linear(8 * 3 * 3, 24, bias=False)
    nn.init.xavier_uniform_(module.fc1.weight)
    return module


def no_normalisation():
    module = with_fault(normalised=lambda self, x: self.activation(x))
    del module.bn
    return module


def other_width():
    module = Port()
    module.fc1, module.fc2 = nn.Linear(8 * 3 * 3, 32), nn.Linear(32, 10)
    return initialised(module)


class KerasAdam(torch.optim.Adam):
    """Adam with its epsilon where Keras has it."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["eps"] = 1e-7 / (1 - 0.999**self.count) ** 0.5
        self.count += 1
        return super().step(closure)

    count = 1


class Adam(Port):
    optimizer, epsilon_of_adam, betas, slope = KerasAdam, 1e-7, (0.9, 0.999), 0.2

    def activation(self, x):
        return F.leaky_relu(x, self.slope)

    def configure_optimizers(self):
        return self.optimizer(
            self.parameters(), lr=0.002, eps=self.epsilon_of_adam, betas=self.betas
        )


def adam_of_torch():
    return type("Port", (Adam,), {"optimizer": torch.optim.Adam})()


def adam_by_default():
    return type("Port", (Adam,), {"optimizer": torch.optim.Adam, "epsilon_of_adam": 1e-8})()


def adam_betas():
    return type("Port", (Adam,), {"betas": (0.8, 0.999)})()


def slope():
    return type("Port", (Adam,), {"slope": 0.01})()


class Penalised(L.LightningModule):
    penalty, epsilon, approximate, nesterov = 0.01, 1e-3, "none", True

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(784, 16), nn.Linear(16, 10)
        self.norm = nn.LayerNorm(16, eps=self.epsilon)
        initialised(self)

    def forward(self, x):
        return self.b(self.norm(F.gelu(self.a(x.flatten(1)), approximate=self.approximate)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        return loss + self.penalty * self.a.weight.square().sum() if self.penalty else loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, nesterov=self.nesterov)


def no_penalty():
    return type("Port", (Penalised,), {"penalty": 0.0})()


def layer_epsilon():
    return type("Port", (Penalised,), {"epsilon": 1e-5})()


def gelu_by_tanh():
    return type("Port", (Penalised,), {"approximate": "tanh"})()


def no_nesterov():
    return type("Port", (Penalised,), {"nesterov": False})()


def plain():
    """The same as a training loop has it."""
    return {
        "module": Network(),
        "loss": nn.CrossEntropyLoss(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    }


class Network(nn.Module):
    """`Port` as a plain module."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6, 1e-3, 0.01)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2)
        self.fc1, self.fc2 = nn.Linear(72, 24), nn.Linear(24, 10)
        initialised(self)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.bn(self.conv1(x))), 2)
        x = F.avg_pool2d(self.conv2(F.pad(x, (0, 1, 0, 1))).relu(), 2)
        x = F.dropout(self.fc1(x.flatten(1)).relu(), 0.25, self.training)
        return self.fc2(x)
