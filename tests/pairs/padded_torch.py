"""Ports of `padded_keras.py`, faithful, and some with a fault."""

from functools import partial

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from sequences_torch import initialised
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader, Sampler

WORDS, LONGEST, WIDTH = 40, 11, 14


def texts():
    rng = np.random.default_rng(0)
    lengths = (2 + rng.geometric(0.4, 130)).clip(max=LONGEST)
    x = [rng.integers(1, WORDS, n).tolist() for n in lengths]
    means = np.array([np.mean(row) for row in x])
    return x, (means > np.median(means)).astype("int64")


def to_the_longest(batch):
    """Each batch padded to its own longest text, at its end."""
    x = pad_sequence([torch.tensor(text) for text, _ in batch], batch_first=True)
    return x, torch.tensor([float(y) for _, y in batch])


def to_one_length(batch, *, in_front=False):
    rows = torch.zeros(len(batch), WIDTH, dtype=torch.int64)
    for row, (text, _) in zip(rows, batch, strict=True):
        if in_front:
            row[WIDTH - len(text) :] = torch.tensor(text)
        else:
            row[: len(text)] = torch.tensor(text)
    return rows, torch.tensor([float(y) for _, y in batch])


def with_lengths(batch, *, more=0):
    x, y = to_the_longest(batch)
    return x, torch.tensor([len(text) + more for text, _ in batch]).clamp(1, x.shape[1]), y


def loader(collate=to_the_longest):
    rows = list(zip(*texts(), strict=True))
    return DataLoader(rows, batch_size=30, shuffle=True, collate_fn=collate)


class Buckets(Sampler):
    """Batches of texts of like lengths, in a new order in each epoch."""

    def __init__(self, lengths):
        order = np.argsort(lengths, kind="stable")
        self.batches = [order[k : k + 30].tolist() for k in range(0, len(order), 30)]

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for k in torch.randperm(len(self.batches)).tolist():
            yield self.batches[k]


def in_buckets():
    x, y = texts()
    rows = list(zip(x, y, strict=True))
    return DataLoader(rows, batch_sampler=Buckets(list(map(len, x))), collate_fn=to_the_longest)


class Fitted(L.LightningModule):
    """One network that gives logits (n, 1) of two classes."""

    def __init__(self, net):
        super().__init__()
        self.net = initialised(net)

    def forward(self, *inputs):
        return self.net(*inputs)

    def training_step(self, batch, batch_idx):
        *inputs, y = batch
        return F.binary_cross_entropy_with_logits(self(*inputs).view(-1), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Recurrent(nn.Module):
    """The state behind the last word, by packing."""

    def __init__(self, kind=nn.LSTM, dropout=0.0, bidirectional=False):
        super().__init__()
        self.words = nn.Embedding(WORDS, 8)
        self.dropout = nn.Dropout(dropout)
        self.rnn = kind(8, 6, batch_first=True, bidirectional=bidirectional)
        self.out = nn.Linear(12 if bidirectional else 6, 1)

    def forward(self, x, lengths=None):
        if lengths is None:
            lengths = (x != 0).sum(dim=1)
        packed = pack_padded_sequence(
            self.dropout(self.words(x)), lengths, batch_first=True, enforce_sorted=False
        )
        h = self.rnn(packed)[1]
        h = h[0] if isinstance(h, tuple) else h
        return self.out(torch.cat(list(h), dim=1))


class AtTheEnd(Recurrent):
    """The state behind the last word, taken out of all of them; or another one."""

    def __init__(self, at=-1, **settings):
        super().__init__(**settings)
        self.at = at

    def forward(self, x):
        steps = self.rnn(self.words(x))[0]
        last = (x != 0).sum(dim=1) + self.at
        return self.out(steps[torch.arange(len(x)), last])


class OfPadding(Recurrent):
    """The last step, be it padding or not."""

    def forward(self, x):
        return self.out(self.rnn(self.words(x))[0][:, -1])


class Mean(nn.Module):
    def __init__(self, *, masked=True, padding_idx=None):
        super().__init__()
        self.words = nn.Embedding(WORDS, 8, padding_idx=padding_idx)
        self.out = nn.Linear(8, 1)
        self.masked = masked

    def forward(self, x):
        vectors = self.words(x)
        if not self.masked:
            return self.out(vectors.mean(dim=1))
        mask = (x != 0).unsqueeze(-1).to(vectors.dtype)
        return self.out((vectors * mask).sum(dim=1) / mask.sum(dim=1))


def fitted(net, collate=to_the_longest):
    return {"module": Fitted(net), "loader": loader(collate)}


def lstm():
    return fitted(Recurrent())


def lstm_of_lengths():
    return fitted(Recurrent(), with_lengths)


def lstm_in_buckets():
    return {"module": Fitted(Recurrent()), "loader": in_buckets()}


def gru():
    return fitted(Recurrent(nn.GRU))


def lstm_in_a_loop():
    """The same as a training loop has it."""
    return {
        "module": initialised(nn.Sequential(Recurrent(), nn.Flatten(0))),
        "loss": nn.BCEWithLogitsLoss(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "loader": loader(),
    }


def dropped():
    return fitted(Recurrent(dropout=0.3))


def bidirectional():
    return fitted(Recurrent(bidirectional=True))


def last_word():
    return fitted(AtTheEnd())


def mean():
    return fitted(Mean())


def mean_with_padding_index():
    return fitted(Mean(padding_idx=0))


def unmasked_mean():
    return fitted(Mean(masked=False))


def unmasked_lstm():
    return fitted(OfPadding())


def one_length(net, **options):
    return fitted(net, partial(to_one_length, **options))


def one_length_lstm():
    return one_length(OfPadding())


def one_length_mean():
    return one_length(Mean(masked=False))


def one_length_in_front():
    return one_length(OfPadding(), in_front=True)


def word_before():
    return fitted(AtTheEnd(at=-2))


def lengths_too_short():
    return fitted(Recurrent(), partial(with_lengths, more=-1))


def series():
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 2)).astype("float32") for n in rng.integers(3, LONGEST + 1, 130)]
    return x, np.array([row.sum() for row in x], "float32")


class OfSeries(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 5, batch_first=True)
        self.out = nn.Linear(5, 1)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.out(self.rnn(packed)[1][-1])


class Regression(Fitted):
    def training_step(self, batch, batch_idx):
        x, y, lengths = batch
        return F.mse_loss(self(x, lengths).view(-1), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def of_series(batch):
    """Lengths behind the targets."""
    x = [torch.from_numpy(row) for row, _ in batch]
    y = torch.tensor(np.array([y for _, y in batch]))
    return pad_sequence(x, batch_first=True), y, torch.tensor([len(row) for row in x])


def masked_series():
    rows = list(zip(*series(), strict=True))
    return {
        "module": Regression(OfSeries()),
        "loader": DataLoader(rows, batch_size=30, shuffle=True, collate_fn=of_series),
    }


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, 8)
        self.conv = nn.Conv1d(8, 6, 3)
        self.out = nn.Linear(6, 1)
        nn.init.xavier_uniform_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        return self.out(self.conv(self.words(x).transpose(1, 2)).relu().amax(dim=2))


def convolution():
    return fitted(Convolution())


class Stacked(nn.Module):
    """Two layers in one call on packed rows."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, 8)
        self.first = nn.LSTM(8, 6, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.second = nn.LSTM(6, 5, batch_first=True)
        self.out = nn.Linear(5, 1)

    def forward(self, x):
        lengths = (x != 0).sum(dim=1)
        packed = pack_padded_sequence(
            self.words(x), lengths, batch_first=True, enforce_sorted=False
        )
        steps, _ = pad_packed_sequence(self.first(packed)[0], batch_first=True)
        packed = pack_padded_sequence(
            self.dropout(steps), lengths, batch_first=True, enforce_sorted=False
        )
        return self.out(self.second(packed)[1][0][-1])


def stacked():
    return fitted(Stacked())


class BidirectionalMean(nn.Module):
    def __init__(self, *, masked=True):
        super().__init__()
        self.words = nn.Embedding(WORDS, 8)
        self.rnn = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.out = nn.Linear(12, 1)
        self.masked = masked

    def forward(self, x):
        lengths = (x != 0).sum(dim=1)
        packed = pack_padded_sequence(
            self.words(x), lengths, batch_first=True, enforce_sorted=False
        )
        steps, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        if not self.masked:
            return self.out(steps.mean(dim=1))
        return self.out(steps.sum(dim=1) / lengths[:, None])


def bidirectional_mean():
    return fitted(BidirectionalMean())


def bidirectional_mean_of_padding():
    return fitted(BidirectionalMean(masked=False))


class Attention(nn.Module):
    def __init__(self, *, masked=True):
        super().__init__()
        self.words = nn.Embedding(WORDS, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 1)
        self.masked = masked

    def forward(self, x, mask):
        z = self.words(x)
        z, _ = self.attention(z, z, z, key_padding_mask=~mask if self.masked else None)
        kept = mask.unsqueeze(-1).to(z.dtype)
        return self.out((z * kept).sum(dim=1) / kept.sum(dim=1))


def with_mask(batch):
    x, y = to_the_longest(batch)
    return {"words": x, "mask": x != 0, "label": y}


class OfMask(Fitted):
    def forward(self, words, mask):
        return self.net(words, mask)

    def training_step(self, batch, batch_idx):
        z = self(batch["words"], batch["mask"]).view(-1)
        return F.binary_cross_entropy_with_logits(z, batch["label"])


def attention(*, masked=True):
    net = Attention(masked=masked)
    for weight in net.attention.in_proj_weight.detach().chunk(3):
        nn.init.xavier_uniform_(weight)
    nn.init.zeros_(net.attention.in_proj_bias)
    return {"module": OfMask(net), "loader": loader(with_mask)}


def attention_to_padding():
    return attention(masked=False)
