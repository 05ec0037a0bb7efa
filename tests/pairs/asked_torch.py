"""Ports of `asked_keras.py`, as they are meant and as they are asked about."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(96, 10)).astype("float32")
CLASSES = DRAW.integers(0, 2, 96)
NUMBERS = DRAW.normal(size=(96, 4)).astype("float32")
STEPS = DRAW.normal(size=(96, 6, 5)).astype("float32")
VOLUMES = np.maximum(DRAW.normal(size=(96, 7, 6, 4, 1)), 0).astype("float32")
FILMS = DRAW.random((96, 4, 7, 7, 2)).astype("float32")
WORDS = DRAW.integers(1, 9, (96, 7)) * (np.arange(7) < DRAW.integers(2, 8, 96)[:, None])


def fitted(net, loss, x, y):
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.GRU | nn.RNN):
            nn.init.xavier_uniform_(layer.weight_ih_l0)
            square = torch.empty(layer.weight_hh_l0.T.shape)
            layer.weight_hh_l0.data = nn.init.orthogonal_(square).T.contiguous()
            nn.init.zeros_(layer.bias_ih_l0)
            nn.init.zeros_(layer.bias_hh_l0)
            layer.bias_hh_l0.requires_grad_(isinstance(layer, nn.GRU))  # as many as Keras has
        elif isinstance(layer, nn.Embedding):
            nn.init.uniform_(layer.weight, -0.05, 0.05)
    data = TensorDataset(torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y))
    return {
        "module": net,
        "loss": loss,
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.05),
        "loader": DataLoader(data, batch_size=16, shuffle=True),
    }


def classes(loss, *last):
    net = nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 2), *last)
    return fitted(net, loss, ROWS, np.eye(2, dtype="float32")[CLASSES])


def two_classes():
    return classes(F.binary_cross_entropy_with_logits)


def two_classes_of_softmax():
    return classes(F.binary_cross_entropy, nn.Softmax(dim=1))


class Volumes(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv3d(1, 3, 2), nn.Linear(3, 2)

    def forward(self, x):
        x = F.max_pool3d(x, 2)
        x = F.relu(self.conv(F.pad(x, (0, 1, 0, 1, 0, 1))))
        x = F.max_pool3d(F.pad(x, (0, 0, 0, 1, 0, 1), value=-torch.inf), (2, 2, 1), stride=1)
        return self.head(x.mean(dim=(2, 3, 4)))


def volumes():
    return fitted(Volumes(), F.cross_entropy, VOLUMES.transpose(0, 4, 1, 2, 3), CLASSES)


class Film(nn.Module):
    def __init__(self, mixed=False):
        super().__init__()
        self.conv, self.gru = nn.Conv2d(2, 4, 3), nn.GRU(4, 5, batch_first=True)
        self.head, self.mixed = nn.Linear(5, 2), mixed

    def forward(self, x):
        rows, steps = x.shape[:2]
        x = F.relu(self.conv(x.flatten(0, 1))).mean(dim=(2, 3))
        x = x.view(steps, rows, 4).transpose(0, 1) if self.mixed else x.view(rows, steps, 4)
        return self.head(self.gru(x)[0][:, -1])


def film():
    return fitted(Film(), F.cross_entropy, FILMS.transpose(0, 1, 4, 2, 3), CLASSES)


def film_mixed():
    return fitted(Film(mixed=True), F.cross_entropy, FILMS.transpose(0, 1, 4, 2, 3), CLASSES)


class Attention(nn.Module):
    def __init__(self, scale=1.0, axis=-1, epsilon=1e-6):
        super().__init__()
        self.query, self.value = nn.Linear(5, 4), nn.Linear(5, 4)
        self.norm, self.head = nn.RMSNorm(4, eps=epsilon), nn.Linear(4, 2)
        self.scale, self.axis = scale, axis

    def forward(self, x):
        query, value = self.query(x), self.value(x)
        shares = torch.softmax(self.scale * query @ value.mT, dim=self.axis)
        return self.head(self.norm(shares @ value).mean(1))


def attention():
    return fitted(Attention(), F.cross_entropy, STEPS, CLASSES)


def attention_scaled():
    return fitted(Attention(scale=0.5), F.cross_entropy, STEPS, CLASSES)


def attention_of_queries():
    return fitted(Attention(axis=1), F.cross_entropy, STEPS, CLASSES)


def attention_epsilon():
    return fitted(Attention(epsilon=1e-3), F.cross_entropy, STEPS, CLASSES)


class Pooled(nn.Module):
    def __init__(self, axis=1):
        super().__init__()
        self.hidden, self.score = nn.Linear(5, 4), nn.Linear(4, 1, bias=False)
        self.head, self.axis = nn.Linear(4, 2), axis

    def forward(self, x):
        x = torch.tanh(self.hidden(x))
        return self.head((F.softmax(self.score(x), dim=self.axis) * x).sum(1))


def pooled():
    return fitted(Pooled(), F.cross_entropy, STEPS, CLASSES)


def pooled_last():
    return fitted(Pooled(axis=-1), F.cross_entropy, STEPS, CLASSES)


def pooled_rows():
    return fitted(Pooled(axis=0), F.cross_entropy, STEPS, CLASSES)


class Direction(nn.Module):
    def __init__(self, axis=1):
        super().__init__()
        self.hidden, self.head, self.axis = nn.Linear(10, 6), nn.Linear(6, 4), axis

    def forward(self, x):
        return F.normalize(self.head(torch.tanh(self.hidden(x))), dim=self.axis)


def direction():
    return fitted(Direction(), lambda x, y: -F.cosine_similarity(x, y).mean(), ROWS, NUMBERS)


def direction_from_one():
    return fitted(Direction(), lambda x, y: (1 - F.cosine_similarity(x, y)).mean(), ROWS, NUMBERS)


def direction_of_rows():
    loss = lambda x, y: -F.cosine_similarity(x, y).mean()  # noqa: E731
    return fitted(Direction(axis=0), loss, ROWS, NUMBERS)


def bounded():
    net = nn.Sequential(nn.Linear(10, 6), nn.ReLU6(), nn.Linear(6, 2))
    return fitted(net, F.cross_entropy, 0.1 * ROWS, CLASSES)


def unbounded():
    net = nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 2))
    return fitted(net, F.cross_entropy, 0.1 * ROWS, CLASSES)


class Words(nn.Module):
    """Goes on through the padding, and takes the state of the last word."""

    def __init__(self, at=-1):
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.one, self.two = (nn.RNN(n, 5, batch_first=True) for n in (4, 5))
        self.head, self.at = nn.Linear(5, 2), at

    def forward(self, x):
        states, _ = self.two(self.one(self.table(x))[0])
        last = (x != 0).sum(1) + self.at if self.at is not None else -1
        return self.head(states[torch.arange(len(x)), last])


def words():
    return fitted(Words(), F.cross_entropy, WORDS, CLASSES)


def words_and_padding():
    return fitted(Words(at=None), F.cross_entropy, WORDS, CLASSES)


def words_but_one():
    return fitted(Words(at=-2), F.cross_entropy, WORDS, CLASSES)
