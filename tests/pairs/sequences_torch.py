"""Ports of `sequences_keras.py`, faithful, and some with a fault."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WORDS, LENGTH = 40, 12


def sentences(words=WORDS, length=LENGTH):
    rng = np.random.default_rng(0)
    x = rng.integers(1, words, (150, length))
    for row, n in zip(x, rng.integers(3, length + 1, len(x)), strict=True):
        row[n:] = 0
    return x, (x.sum(axis=1) > x.sum(axis=1).mean()).astype("int64")


def loader(x, y):
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y.astype("float32")))
    return DataLoader(rows, batch_size=30, shuffle=True)


def initialised(module):
    """Weights as Keras draws them."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            nn.init.uniform_(layer.weight, -0.05, 0.05)
        elif isinstance(layer, nn.RNNBase):
            recurrent(layer)
    return module


def recurrent(layer):
    for name, weight in layer.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(weight)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(weight)
        else:
            nn.init.zeros_(weight)
            if isinstance(layer, nn.LSTM) and name.startswith("bias_ih"):
                nn.init.ones_(weight[layer.hidden_size : 2 * layer.hidden_size])
            if not isinstance(layer, nn.GRU) and name.startswith("bias_hh"):
                weight.requires_grad_(False)  # Keras has one bias


class Fitted(L.LightningModule):
    """One network that gives logits (n, 1) or (n,) of two classes."""

    def __init__(self, net):
        super().__init__()
        self.net = initialised(net)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        if y.dtype is torch.int64:
            return F.cross_entropy(self(x), y)
        return F.binary_cross_entropy_with_logits(self(x).view(-1), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Text(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        self.words = nn.Embedding(WORDS, 8, **settings)
        self.a, self.b = nn.Linear(8, 6), nn.Linear(6, 1)

    def forward(self, x):
        return self.b(self.a(self.words(x).mean(dim=1)).relu())


def text(**settings):
    return {"module": Fitted(Text(**settings)), "loader": loader(*sentences())}


class Adam(torch.optim.Adam):
    """Adam with its epsilon where Keras has it."""

    count = 0

    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            group["eps"] = 1e-12 / (1 - 0.999**self.count) ** 0.5
        return super().step(closure)


def text_adam():
    return sparse_text() | {
        "module": initialised(nn.Sequential(Text(), nn.Flatten(0))),
        "optimizer": lambda parameters: Adam(parameters, lr=0.002),
    }


def padded_text():
    return text(padding_idx=0)


def short_vectors():
    return text(max_norm=0.1)


def text_by_frequency():
    return text(scale_grad_by_freq=True)


def sparse_text():
    """The same as a training loop has it, with sparse gradients."""
    return {
        "module": initialised(nn.Sequential(Text(sparse=True), nn.Flatten(0))),
        "loss": nn.BCEWithLogitsLoss(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "loader": loader(*sentences()),
    }


def default_vectors():
    given = text()
    given["module"].net.words.reset_parameters()
    return given


def frozen_vectors():
    given = text()
    given["module"].net.words.weight.requires_grad_(False)
    return given


def series(length=10, features=3):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, length, features)).astype("float32")
    return x, rng.integers(0, 4, len(x))


class Series(nn.Module):
    """A recurrent net, of which the last step is classified."""

    def __init__(self, net, width=5):
        super().__init__()
        self.net, self.out = net, nn.Linear(width, 4)

    def read(self, out, last):
        return out[:, -1]

    def forward(self, x):
        return self.out(self.read(*self.net(x)))


def classifier(net, **shape):
    x, y = series(**shape)
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return {"module": Fitted(net), "loader": DataLoader(rows, batch_size=30, shuffle=True)}


def lstm(**settings):
    return classifier(Series(nn.LSTM(3, 5, batch_first=True, **settings)))


def gru():
    return classifier(Series(nn.GRU(3, 5, batch_first=True)))


class TwoLayers(nn.Module):
    """Of other widths."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.RNN(3, 5, batch_first=True), nn.RNN(5, 4, batch_first=True)
        self.out = nn.Linear(4, 4)

    def forward(self, x):
        return self.out(self.second(self.first(x)[0])[1][0])


def simple():
    return classifier(TwoLayers())


def both_ends(self, out, last):
    return torch.cat([last[0][0], last[0][1]], dim=1)


def reading(how):
    return type("Series", (Series,), {"read": how})


def bidirectional(how=both_ends):
    return classifier(reading(how)(nn.LSTM(3, 5, batch_first=True, bidirectional=True), width=10))


def two_biases():
    given = lstm()
    given["module"].net.net.bias_hh_l0.requires_grad_(True)
    return given


def default_weights():
    given = lstm()
    given["module"].net.net.reset_parameters()
    return given


def no_forget_bias():
    given = lstm()
    nn.init.zeros_(given["module"].net.net.bias_ih_l0)
    return given


def frozen_kernel():
    given = lstm()
    given["module"].net.net.weight_hh_l0.requires_grad_(False)
    return given


def steps_first():
    return classifier(Series(nn.LSTM(3, 5)))


def turned():
    """Steps first, as torch has it by default, on inputs that are turned for it."""

    class Turned(Series):
        def forward(self, x):
            return self.out(self.net(x.transpose(0, 1))[0][-1])

    return classifier(Turned(nn.LSTM(3, 5)))


def first_step():
    return classifier(reading(lambda self, out, last: out[:, 0])(nn.LSTM(3, 5, batch_first=True)))


def gru_of_one_bias():
    given = gru()
    given["module"].net.net.bias_hh_l0.requires_grad_(False)
    return given


def relu():
    return classifier(Series(nn.RNN(3, 5, batch_first=True, nonlinearity="relu")))


def tanh():
    return classifier(Series(nn.RNN(3, 5, batch_first=True)))


def stacked(rate=0.3, layers=2):
    return classifier(Series(nn.LSTM(3, 5, layers, batch_first=True, dropout=rate)))


def stacked_without():
    return stacked(0.0)


def one_layer():
    return classifier(Series(nn.LSTM(3, 5, batch_first=True)))


def state_of_first():
    net = nn.LSTM(3, 5, 2, batch_first=True, dropout=0.3)
    return classifier(reading(lambda self, out, last: last[0][0])(net))


def of_last_step():
    return bidirectional(lambda self, out, last: out[:, -1])


def summed(how=lambda self, out, last: last[0] + last[1]):
    net = nn.GRU(3, 5, batch_first=True, bidirectional=True)
    return classifier(reading(how)(net))


def halved():
    return summed(lambda self, out, last: (last[0] + last[1]) / 2)


class Backwards(Series):
    def forward(self, x):
        return super().forward(x.flip(1))


def backwards():
    return classifier(Backwards(nn.LSTM(3, 5, batch_first=True)))


def averaged():
    return classifier(reading(lambda self, out, last: out.mean(1))(nn.LSTM(3, 5, batch_first=True)))


class Dropped(Series):
    """Features are dropped for all steps at once."""

    rate = 0.3

    def forward(self, x):
        x = F.dropout1d(x.transpose(1, 2), self.rate, self.training).transpose(1, 2)
        return super().forward(x)


def dropped():
    return classifier(Dropped(nn.LSTM(3, 5, batch_first=True)))


def dropped_more():
    kind = type("More", (Dropped,), {"rate": 0.5})
    return classifier(kind(nn.LSTM(3, 5, batch_first=True)))


class DroppedSteps(Series):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.3, self.training))


def dropped_steps():
    return classifier(DroppedSteps(nn.LSTM(3, 5, batch_first=True)))


class Loop(nn.Module):
    """A cell, step by step."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTMCell(3, 5), nn.Linear(5, 4)
        nn.init.xavier_uniform_(self.cell.weight_ih)
        nn.init.orthogonal_(self.cell.weight_hh)
        nn.init.zeros_(self.cell.bias_ih)
        nn.init.ones_(self.cell.bias_ih[5:10])
        nn.init.zeros_(self.cell.bias_hh).requires_grad_(False)

    def forward(self, x):
        h = c = torch.zeros(len(x), 5, dtype=x.dtype)
        for step in range(x.shape[1]):
            h, c = self.cell(x[:, step], (h, c))
        return self.out(h)


class DroppedLoop(Loop):
    """States are dropped by one mask for all steps and gates, where Keras has one for each gate."""

    def forward(self, x):
        h = c = torch.zeros(len(x), 5, dtype=x.dtype)
        kept = F.dropout(torch.ones_like(h), 0.3, self.training)
        for step in range(x.shape[1]):
            h, c = self.cell(x[:, step], (h * kept, c))
        return self.out(h)


def dropped_loop():
    return classifier(DroppedLoop())


def loop():
    return classifier(Loop())


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.net = nn.Embedding(WORDS, 8), nn.LSTM(8, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        return self.out(self.net(self.words(x))[1][0][0])


class Packed(Masked):
    def forward(self, x):
        lengths = (x != 0).sum(dim=1)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.words(x), lengths, batch_first=True, enforce_sorted=False
        )
        return self.out(self.net(packed)[1][0][0])


def packed_lstm():
    return {"module": Fitted(Packed()), "loader": loader(*sentences())}


def unmasked_lstm():
    return {"module": Fitted(Masked()), "loader": loader(*sentences())}


class Mean(nn.Module):
    def __init__(self, *, masked):
        super().__init__()
        self.words, self.out = nn.Embedding(WORDS, 8), nn.Linear(8, 1)
        self.masked = masked

    def forward(self, x):
        here = (x != 0).unsqueeze(-1).to(self.words.weight.dtype)
        if self.masked:
            return self.out((self.words(x) * here).sum(1) / here.sum(1))
        return self.out(self.words(x).mean(1))


def masked_mean():
    return {"module": Fitted(Mean(masked=True)), "loader": loader(*sentences())}


def unmasked_mean():
    return {"module": Fitted(Mean(masked=False)), "loader": loader(*sentences())}


def loaded(*, exchanged=False):
    """The original's first weights, with a GRU's gates in torch's order."""
    given = gru()
    rng = np.random.default_rng(1)
    order = [0, 1, 2] if exchanged else [1, 0, 2]
    with torch.no_grad():
        for name, shape in (("weight_ih_l0", (3, 15)), ("weight_hh_l0", (5, 15))):
            gates = np.split(rng.normal(0, 0.3, shape).T, 3)
            weight = np.concatenate([gates[k] for k in order])
            given["module"].net.net.get_parameter(name).copy_(torch.from_numpy(weight))
    return given


def loaded_as_it_is():
    return loaded(exchanged=True)


def columns():
    rng = np.random.default_rng(0)
    fields = [rng.integers(0, size, (160, 1)) for size in (7, 7, 20)]
    numbers = rng.normal(size=(160, 4)).astype("float32")
    return [*fields, numbers], rng.integers(0, 2, 160).astype("float32")


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.fields = nn.ModuleList(nn.Embedding(size, 3) for size in (7, 7, 20))
        self.norm = nn.BatchNorm1d(13, eps=1e-3, momentum=0.01)
        self.hidden, self.out = nn.Linear(13, 8), nn.Linear(8, 1)

    def embedded(self, fields):
        return [table(field[:, 0]) for table, field in zip(self.fields, fields, strict=True)]

    def forward(self, a, b, c, numbers):
        z = torch.cat([*self.embedded([a, b, c]), numbers], dim=1)
        return self.out(self.hidden(self.norm(z)).relu())[:, 0]


class OtherOrder(Table):
    def embedded(self, fields):
        """In another order of execution, but not of their places."""
        parts = [table(field[:, 0]) for table, field in
                 zip(list(self.fields)[::-1], fields[::-1], strict=True)]  # fmt: skip
        return parts[::-1]


def parts_of(x, y):
    return [torch.from_numpy(part) for part in (*x, y)]


def table(net=Table):
    """As a training loop has it, each batch a tuple of all."""
    rows = TensorDataset(*parts_of(*columns()))
    return {
        "module": initialised(net()),
        "loss": nn.BCEWithLogitsLoss(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "loader": DataLoader(rows, batch_size=20, shuffle=True),
    }


def table_in_another_order():
    return table(OtherOrder)


class ByName(Fitted):
    """Batches of a dictionary and targets."""

    def forward(self, x):
        return self.net(**x)


def named_table():
    *x, y = parts_of(*columns())
    rows = list(
        zip(({n: p[i] for n, p in zip("abcn", x, strict=True)} for i in range(160)), y, strict=True)
    )
    rows = [({"numbers" if n == "n" else n: v for n, v in each.items()}, t) for each, t in rows]
    return {"module": ByName(Table()), "loader": DataLoader(rows, batch_size=20, shuffle=True)}


class Matrix(Fitted):
    """All columns in one table."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        fields = [x[:, k : k + 1].long() for k in range(3)]
        return F.binary_cross_entropy_with_logits(self(*fields, x[:, 3:]), y)

    def forward(self, *parts):
        return self.net(*parts)


def table_as_matrix():
    return Matrix(Table())


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 6), nn.Linear(5, 3)
        self.out = nn.Linear(9, 4)

    def forward(self, x):
        first, second = x
        return self.out(torch.cat([self.a(first).relu(), self.b(second).tanh()], dim=1))


class Pairs(torch.utils.data.Dataset):
    def __init__(self, *, swapped):
        rng = np.random.default_rng(0)
        x = [rng.normal(size=(160, 5)).astype("float32") for _ in range(2)]
        self.x = x[::-1] if swapped else x
        self.y = rng.integers(0, 4, 160)

    def __len__(self):
        return 160

    def __getitem__(self, row):
        return (self.x[0][row], self.x[1][row]), self.y[row]


class OtherWay(Two):
    def forward(self, x):
        return super().forward((x[1], x[0]))


def two(net=Two, *, swapped=False):
    rows = Pairs(swapped=swapped)
    return {"module": Fitted(net()), "loader": DataLoader(rows, batch_size=20, shuffle=True)}


def two_the_other_way():
    """Both the loader and the net."""
    return two(OtherWay, swapped=True)


def swapped():
    return two(swapped=True)


class Entities(nn.Module):
    rate = 0.3

    def __init__(self):
        super().__init__()
        self.fields = nn.ModuleList(nn.Embedding(size, 3) for size in (7, 7, 20))
        self.out = nn.Linear(9, 1)

    def forward(self, a, b, c):
        vectors = [table(x[:, 0]) for table, x in zip(self.fields, (a, b, c), strict=True)]
        if self.rate:
            vectors = [F.dropout(v, self.rate, self.training) for v in vectors]
        return self.out(torch.cat(vectors, dim=1))[:, 0]


def entities(net=Entities):
    (*fields, _), y = columns()
    rows = TensorDataset(*parts_of(fields, y))
    return table(net) | {"loader": DataLoader(rows, batch_size=20, shuffle=True)}


def entities_without():
    return entities(type("Net", (Entities,), {"rate": 0.0}))


class EachStep(L.LightningModule):
    activation = staticmethod(torch.tanh)

    def __init__(self):
        super().__init__()
        self.wide, self.out = nn.Linear(6, 7), nn.Linear(7, 4)
        for layer in (self.wide, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.out(self.activation(self.wide(x)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x).transpose(1, 2), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def of_each_step(module):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(90, 5, 6)).astype("float32"), rng.integers(0, 4, (90, 5))
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return {"module": module, "loader": DataLoader(rows, batch_size=30, shuffle=True)}


def each_step():
    return of_each_step(EachStep())


def each_step_by_relu():
    return of_each_step(type("Port", (EachStep,), {"activation": staticmethod(torch.relu)})())
