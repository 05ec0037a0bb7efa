"""Fetch MNIST through a library and leave it as four IDX files.

    python -m mnist_mlp.data.fetch torchvision DEST [MIRROR]

A program of its own, run by `libraries.py`: importing torch and TensorFlow into one process can
abort it, and the core imports neither. Nothing is checked here; whoever reads DEST compares the
digest. On failure the last line of stderr is the reason.
"""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.data.facts import FILES, LIBRARIES, NOT_IMPORTED
from mnist_mlp.data.idx import write_idx

# None of the three libraries sets a time-out of its own.
READ_S = 20.0

# Train images, train labels, test images, test labels.
Parts = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def from_torchvision(scratch: Path, mirror: str | None) -> Parts:
    """MNIST as torchvision downloads it; it checks the MD5 of the published .gz files."""
    from torchvision.datasets import MNIST

    if mirror is not None:
        MNIST.mirrors = [mirror]
    train, test = (MNIST(str(scratch), train=part, download=True) for part in (True, False))
    return (
        train.data.numpy(),
        train.targets.numpy().astype(np.uint8),
        test.data.numpy(),
        test.targets.numpy().astype(np.uint8),
    )


def from_keras(_scratch: Path, _mirror: str | None) -> Parts:
    """MNIST as Keras downloads it; a copy in its own cache (`KERAS_HOME`) is used."""
    from keras.datasets import mnist

    (train_images, train_labels), (test_images, test_labels) = mnist.load_data()
    return train_images, train_labels, test_images, test_labels


def from_openml(_scratch: Path, _mirror: str | None) -> Parts:
    """MNIST as scikit-learn gets it from openml.org; a copy in scikit-learn's cache is used."""
    from sklearn.datasets import fetch_openml

    # liac-arff: the other parser needs pandas, which this project does not. One retry is the fewest
    # that is allowed: a machine that is offline stays so.
    bunch = fetch_openml(
        "mnist_784", version=1, as_frame=False, parser="liac-arff", n_retries=1, delay=0.5
    )
    images = bunch.data.astype(np.uint8).reshape(-1, 28, 28)
    labels = bunch.target.astype(np.uint8)
    n = len(labels) * 6 // 7  # OpenML keeps MNIST's order: 60,000 training rows of 70,000
    return images[:n], labels[:n], images[n:], labels[n:]


FETCHERS: dict[str, Callable[[Path, str | None], Parts]] = {
    "torchvision": from_torchvision,
    "keras": from_keras,
    "openml": from_openml,
}


def main(arguments: list[str]) -> int:
    """Fetch through the library named first, into the folder named second."""
    library, folder, *rest = arguments
    socket.setdefaulttimeout(READ_S)
    scratch = Path(folder) / "scratch"
    scratch.mkdir(parents=True)
    status = NOT_IMPORTED
    try:
        importlib.import_module(LIBRARIES[library].module)
        status = 1
        parts = FETCHERS[library](scratch, rest[0] if rest else None)
    # Whatever a library raises is told in one line: the parent makes it the user's error.
    except Exception as err:
        text = " ".join(str(err).split()) or "no reason given"
        print(f"{type(err).__name__}: {text[:300]}", file=sys.stderr)
        return status
    for name, values in zip(FILES, parts, strict=True):
        write_idx(Path(folder) / name, values)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
