"""Data sets: MNIST from wherever it can be had, a user's own IDX files, or the embedded digits."""

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.data.digits import DIGITS_DIGEST
from mnist_mlp.data.facts import LIBRARIES, MNIST_DIGEST
from mnist_mlp.data.load import load_dataset

__all__ = ["DIGITS_DIGEST", "LIBRARIES", "MNIST_DIGEST", "Dataset", "load_dataset"]
