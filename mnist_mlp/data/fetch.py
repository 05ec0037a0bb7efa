"""Download MNIST with a library and write it as four IDX files.

    python -m mnist_mlp.data.fetch torchvision DEST [MIRROR]

`libraries.py` runs this in its own process: a process that imports both torch and TensorFlow can
abort, and the core imports neither. Nothing is checked here; the reader of DEST compares the
digest. On failure, the last line of stderr is the reason.
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

LARGEST = 512 * 2**20
"""Most bytes of a file that a library may write. OpenML's text takes 120 MB; a server that never
ends would fill the disk."""

# Train images, train labels, test images, test labels.
Parts = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def from_torchvision(scratch: Path, mirror: str | None) -> Parts:
    """Download MNIST with torchvision, which checks the MD5 of the published .gz files."""
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
    """Download MNIST with Keras, or read it from the Keras cache (`KERAS_HOME`)."""
    from keras.datasets import mnist

    (train_images, train_labels), (test_images, test_labels) = mnist.load_data()
    return train_images, train_labels, test_images, test_labels


def from_openml(_scratch: Path, _mirror: str | None) -> Parts:
    """Download MNIST from openml.org with scikit-learn, or read it from scikit-learn's cache."""
    from sklearn.datasets import fetch_openml

    # liac-arff, because the other parser needs pandas. One retry, the fewest that is allowed,
    # because retries don't help a machine that is offline.
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


def _limit_files() -> None:
    """Let no file of this process grow beyond `LARGEST`; writing more is an `OSError`."""
    try:
        import resource
    except ImportError:  # not POSIX
        return
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    known = [limit for limit in (LARGEST, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(known), hard))


def main(arguments: list[str]) -> int:
    """Download with the library `arguments[0]` into the folder `arguments[1]`."""
    library, folder, *rest = arguments
    socket.setdefaulttimeout(READ_S)
    _limit_files()
    scratch = Path(folder) / "scratch"
    scratch.mkdir(parents=True)
    status = NOT_IMPORTED
    try:
        importlib.import_module(LIBRARIES[library].module)
        status = 1
        parts = FETCHERS[library](scratch, rest[0] if rest else None)
    # Any error of a library becomes one line, which the parent shows to the user.
    except Exception as err:
        text = " ".join(str(err).split()) or "no reason given"
        print(f"{type(err).__name__}: {text[:300]}", file=sys.stderr)
        return status
    for name, values in zip(FILES, parts, strict=True):
        write_idx(Path(folder) / name, values)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
