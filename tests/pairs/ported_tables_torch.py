"""Ports of `ported_tables_keras.py`, faithful, and some with a fault."""

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def initialised(module):
    """As Keras does it, where torch has it otherwise."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            nn.init.uniform_(layer.weight, -0.05, 0.05)
    return module


def numbers(rows=120, columns=6):
    """Rows of a table with a number each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns)).astype("float32")
    y = (x @ rng.normal(size=columns) + rng.normal(size=rows)).astype("float32")
    return x, y[:, None]


def classes():
    x, y = numbers()
    return x, np.digitize(y[:, 0], [-1.0, 1.0])


def loader(*arrays, size=16):
    return DataLoader(
        TensorDataset(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)),
        batch_size=size,
        shuffle=True,
    )


class Port(L.LightningModule):
    """Trains any network by any loss of outputs and targets."""

    def __init__(self, net, loss, rate=0.05):
        super().__init__()
        self.net, self.loss, self.rate = initialised(net), loss, rate

    def forward(self, *x):
        return self.net(*x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.loss(self(*x) if isinstance(x, list | tuple) else self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate)


def with_data(module, *arrays, size=16):
    return {"module": module, "loader": loader(*arrays, size=size)}


def entropy(p, y):
    return F.binary_cross_entropy_with_logits(p.view(-1), y.view(-1))


class NCF(nn.Module):
    def __init__(self, swapped=False):
        super().__init__()
        self.users, self.items = nn.Embedding(30, 5), nn.Embedding(40, 5)
        self.hidden, self.out, self.swapped = nn.Linear(10, 6), nn.Linear(7, 1), swapped

    def forward(self, user, item):
        u, v = self.users(user).flatten(1), self.items(item).flatten(1)
        h = F.relu(self.hidden(torch.cat([v, u] if self.swapped else [u, v], dim=1)))
        product = torch.einsum("bi,bi->b", u, v)[:, None]
        return self.out(torch.cat([product, h], dim=1))


def ncf():
    return Port(NCF(), entropy, 0.1)


def ncf_vectors_swapped():
    return Port(NCF(swapped=True), entropy, 0.1)


class WideAndDeep(nn.Module):
    def __init__(self, wide=True):
        super().__init__()
        self.deep = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU())
        self.out = nn.Linear(13 if wide else 7, 1)
        self.wide = wide

    def forward(self, x):
        deep = self.deep(x)
        return self.out(torch.cat([x, deep], 1) if self.wide else deep)


def wide_and_deep():
    return with_data(Port(WideAndDeep(), F.mse_loss, 0.01), *numbers())


def deep_only():
    return with_data(Port(WideAndDeep(wide=False), F.mse_loss, 0.01), *numbers())


class Factorisation(nn.Module):
    def __init__(self, half=0.5):
        super().__init__()
        self.half = half
        self.bias = nn.Parameter(torch.zeros(1))
        self.linear = nn.Parameter(torch.zeros(6, 1))
        self.factors = nn.Parameter(0.1 * torch.randn(6, 3))

    def forward(self, x):
        pairs = (x @ self.factors) ** 2 - (x**2) @ (self.factors**2)
        return self.bias + x @ self.linear + self.half * pairs.sum(1, keepdim=True)


def factorisation():
    return with_data(Port(Factorisation(), F.mse_loss, 0.01), *numbers())


def factorisation_not_halved():
    return with_data(Port(Factorisation(half=1.0), F.mse_loss, 0.01), *numbers())


class DeepSets(nn.Module):
    def __init__(self, pooled=torch.mean):
        super().__init__()
        self.each = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU())
        self.whole = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
        self.pooled = pooled

    def forward(self, x):
        return self.whole(self.pooled(self.each(x), dim=1))


def sets(module):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 7, 4)).astype("float32")
    return with_data(module, x, rng.integers(0, 3, 90))


def deep_sets():
    return sets(Port(DeepSets(), F.cross_entropy, 0.1))


def deep_sets_summed():
    return sets(Port(DeepSets(pooled=torch.sum), F.cross_entropy, 0.1))


class Siamese(nn.Module):
    def __init__(self, apart=torch.abs):
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))
        self.out, self.apart = nn.Linear(5, 1), apart

    def forward(self, a, b):
        return self.out(self.apart(self.tower(a) - self.tower(b)))


def siamese():
    return Port(Siamese(), entropy, 0.1)


def siamese_squared():
    return Port(Siamese(apart=torch.square), entropy, 0.1)


class VAE(L.LightningModule):
    def __init__(self, factor=0.1, summed=True):
        super().__init__()
        self.hidden = nn.Linear(6, 8)
        self.mean, self.log_var = nn.Linear(8, 2), nn.Linear(8, 2)
        self.decoder = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 6))
        self.factor, self.summed = factor, summed
        initialised(self)

    def forward(self, x):
        h = F.relu(self.hidden(x))
        mean, log_var = self.mean(h), self.log_var(h)
        code = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        return self.decoder(code), mean, log_var

    def training_step(self, batch, batch_idx):
        x, y = batch
        made, mean, log_var = self(x)
        divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp())
        divergence = divergence.sum(1).mean() if self.summed else divergence.mean()
        return F.mse_loss(made, y) + self.factor * divergence

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def vae():
    x, _ = numbers()
    return with_data(VAE(), x, x)


def vae_mean_of_divergence():
    x, _ = numbers()
    return with_data(VAE(summed=False), x, x)


def vae_without_divergence():
    x, _ = numbers()
    return with_data(VAE(factor=0.0), x, x)


def regressor(loss):
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    return with_data(Port(net, loss), *numbers())


def quantile(level=0.9):
    def pinball(p, y):
        return torch.maximum(level * (y - p), (level - 1) * (y - p)).mean()

    return regressor(pinball)


def quantile_turned():
    return quantile(0.1)


def log_cosh():
    def loss(p, y):
        d = p - y
        return (d + F.softplus(-2 * d) - np.log(2.0)).mean()

    return regressor(loss)


def log_cosh_smooth_l1():
    return regressor(F.smooth_l1_loss)


class Weighted(Port):
    """Rows with a weight each."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        weights = torch.where(x[:, 0] > 0, 2.0, 0.5)
        return (weights * ((self(x) - y) ** 2).mean(1)).mean()


def sample_weights():
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    return with_data(Weighted(net, None), *numbers())


def sample_weights_left_out():
    return regressor(F.mse_loss)


def segmenter(loss, last=nn.Sigmoid):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 8, 8, 1)).astype("float32")
    y = (x > 0.5).astype("float32")
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1), last())
    x, y = (a.transpose(0, 3, 1, 2) for a in (x, y))
    return with_data(Port(net, loss, 0.1), x, y, size=8)


def dice(axes=(1, 2, 3)):
    def loss(p, y):
        shared = (y * p).sum(axes)
        return (1 - (2 * shared + 1) / (y.sum(axes) + p.sum(axes) + 1)).mean()

    return segmenter(loss)


def dice_of_batch():
    """Over the whole batch instead of row by row."""
    return dice(axes=(0, 1, 2, 3))


def focal(gamma=2.0):
    def loss(p, y):
        plain = F.binary_cross_entropy(p, y, reduction="none")
        return ((1 - torch.exp(-plain)) ** gamma * plain).mean()

    return segmenter(loss)


def focal_gamma():
    return focal(gamma=1.5)


def classifier(*body, loss=F.cross_entropy, kind=Port):
    return with_data(kind(nn.Sequential(*body), loss, 0.1), *classes())


def normed():
    return nn.LayerNorm(6, eps=1e-3), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3)


def smoothed():
    return classifier(*normed(), loss=nn.CrossEntropyLoss(label_smoothing=0.1))


def smoothed_not():
    return classifier(*normed(), loss=nn.CrossEntropyLoss())


def weighted_classes():
    """Keras divides by the number of rows, not by the sum of their weights."""
    weights = torch.tensor([1.0, 2.0, 0.5])

    def loss(p, y):
        return (F.cross_entropy(p, y, reduction="none") * weights.to(p.dtype)[y]).mean()

    return classifier(*normed(), loss=loss)


def weighted_classes_by_torch():
    return classifier(*normed(), loss=nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5])))


def self_normalising(drop=nn.AlphaDropout):
    first, second, last = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 3)
    made = classifier(first, nn.SELU(), drop(0.1), second, nn.SELU(), last)
    for layer in (first, second):
        std = layer.in_features**-0.5 / 0.87962566
        nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    return made


def self_normalising_plain_dropout():
    return self_normalising(drop=nn.Dropout)


def self_normalising_by_torch():
    made = self_normalising()
    for layer in (made["module"].net[0], made["module"].net[3]):
        layer.reset_parameters()
        nn.init.zeros_(layer.bias)
    return made


class RMSNorm(nn.Module):
    def __init__(self, epsilon=1e-6):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(8)), epsilon

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)


def rms_norm():
    return classifier(nn.Linear(6, 8), RMSNorm(), nn.SiLU(), nn.Linear(8, 3))


def rms_norm_of_torch():
    return classifier(nn.Linear(6, 8), nn.RMSNorm(8, eps=1e-6), nn.SiLU(), nn.Linear(8, 3))


def rms_norm_epsilon():
    return classifier(nn.Linear(6, 8), RMSNorm(1e-3), nn.SiLU(), nn.Linear(8, 3))


def rms_norm_layer_norm():
    return classifier(nn.Linear(6, 8), nn.LayerNorm(8, eps=1e-6), nn.SiLU(), nn.Linear(8, 3))


def own_dense():
    return classifier(nn.Linear(6, 8), nn.LayerNorm(8, eps=1e-3), nn.ReLU(), nn.Linear(8, 3))


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x + 0.1


def nested(factor=0.5):
    inner = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8, eps=1e-3))
    encoder = nn.Sequential(Scaled(factor), inner, nn.Linear(8, 5), nn.ReLU())
    return classifier(encoder, nn.Linear(5, 3))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 4)
        self.offset = nn.Parameter(torch.zeros(6))

    def forward(self, x):
        return torch.tanh(self.encoder(x)) @ self.encoder.weight + self.offset


class Untied(nn.Module):
    """The decoder has a kernel of its own."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(4, 6)

    def forward(self, x):
        return self.decoder(torch.tanh(self.encoder(x)))


class Cut(Tied):
    """The decoder does not train the kernel."""

    def forward(self, x):
        return torch.tanh(self.encoder(x)) @ self.encoder.weight.detach() + self.offset


def tied(net=Tied):
    x, _ = numbers()
    return with_data(Port(net(), F.mse_loss), x, x)


def tied_not():
    return tied(Untied)


def tied_cut():
    return tied(Cut)


def cosine_similarity(sign=-1.0):
    x, _ = numbers()
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 6))

    def loss(p, y):
        return sign * (F.normalize(p, dim=1) * F.normalize(y, dim=1)).sum(1).mean()

    return with_data(Port(net, loss), x, x[:, ::-1])


def cosine_similarity_sign():
    return cosine_similarity(1.0)


def weight_norm():
    """The kernel is a direction and a length, which are two weights."""
    first = nn.utils.parametrizations.weight_norm(nn.Linear(6, 7))
    return classifier(nn.LayerNorm(6, eps=1e-3), first, nn.ReLU(), nn.Linear(7, 3))
