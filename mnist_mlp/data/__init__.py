"""Data sets: MNIST from a folder, a cache or the net, a user's IDX files, the embedded digits."""

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.data.digits import DIGITS_DIGEST
from mnist_mlp.data.facts import LIBRARIES, MNIST_DIGEST
from mnist_mlp.data.load import load_dataset

__all__ = ["DIGITS_DIGEST", "LIBRARIES", "MNIST_DIGEST", "Dataset", "load_dataset"]
