"""What Keras and TensorFlow write by native code, of which Python tells nobody."""

from __future__ import annotations

from functools import cache
from typing import Any

import h5py  # type: ignore[import-untyped]

from mnist_mlp.ports.journal import is_kept, told_before
from mnist_mlp_keras.engine import file_functions

_PLACES = (
    *(("mkdir", 0, False), ("makedirs", 0, False), ("remove", 0, False), ("rmtree", 0, True)),
    *(("copy", 1, False), ("rename", 0, True), ("rename", 1, True)),
)
"""Functions of `tf.io.gfile`: the argument that is a path, and whether all in a folder is meant."""


@cache
def tell_of_writing() -> None:
    """From now on, tell the journal, if there is one, before an HDF5 file or one of `tf.io.gfile`
    is written."""
    if is_kept():
        h5py.File.__init__ = told_before(h5py.File.__init__, _hdf5)
        gfile = file_functions()
        gfile.GFile.__init__ = told_before(gfile.GFile.__init__, _gfile)
        for name, place, deep in _PLACES:
            setattr(gfile, name, told_before(getattr(gfile, name), _argument(place), deep=deep))


def _hdf5(_: Any, name: Any, mode: str = "r", *__: Any, **___: Any) -> Any:
    return None if mode == "r" else name


def _gfile(_: Any, name: Any, mode: str = "r") -> Any:
    return None if mode in ("r", "rb") else name


def _argument(place: int) -> Any:
    def path(*args: Any, **options: Any) -> Any:
        return [*args, *options.values()][place]

    return path
