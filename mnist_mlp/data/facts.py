"""Constants about MNIST: its files, their checksums, mirrors and libraries that provide it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

# The four files and the MD5 of their decompressed bytes. Mirrors compress differently, so the .gz
# files have no common checksum.
FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

# `Dataset.digest` of the 70,000 images, the same for every source.
MNIST_DIGEST = "26c54b39366b4b22a4098ead67c042175cc029d8d31f194fd38b29afba69bfb5"

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


class Library(NamedTuple):
    """A library that can download MNIST: the module to import, and the command to install it."""

    module: str
    install: str


LIBRARIES = {
    "torchvision": Library("torchvision", "pip install 'mnist-mlp[torch]'"),
    "keras": Library("keras", "pip install 'mnist-mlp[keras]'"),
    "openml": Library("sklearn", "pip install mnist-mlp"),
}

# Exit status of the download process if the library is installed but cannot be imported.
NOT_IMPORTED = 3

REMEDY = (
    "Give a folder with the four IDX files (--data-dir), another mirror (--mirror URL), "
    "or use the embedded set (--dataset digits)."
)

Say = Callable[[str], None]


def quiet(_line: str) -> None:
    """Ignore a message."""
