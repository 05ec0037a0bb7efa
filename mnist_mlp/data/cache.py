"""The user's cache folder: where fetched and made data sets are kept between runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mnist_mlp.errors import SetupError

CACHE_VARIABLE = "MNIST_MLP_CACHE"


def cache_dir() -> Path:
    """Folder of the cache, made or not: `MNIST_MLP_CACHE`, else the system's usual place."""
    import platformdirs

    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("mnist-mlp", appauthor=False))


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Lend an empty folder; when the block ends well, move the files in it into `folder`.

    Files arrive complete or not at all: whatever interrupts the block, `folder` stays as it was. If
    several processes fill it at once, each file is wholly one process's.

    Raises
    ------
    SetupError
        The cache cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # On the same file system as `folder`: only there is moving a file atomic.
        partial = tempfile.TemporaryDirectory(prefix="partial-", dir=folder)
    except OSError as err:
        raise _not_writable(folder, err) from err
    with partial:
        yield Path(partial.name)
        try:
            for file in sorted(Path(partial.name).iterdir()):
                if file.is_file():
                    file.replace(folder / file.name)
        except OSError as err:
            raise _not_writable(folder, err) from err


def _not_writable(folder: Path, err: OSError) -> SetupError:
    return SetupError(
        f"the cache folder {folder} cannot be written: {err.strerror or err}. "
        f"Name another one in the environment variable {CACHE_VARIABLE}."
    )
