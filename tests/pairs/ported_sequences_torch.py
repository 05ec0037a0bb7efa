"""Ports of `ported_sequences_keras.py`, faithful, and some with a fault."""

import math

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn


def initialised(module):
    """As Keras does it, where torch has it otherwise."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            nn.init.uniform_(layer.weight, -0.05, 0.05)
        elif isinstance(layer, nn.LSTM | nn.GRU):
            for name, parameter in layer.named_parameters():
                if "weight_ih" in name:
                    nn.init.xavier_uniform_(parameter)
                elif "weight_hh" in name:
                    nn.init.orthogonal_(parameter)
                else:
                    nn.init.zeros_(parameter)
                    if "bias_ih" in name and isinstance(layer, nn.LSTM):
                        with torch.no_grad():
                            parameter[layer.hidden_size : 2 * layer.hidden_size] = 1
                    if "bias_hh" in name and isinstance(layer, nn.LSTM):
                        parameter.requires_grad_(False)
        elif isinstance(layer, nn.MultiheadAttention):
            for part in layer.in_proj_weight.chunk(3):
                nn.init.xavier_uniform_(part)
            nn.init.zeros_(layer.in_proj_bias)
    return module


class Port(L.LightningModule):
    """Trains a network on classes, of each row or of each step."""

    def __init__(self, net, rate=0.1):
        super().__init__()
        self.net, self.rate = initialised(net), rate

    def forward(self, *x):
        return self.net(*x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        scores = self(*x) if isinstance(x, list | tuple) else self(x)
        return F.cross_entropy(scores.flatten(0, -2), y.flatten())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate, momentum=0.9)


class Causal(nn.Conv1d):
    """Pads in front, by as much as the window reaches back."""

    def forward(self, x):
        return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


class WaveNet(nn.Module):
    def __init__(self, dilations=(1, 2, 4), conv=Causal, gate=torch.sigmoid):
        super().__init__()
        self.start, self.gate = conv(3, 6, 2), gate
        self.filters = nn.ModuleList(conv(6, 6, 2, dilation=d) for d in dilations)
        self.gates = nn.ModuleList(conv(6, 6, 2, dilation=d) for d in dilations)
        self.skips = nn.ModuleList(nn.Conv1d(6, 6, 1) for _ in dilations)
        self.hidden, self.out = nn.Conv1d(6, 8, 1), nn.Conv1d(8, 5, 1)

    def forward(self, x):
        x = self.start(x.transpose(1, 2))
        total = 0
        for filtered, gate, skip in zip(self.filters, self.gates, self.skips, strict=True):
            y = skip(torch.tanh(filtered(x)) * self.gate(gate(x)))
            x, total = x + y, total + y
        return self.out(F.relu(self.hidden(F.relu(total)))).transpose(1, 2)


class Same(nn.Conv1d):
    """Looks ahead: pads on both sides, and is cut off."""

    def forward(self, x):
        reach = (self.kernel_size[0] - 1) * self.dilation[0]
        return super().forward(F.pad(x, (reach // 2, reach - reach // 2)))


def wavenet():
    return Port(WaveNet())


def wavenet_same():
    return Port(WaveNet(conv=Same))


def wavenet_dilations():
    return Port(WaveNet(dilations=(1, 2, 3)))


def wavenet_gate():
    return Port(WaveNet(gate=torch.tanh))


class TCNBlock(nn.Module):
    def __init__(self, inputs, width, dilation, drop):
        super().__init__()
        self.convs = nn.ModuleList(
            [
                Causal(inputs, width, 3, dilation=dilation),
                Causal(width, width, 3, dilation=dilation),
            ]
        )
        self.drops = nn.ModuleList([drop(0.2), drop(0.2)])
        self.around = nn.Conv1d(inputs, width, 1) if inputs != width else nn.Identity()

    def forward(self, x):
        y = x
        for conv, drop in zip(self.convs, self.drops, strict=True):
            y = drop(F.relu(conv(y)))
        return F.relu(self.around(x) + y)


class TCN(nn.Module):
    def __init__(self, drop=nn.Dropout1d):
        super().__init__()
        self.blocks = nn.Sequential(TCNBlock(4, 6, 1, drop), TCNBlock(6, 6, 2, drop))
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.blocks(x.transpose(1, 2))[..., -1])


def tcn():
    return Port(TCN())


def tcn_single_numbers():
    return Port(TCN(drop=nn.Dropout))


class StackedLSTM(nn.Module):
    def __init__(self, drop=0.3):
        super().__init__()
        self.first = nn.LSTM(3, 6, batch_first=True)
        self.drop = nn.Dropout(drop)
        self.second = nn.LSTM(6, 5, batch_first=True)
        self.out = nn.Linear(5, 1)

    def forward(self, x):
        x = self.drop(self.first(x)[0])
        return self.out(self.second(x)[1][0][-1])


class Regression(Port):
    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.mse_loss(self(x).squeeze(1), y.view(-1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def stacked_lstm():
    return Regression(StackedLSTM())


def stacked_lstm_no_dropout():
    return Regression(StackedLSTM(drop=0.0))


class Tagger(nn.Module):
    def __init__(self, normalised=False):
        super().__init__()
        self.words, self.gru = nn.Embedding(25, 6), nn.GRU(6, 7, batch_first=True)
        self.out, self.normalised = nn.Linear(7, 4), normalised

    def forward(self, words):
        scores = self.out(self.gru(self.words(words))[0])
        return scores.softmax(-1) if self.normalised else scores


def tagger():
    return Port(Tagger())


def tagger_softmax_twice():
    return Port(Tagger(normalised=True))


class CharRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.lstm = nn.Embedding(20, 8), nn.LSTM(8, 9, batch_first=True)
        self.out = nn.Linear(9, 20)

    def forward(self, text):
        return self.out(self.lstm(self.words(text))[0])


class Transposed(Port):
    """As cross-entropy takes classes: behind the rows."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x).transpose(1, 2), y)


class Reshaped(Port):
    """The classes are taken for steps."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        scores = self(x)
        return F.cross_entropy(scores.transpose(1, 2).reshape(-1, scores.shape[-1]), y.flatten())


def char_rnn():
    return Transposed(CharRNN())


def char_rnn_reshaped():
    return Reshaped(CharRNN())


class CNNLSTM(nn.Module):
    def __init__(self, pooled=F.max_pool1d, last=-1):
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 3, padding="same")
        self.lstm, self.out = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)
        self.pooled, self.last = pooled, last

    def forward(self, x):
        x = self.pooled(F.relu(self.conv(x.permute(0, 2, 1))), 2)
        return self.out(self.lstm(x.permute(0, 2, 1))[0][:, self.last])


def cnn_lstm():
    return Port(CNNLSTM())


def cnn_lstm_average():
    return Port(CNNLSTM(pooled=F.avg_pool1d))


class Seq2Seq(nn.Module):
    def __init__(self, handed_on=True):
        super().__init__()
        self.handed_on = handed_on
        self.source, self.target = nn.Embedding(20, 6), nn.Embedding(22, 6)
        self.encoder, self.decoder = (nn.LSTM(6, 8, batch_first=True) for _ in range(2))
        self.out = nn.Linear(8, 22)

    def forward(self, source, target):
        _, state = self.encoder(self.source(source))
        y, _ = self.decoder(self.target(target), state if self.handed_on else None)
        return self.out(y)


class Hidden(Seq2Seq):
    """Only one of the two states is handed on."""

    def forward(self, source, target):
        _, (h, c) = self.encoder(self.source(source))
        y, _ = self.decoder(self.target(target), (h, torch.zeros_like(c)))
        return self.out(y)


def seq2seq():
    return Port(Seq2Seq())


def seq2seq_not_handed_on():
    return Port(Seq2Seq(handed_on=False))


def seq2seq_hidden_state_only():
    return Port(Hidden())


class Block(nn.Module):
    def __init__(self, causal, first):
        super().__init__()
        self.causal, self.first = causal, first
        self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8)])
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def attend(self, x):
        mask = None
        if self.causal:
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]

    def forward(self, x):
        if self.first:
            x = x + self.attend(self.norms[0](x))
            return x + self.mlp(self.norms[1](x))
        x = self.norms[0](x + self.attend(x))
        return self.norms[1](x + self.mlp(x))


class GPT(nn.Module):
    """Position vectors of its own, as nanoGPT's are a table."""

    def __init__(self, causal=True, first=True, spread=0.05):
        super().__init__()
        self.words = nn.Embedding(24, 8)
        self.position = nn.Parameter(torch.empty(1, 7, 8).uniform_(-spread, spread))
        self.blocks = nn.Sequential(*(Block(causal, first) for _ in range(2)))
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, 24)

    def forward(self, words):
        x = self.words(words) + self.position
        return self.out(self.norm(self.blocks(x)))


def gpt():
    return Port(GPT())


def gpt_not_causal():
    return Port(GPT(causal=False))


def gpt_post_norm():
    return Port(GPT(first=False))


class GPTWithTable(GPT):
    """Positions are looked up."""

    def __init__(self):
        super().__init__()
        del self.position
        self.positions = nn.Embedding(7, 8)

    def forward(self, words):
        x = self.words(words) + self.positions(torch.arange(words.shape[1]))
        return self.out(self.norm(self.blocks(x)))


def gpt_table():
    return Port(GPTWithTable())


class Encoder(nn.Module):
    """torch's own encoder."""

    def __init__(self, scaled=True, norm_first=False, activation="relu"):
        super().__init__()
        self.scaled = scaled
        self.words = nn.Embedding(24, 8)
        self.layer = nn.TransformerEncoderLayer(
            8,
            2,
            dim_feedforward=16,
            dropout=0.1,
            activation=activation,
            layer_norm_eps=1e-6,
            batch_first=True,
            norm_first=norm_first,
        )
        self.layer.self_attn.dropout = 0.0
        self.layer.dropout.p = 0.0
        self.out = nn.Linear(8, 3)
        steps = torch.arange(8.0)[:, None]
        angles = steps * torch.exp(torch.arange(0, 8, 2) * (-math.log(10000.0) / 8))
        table = torch.zeros(8, 8)
        table[:, ::2], table[:, 1::2] = torch.sin(angles), torch.cos(angles)
        self.register_buffer("table", table)

    def forward(self, words):
        x = self.words(words)
        if self.scaled:
            x = x * 8**0.5
        return self.out(self.layer(x + self.table).mean(1))


class ExactEncoder(Encoder):
    """The same, its table in float64 where the network is."""

    def forward(self, words):
        steps = torch.arange(8, dtype=self.words.weight.dtype)[:, None]
        angles = steps / 10000 ** (torch.arange(0, 8, 2, dtype=steps.dtype) / 8)
        self.table = torch.stack([torch.sin(angles), torch.cos(angles)], -1).flatten(1)
        return super().forward(words)


def encoder():
    return Port(ExactEncoder())


def encoder_single_table():
    return Port(Encoder())


def encoder_not_scaled():
    return Port(ExactEncoder(scaled=False))


def encoder_norm_first():
    return Port(ExactEncoder(norm_first=True))


def encoder_gelu():
    return Port(ExactEncoder(activation="gelu"))
