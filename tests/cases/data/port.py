"""The same network in Lightning, and the ways in which it gets its rows."""

import os

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split
from torchvision import transforms
from torchvision.datasets import MNIST

from mnist_mlp.data import load_dataset

DATA = load_dataset()
IMAGES, LABELS = DATA.images[:4000], DATA.labels[:4000].astype("int64")
TEST_IMAGES, TEST_LABELS = DATA.images[60000:61000], DATA.labels[60000:61000].astype("int64")

X, Y = IMAGES.reshape(-1, 784).astype("float32") / 255, LABELS
X_TEST, Y_TEST = TEST_IMAGES.reshape(-1, 784).astype("float32") / 255, TEST_LABELS


class Net(L.LightningModule):
    def __init__(self, rate=0.1):
        super().__init__()
        self.rate = rate
        self.hidden = nn.Linear(784, 32)
        self.out = nn.Linear(32, 10)
        for layer in (self.hidden, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.out(F.relu(self.hidden(x.flatten(1))))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", F.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate)


class Dividing(Net):
    def forward(self, x):
        return super().forward(x / 255)


def rows(x, y):
    return TensorDataset(torch.as_tensor(x), torch.as_tensor(y))


def fed(train, test=None, *, rate=0.1, batch_size=64, shuffle=True, trainer=None, **options):
    test = test or rows(X_TEST, Y_TEST)
    return {
        "module": Net(rate),
        "loader": (
            DataLoader(train, batch_size=batch_size, shuffle=shuffle, **options),
            DataLoader(test, batch_size=batch_size),
        ),
        "trainer": {"max_epochs": 3, **(trainer or {})},
    }


def arrays():
    return fed(rows(X, Y))


def module_only():
    return {"module": Net(), "trainer": {"max_epochs": 3}}


def dividing_module_only():
    return {"module": Dividing(), "trainer": {"max_epochs": 3}}


def torchvision():
    root = os.environ["TORCHVISION_DATA"]
    train = MNIST(root, train=True, transform=transforms.ToTensor())
    test = MNIST(root, train=False, transform=transforms.ToTensor())
    return fed(Subset(train, range(4000)), Subset(test, range(1000)))


# --- Which rows -----------------------------------------------------------------------------------


def own_split(seed=1):
    x_train, x_val, y_train, y_val = train_test_split(
        X, Y, test_size=0.25, random_state=seed, stratify=Y
    )
    return fed(rows(x_train, y_train), rows(x_val, y_val))


def own_split_other_seed():
    return own_split(seed=2)


def half():
    """For a quick try; it stayed."""
    return fed(rows(X[:2000], Y[:2000]))


def oversampled():
    rare = Y == 8
    return fed(rows(np.concatenate([X, X[rare]]), np.concatenate([Y, Y[rare]])))


def last_fifth():
    return fed(rows(X[:3200], Y[:3200]), rows(X[3200:], Y[3200:]))


def random_fifth():
    train, held = random_split(rows(X, Y), [0.8, 0.2], torch.Generator().manual_seed(0))
    return fed(train, held)


def validates_on_training_rows():
    return fed(rows(X, Y), rows(X[:1000], Y[:1000]))


def two_labels():
    x, y = np.concatenate([X, X[:20]]), np.concatenate([Y, (Y[:20] + 1) % 10])
    return fed(rows(x, y))


def two_labels_deduplicated():
    """Each image once, with the label it had first."""
    x, y = np.concatenate([X, X[:20]]), np.concatenate([Y, (Y[:20] + 1) % 10])
    _, first = np.unique(x, axis=0, return_index=True)
    return fed(rows(x[np.sort(first)], y[np.sort(first)]))


def two_labels_by_image():
    """Labels kept in a dictionary: of two for one image, the later one stays."""
    x, y = np.concatenate([X, X[:20]]), np.concatenate([Y, (Y[:20] + 1) % 10])
    label = {image.tobytes(): int(digit) for image, digit in zip(x, y, strict=True)}
    return fed(rows(x, np.array([label[image.tobytes()] for image in x])))


# --- Order and batches ----------------------------------------------------------------------------


def unshuffled():
    return fed(rows(X, Y), shuffle=False)


def seeded():
    return fed(rows(X, Y), generator=torch.Generator().manual_seed(0))


def shuffled_once():
    order = np.random.default_rng(0).permutation(len(X))
    return fed(rows(X[order], Y[order]), shuffle=False)


def whole_batches():
    return fed(rows(X, Y), drop_last=True)


def small_batches():
    return fed(rows(X, Y), batch_size=32)


def half_an_epoch():
    return fed(rows(X, Y), trainer={"limit_train_batches": 0.5})


# --- Pixels and labels ----------------------------------------------------------------------------


def never_scaled():
    return fed(rows(X * 255, Y), rows(X_TEST * 255, Y_TEST))


def never_scaled_slow():
    return fed(rows(X * 255, Y), rows(X_TEST * 255, Y_TEST), rate=1e-4)


def scaled_slow():
    return fed(rows(X, Y), rate=1e-4)


def scaled_twice():
    """ToTensor has divided already."""
    to_tensor = transforms.ToTensor()
    x = torch.stack([to_tensor(image) for image in IMAGES]) / 255
    x_test = torch.stack([to_tensor(image) for image in TEST_IMAGES]) / 255
    return fed(rows(x, Y), rows(x_test, Y_TEST))


def validation_never_scaled():
    return fed(rows(X, Y), rows(X_TEST * 255, Y_TEST))


def one_hot():
    y, y_test = (np.eye(10, dtype="float32")[part] for part in (Y, Y_TEST))
    return fed(rows(X, y), rows(X_TEST, y_test))


def labels_left_behind():
    """The images are mixed, the labels are not."""
    order = np.random.default_rng(0).permutation(len(X))
    return fed(rows(X[order], Y))


def channels_first():
    return fed(
        rows(X.reshape(-1, 1, 28, 28), Y),
        rows(X_TEST.reshape(-1, 1, 28, 28), Y_TEST),
    )


def channels_first_turned():
    """From (n, height, width, 1) to (n, 1, width, height)."""
    x = torch.from_numpy(X.reshape(-1, 28, 28, 1)).permute(0, 3, 2, 1)
    x_test = torch.from_numpy(X_TEST.reshape(-1, 28, 28, 1)).permute(0, 3, 2, 1)
    return fed(rows(x, Y), rows(x_test, Y_TEST))
