"""The user's cache folder, which keeps downloaded and generated data sets between runs."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mnist_mlp.errors import SetupError
from mnist_mlp.leftovers import held, sweep

PARTIAL = re.compile(r"partial-[a-z0-9_]{8}")
"""Names of the folders that `filling` fills; `tempfile` chooses the last eight characters."""

CACHE_VARIABLE = "MNIST_MLP_CACHE"


def cache_dir() -> Path:
    """The cache folder, which may not exist yet: `MNIST_MLP_CACHE`, else the system's default."""
    import platformdirs

    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("mnist-mlp", appauthor=False))


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Provide an empty folder; if the block succeeds, move the files in it into `folder`.

    So files arrive complete or not at all. If the block fails, `folder` stays unchanged. If several
    processes fill it at the same time, each file comes entirely from one of them.

    Raises
    ------
    SetupError
        The cache folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder, PARTIAL)
        # Inside `folder`, because moving a file is atomic only within one file system.
        partial = tempfile.TemporaryDirectory(prefix="partial-", dir=folder)
    except OSError as err:
        raise _not_writable(folder, err) from err
    with partial, held(Path(partial.name)):
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
