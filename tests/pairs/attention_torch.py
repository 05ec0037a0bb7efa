"""Ports of `attention_keras.py`, faithful, and some with a fault."""

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def initialised(module):
    for layer in module.modules():
        if isinstance(layer, nn.MultiheadAttention):
            for part in layer.in_proj_weight.chunk(3):  # else taken for one of 8 to 24
                nn.init.xavier_uniform_(part)
            nn.init.zeros_(layer.in_proj_bias)
        elif isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return module


class Packed(nn.Module):
    """torch's own, as the original calls it."""

    heads, batch_first = 2, True

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, self.heads, batch_first=self.batch_first)

    def forward(self, x, mask=None):
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


class Steps(Packed):
    """With the steps first."""

    batch_first = False

    def forward(self, x, mask=None):
        x = x.transpose(0, 1)
        return self.attention(x, x, x, attn_mask=mask)[0].transpose(0, 1)


class ByHand(nn.Module):
    """Four dense layers, in the order that nanoGPT has."""

    heads, scale = 2, None

    def __init__(self):
        super().__init__()
        self.key, self.query, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.result = nn.Linear(8, 8)

    def apart(self, x):
        return x.view(len(x), -1, self.heads, 8 // self.heads).transpose(1, 2)

    def forward(self, x, mask=None):
        k, q, v = (self.apart(layer(x)) for layer in (self.key, self.query, self.value))
        return self.result(self.attend(q, k, v, mask).transpose(1, 2).reshape(len(x), -1, 8))

    def attend(self, q, k, v, mask):
        allowed = None if mask is None else ~mask
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=self.scale)


class ByMatrices(ByHand):
    """No function of torch's."""

    def attend(self, q, k, v, mask):
        scores = q @ k.transpose(-2, -1) / self.divisor(q)
        return F.softmax(scores, dim=-1) @ v

    def divisor(self, q):
        return q.shape[-1] ** 0.5


class Averaged(ByHand):
    """The heads' weights are averaged before they are used."""

    def attend(self, q, k, v, mask):
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        return scores.softmax(-1).mean(1, keepdim=True) @ v


class Interleaved(ByHand):
    """A head has every second feature."""

    def apart(self, x):
        return x.view(len(x), -1, 8 // self.heads, self.heads).permute(0, 3, 1, 2)


class OneLayer(ByHand):
    """Query, key and value in one dense layer: nobody can map that."""

    def __init__(self):
        super().__init__()
        for name in ("key", "query", "value"):
            delattr(self, name)
        self.all = nn.Linear(8, 24)

    def forward(self, x, mask=None):
        q, k, v = (self.apart(part) for part in self.all(x).chunk(3, dim=-1))
        return self.result(self.attend(q, k, v, mask).transpose(1, 2).reshape(len(x), -1, 8))


class Port(L.LightningModule):
    mask, pooled, rate = None, True, 0.1

    def __init__(self, attention):
        super().__init__()
        self.attention = attention
        self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8)])
        self.wide, self.narrow, self.out = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)
        initialised(self)

    def forward(self, x):
        x = self.norms[0](x + self.attention(x, self.mask))
        x = self.norms[1](x + self.narrow(F.relu(self.wide(x))))
        return self.out(x.mean(1) if self.pooled else x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x).reshape(-1, 3), y.reshape(-1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate, momentum=0.5)


def with_fault(kind, **changes):
    return type(kind.__name__, (kind,), changes)()


def packed():
    return Port(Packed())


def steps_first():
    return Port(Steps())


def by_hand():
    return Port(ByHand())


def by_matrices():
    return Port(ByMatrices())


def one_layer():
    return Port(OneLayer())


def dropped():
    port = Port(Packed())
    port.attention.attention.dropout = 0.1
    return port


def heads():
    return Port(with_fault(Packed, heads=4))


def batch_first_missing():
    return Port(with_fault(Packed, batch_first=False))


def no_scale():
    return Port(with_fault(ByHand, scale=1.0))


def scale_of_all_heads():
    return Port(with_fault(ByHand, scale=8**-0.5))


def no_scale_in_matrices():
    return Port(with_fault(ByMatrices, divisor=lambda self, q: 1))


def averaged():
    return Port(Averaged())


def interleaved():
    return Port(Interleaved())


class Adamax(Port):
    def configure_optimizers(self):
        return torch.optim.Adamax(self.parameters(), lr=0.01, eps=1e-7)


def by_adamax():
    return Adamax(Packed())


def faster():
    return type("Port", (Port,), {"rate": 0.1 * 1.00001})(Packed())


LATER = torch.ones(6, 6, dtype=torch.bool).triu(1)


def masked(mask, attention=None):
    return type("Port", (Port,), {"mask": mask, "pooled": False})(attention or Packed())


def causal():
    return masked(LATER)


def causal_by_numbers():
    mask = torch.zeros(6, 6, dtype=torch.float64).masked_fill(LATER, -torch.inf)
    return masked(mask)


class Causal(ByHand):
    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def causal_by_hand():
    return masked(None, Causal())


def causal_missing():
    return masked(None)


def inverted():
    """True where Keras may look."""
    return masked(~LATER)


def inverted_by_hand():
    """As for `nn.MultiheadAttention`, though the function wants it otherwise."""
    return masked(~LATER, ByHand())


NEAR = (torch.arange(6)[:, None] - torch.arange(6)).abs() < 2


def window():
    return type("Port", (Port,), {"mask": ~NEAR, "pooled": False})(Packed())


def window_inverted():
    return type("Port", (Port,), {"mask": NEAR, "pooled": False})(Packed())


class Cross(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, 3)
        initialised(self)

    def attend(self, x, memory):
        return self.attention(x, memory, memory)[0]

    def forward(self, x, memory):
        return self.out(self.norm(self.attend(x, memory)))

    def training_step(self, batch, batch_idx):
        (x, memory), y = batch
        return F.cross_entropy(self(x, memory).transpose(1, 2), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.5)


def cross():
    return Cross()


class Padded(Cross):
    """Padded steps look at the others, as nobody reads them later."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8)
        nn.init.uniform_(self.words.weight, -0.05, 0.05)
        del self.norm

    def forward(self, ids):
        x, here = self.words(ids), (ids != 0)[..., None]
        x = x + self.attention(x, x, x, key_padding_mask=ids == 0)[0]
        return self.out((x * here).sum(1) / here.sum(1))

    def training_step(self, batch, batch_idx):
        ids, y = batch
        return F.cross_entropy(self(ids), y)


def padded():
    return Padded()


def brought(module, *shape):
    """An original brings data, with targets of a shape."""
    maker = torch.Generator().manual_seed(0)
    x = torch.randn(90, 6, 8, generator=maker)
    y = torch.randint(0, 3, (90, *shape), generator=maker)
    return {"module": module, "loader": DataLoader(TensorDataset(x, y), batch_size=30)}


def original():
    return brought(packed())


def original_by_hand():
    return brought(by_hand())


def original_of_four_heads():
    return brought(heads())


def causal_original():
    return brought(causal(), 6)


def window_original():
    return brought(window(), 6)
