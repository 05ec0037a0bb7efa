"""The user's cache folder, which keeps downloaded and generated data sets between runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mnist_mlp.errors import SetupError
from mnist_mlp.leftovers import temporary_folder

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
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Inside `folder`, because moving a file is atomic only within one file system.
            partial = stack.enter_context(temporary_folder(folder, prefix="partial-"))
        except OSError as err:
            raise _not_writable(folder, err) from err
        yield partial
        try:
            for file in sorted(partial.iterdir()):
                if file.is_file():
                    file.replace(folder / file.name)
        except OSError as err:
            raise _not_writable(folder, err) from err


def _not_writable(folder: Path, err: OSError) -> SetupError:
    return SetupError(
        f"the cache folder {folder} cannot be written: {err.strerror or err}. "
        f"Name another one in the environment variable {CACHE_VARIABLE}."
    )
