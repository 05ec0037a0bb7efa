"""What every case begins with: a finished run, its data, and files that must stay as they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torture.process import MARK, case_folder, heed_interrupts

from mnist_mlp.data import Dataset
from mnist_mlp.data.idx import write_idx
from mnist_mlp.errors import InterruptedRun
from mnist_mlp.run.folder import HistoryRow
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.training import Observer, train

ROOT = Path(__file__).parent.parent.parent
SIZES = "model.layer_sizes=[30,9,4]"
"""The network that fits the data: 30 pixels, 4 classes."""


@dataclass(frozen=True)
class World:
    """A folder with `run`, its copy `twin`, the unfinished run `stopped`, `data` and `precious`.

    Each case gets a copy of it.
    """

    folder: Path
    kept: Path
    """A folder for what several cases share, such as a run that was not stopped."""

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """A case's own folder."""
        with case_folder() as folder:
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)
            (folder / "tmp").mkdir()
            yield folder

    def environment(self, folder: Path, changes: Mapping[str, str | None]) -> dict[str, str]:
        """The environment of a case's commands; a change to None removes a variable."""
        # The commands import the program from this checkout.
        paths = (ROOT, ROOT / "backends", os.environ.get("PYTHONPATH") or ROOT)
        values: dict[str, str | None] = {
            "PATH": os.environ.get("PATH"),
            "LANG": os.environ.get("LANG"),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "MNIST_MLP_DATA": "data",
            "MNIST_MLP_CACHE": "cache",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            MARK: folder.name,
            **changes,
        }
        return {name: value for name, value in values.items() if value is not None}


def small_data() -> Dataset:
    """250 images of 6 x 5 pixels in 4 classes that can be learnt: a bright row tells the class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 250).astype(np.uint8)
    images = rng.integers(0, 120, (250, 6, 5)).astype(np.uint8)
    images[np.arange(250), labels] += 120
    return Dataset(name="idx", source="made up", images=images, labels=labels, classes=4)


def small_spec() -> Spec:
    """Three epochs of a small network."""
    return parse_spec(
        {
            "name": "small",
            "seed": 3,
            "model": {"layer_sizes": [30, 9, 4]},
            "optimizer": {"learning_rate": 0.5, "momentum": 0.5},
            "training": {"batch_size": 32, "epochs": 3},
        }
    )


def write_data(data: Dataset, folder: Path) -> None:
    """Write a data set as four IDX files: 200 training rows, 50 test rows."""
    folder.mkdir()
    for name, rows in (("train", slice(0, 200)), ("t10k", slice(200, 250))):
        write_idx(folder / f"{name}-images-idx3-ubyte", data.images[rows])
        write_idx(folder / f"{name}-labels-idx1-ubyte", data.labels[rows])


def write_seven(path: Path) -> None:
    """Write a picture on which a seven is drawn."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (60, 80), "white")
    ImageDraw.Draw(picture).line([(10, 12), (50, 12), (25, 70)], fill="black", width=6)
    picture.save(path)


def _stop_after_two(row: HistoryRow) -> None:
    if row.epoch == 2:
        raise InterruptedRun("interrupted")


@contextmanager
def made_world() -> Iterator[World]:
    """Make the folder that all cases are copied from."""
    heed_interrupts()
    with case_folder() as folder, case_folder() as kept:
        data = small_data()
        write_data(data, folder / "data")
        train(small_spec(), backend="numpy", dataset=data, out=folder / "run")
        with suppress(InterruptedRun):
            train(
                small_spec(), backend="numpy", dataset=data, out=folder / "stopped",
                observer=Observer(epoch=_stop_after_two),
            )  # fmt: skip
        shutil.rmtree(folder / "run" / "figures")  # pictures take longer to copy than all else
        shutil.copytree(folder / "run", folder / "twin")
        write_seven(folder / "seven.png")
        precious = folder / "precious"
        precious.mkdir()
        (precious / "thesis.txt").write_text("five years\n")
        (precious / "history.csv").write_text("a file of the user that has a name of ours\n")
        yield World(folder, kept)
