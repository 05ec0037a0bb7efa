"""Choose and load the data set of a run: which places are tried, and in which order."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from mnist_mlp.data.cache import cache_dir, filling
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.data.digits import load_embedded
from mnist_mlp.data.download import check_mirror, download_mnist
from mnist_mlp.data.facts import MNIST_DIGEST, Say, quiet
from mnist_mlp.data.idx import read_folder
from mnist_mlp.data.libraries import check_source, fetch_through
from mnist_mlp.errors import DataError, SetupError, UsageError

Choice = Literal["auto", "mnist", "digits"]
DATA_VARIABLE = "MNIST_MLP_DATA"


def load_dataset(
    dataset: Choice = "auto",
    *,
    data_dir: Path | None = None,
    source: str | None = None,
    mirror: str | None = None,
    download: bool = True,
    say: Say = quiet,
) -> Dataset:
    """Load all rows of a data set: first the rows of the training files, then the test files'.

    Parameters
    ----------
    dataset : {"auto", "mnist", "digits"}
        `auto` uses the given folder. Without one, it uses MNIST from the user's cache, else
        downloads it, and if that fails, uses the embedded set. `mnist` does the same, but accepts
        only MNIST's 70,000 images. `digits` is the embedded set.
    data_dir : Path, optional
        Folder with the four IDX files. None means the environment variable `MNIST_MLP_DATA`. With
        `auto`, the files may hold other data than MNIST; the data set is then called `idx`.
    source : str, optional
        `torchvision`, `keras` or `openml`: download with that library instead. If it fails, that is
        an error even with `auto`, because the user named it.
    mirror : str, optional
        URL to download from, instead of the known mirrors.
    download : bool
        Without it, `auto` uses the embedded set where MNIST is not in the cache, and says nothing.
    say : function of one line
        Called with messages for the user: a fallback, other data than MNIST, a download.

    Returns
    -------
    Dataset

    Raises
    ------
    UsageError
        An argument is unknown, or arguments contradict each other.
    DataError
        Files are missing or damaged, the data is not MNIST with `mnist`, or MNIST is unavailable.
    SetupError
        A library is not installed, or the cache cannot be written.
    """
    _check_arguments(dataset, data_dir=data_dir, source=source, mirror=mirror)
    if dataset == "digits":
        return load_embedded(say=say)
    if source is not None:
        return _from_library(source, mirror=mirror, say=say)
    folder = data_dir or folder_of_environment()
    if folder is not None:
        return _from_folder(folder, dataset, say)
    try:
        cached = _from_cache(cache_dir() / "mnist", say)
        if cached is None and not download and dataset == "auto":
            return load_embedded()
        return cached or _from_mirror(mirror, say)
    except (DataError, SetupError) as err:
        if dataset == "mnist":
            raise
        reason = str(err).splitlines()[0].rstrip(".")
        say(f"MNIST is not available ({reason}): using the embedded digits instead")
        return load_embedded(say=say)


def _check_arguments(
    dataset: str, *, data_dir: Path | None, source: str | None, mirror: str | None
) -> None:
    if dataset not in get_args(Choice):
        raise UsageError(
            f"unknown data set {dataset!r}: choose one of {', '.join(get_args(Choice))}."
        )
    given = {"--data-dir": data_dir, "--source": source, "--mirror": mirror}
    options = [option for option, value in given.items() if value is not None]
    if dataset == "digits" and options:
        raise UsageError(
            f"--dataset digits is embedded and cannot be combined with {', '.join(options)}. "
            "Drop one of the two."
        )
    if data_dir is not None and source is not None:
        raise UsageError(
            "--data-dir and --source contradict each other: the data is read from the folder or "
            "fetched through the library. Drop one of the two."
        )
    if mirror is not None:
        check_mirror(mirror)
    if source is not None:
        check_source(source, mirror=mirror)


def folder_of_environment() -> Path | None:
    """The folder that `MNIST_MLP_DATA` names; None if it is not set."""
    value = os.environ.get(DATA_VARIABLE)
    return Path(value).expanduser() if value else None


def _from_folder(folder: Path, dataset: Choice, say: Say) -> Dataset:
    """Load the folder that the user named: MNIST as `mnist`; with `auto`, other data as `idx`."""
    data = _read(folder, f"IDX files in {folder}")
    if data.digest == MNIST_DIGEST:
        return replace(data, name="mnist")
    n, height, width = data.images.shape
    what = f"{n} images of {height} x {width}, {data.classes} classes"
    if dataset == "mnist":
        raise DataError(
            f"{folder} holds other data than MNIST ({what}): digest {data.digest}, expected "
            f"{MNIST_DIGEST}.\nUse --dataset auto to train on it."
        )
    say(f"{folder}: other data than MNIST, used as data set 'idx': {what}")
    return data


def _from_cache(folder: Path, say: Say) -> Dataset | None:
    """Load MNIST from a folder of the cache; None if it is missing or damaged."""
    try:
        if not any(file.is_file() for file in folder.iterdir()):
            return None
    except OSError:  # missing or not readable; writing to it will report a real problem
        return None
    try:
        return _only_mnist(_read(folder, f"user cache {folder}"))
    except DataError as err:
        say(f"the cached copy of MNIST is not usable and is downloaded again: {err}")
        return None


def _from_mirror(mirror: str | None, say: Say) -> Dataset:
    folder = cache_dir() / "mnist"
    used = download_mnist(folder, mirror=mirror, say=say)
    return _only_mnist(_read(folder, f"download from {used}"))


def _from_library(source: str, *, mirror: str | None, say: Say) -> Dataset:
    """Load MNIST with a library, or from the copy of an earlier download with it."""
    folder = cache_dir() / f"mnist-{source}"
    kept = _from_cache(folder, say)
    if kept is not None:
        return replace(kept, source=f"{source} (user cache {folder})")
    with filling(folder) as partial:
        fetch_through(source, partial, mirror=mirror, say=say)
        return _only_mnist(_read(partial, source))


def _read(folder: Path, source: str) -> Dataset:
    images, labels = read_folder(folder)
    classes = int(labels.max()) + 1
    if classes < 2:
        raise DataError(f"{folder}: every label is 0. At least two classes are needed.")
    return Dataset("idx", source, images, labels, classes)


def _only_mnist(data: Dataset) -> Dataset:
    """The same data with the name `mnist`; `DataError` if it does not have MNIST's digest."""
    if data.digest != MNIST_DIGEST:
        raise DataError(
            f"the data from {data.source} is not MNIST: digest {data.digest}, expected "
            f"{MNIST_DIGEST}. Use another source or --data-dir."
        )
    return replace(data, name="mnist")
