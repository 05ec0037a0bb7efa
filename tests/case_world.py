"""What a case finds around it: the cases themselves, MNIST as its users have it, no network.

The four IDX files, torchvision's folder and Keras's cache are filled from `MNIST_MLP_DATA`, or from
the embedded digits where MNIST is absent.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mnist_mlp.data import Dataset, load_dataset
from mnist_mlp.data.idx import write_idx

ROOT = Path(__file__).parent.parent
CASES = Path(__file__).parent / "cases"
TRAIN = 60_000
"""Rows of MNIST's own training files; the digits have as many in all."""


@dataclass(frozen=True)
class World:
    """A temporary folder with a copy of the cases, and what a command there has to be told."""

    cases: Path
    data: str
    environment: Mapping[str, str]


@contextmanager
def world() -> Iterator[World]:
    """Make the folders, and take them away again."""
    chosen = os.environ.get("MNIST_MLP_DATA")
    data = load_dataset("auto", data_dir=Path(chosen)) if chosen else load_dataset("digits")
    with TemporaryDirectory(prefix="cases-") as folder:
        home = Path(folder)
        yield made(home, data)


def made(home: Path, data: Dataset, *, train: int = TRAIN) -> World:
    """Fill a folder."""
    # A copy: some cases write beside themselves, and a folder of tests is no place for that.
    cases = home / "cases"
    shutil.copytree(CASES, cases, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    raw, zipped, keras = (
        home / "torchvision" / "MNIST" / "raw",
        home / "idx",
        home / "keras" / "datasets",
    )
    for each in (raw, zipped, keras):
        each.mkdir(parents=True)
    for part, rows in (("train", slice(0, train)), ("t10k", slice(train, None))):
        write_idx(raw / f"{part}-images-idx3-ubyte", data.images[rows])
        write_idx(raw / f"{part}-labels-idx1-ubyte", data.labels[rows])
    for file in raw.iterdir():
        with gzip.open(zipped / f"{file.name}.gz", "wb", compresslevel=1) as packed:
            packed.write(file.read_bytes())
    np.savez(
        keras / "mnist.npz",
        x_train=data.images[:train],
        y_train=data.labels[:train],
        x_test=data.images[train:],
        y_test=data.labels[train:],
    )
    # The path that runs this process is the one whose code is judged.
    path = [str(CASES / "site"), str(ROOT), str(ROOT / "backends")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MNIST_MLP_DATA": str(zipped),
        "TORCHVISION_DATA": str(home / "torchvision"),
        "KERAS_HOME": str(home / "keras"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return World(cases, data.name, environment)


def main() -> None:
    """For a look by hand: fill the folder that is named, and say what to export."""
    home = Path(sys.argv[1])
    chosen = os.environ.get("MNIST_MLP_DATA")
    data = load_dataset("auto", data_dir=Path(chosen)) if chosen else load_dataset("digits")
    here = made(home, data)
    for name in ("PYTHONPATH", "MNIST_MLP_DATA", "TORCHVISION_DATA", "KERAS_HOME"):
        print(f"export {name}={here.environment[name]}")


if __name__ == "__main__":
    main()
