"""Read and write IDX files, the format of MNIST. Reading checks everything that can be checked.

An IDX file of unsigned bytes is: two zero bytes, the type 0x08, the number of dimensions, then each
dimension as a big-endian uint32, then the values. Source: the MNIST page (Y. LeCun), "The IDX file
format". Files may be gzipped. This is detected by their first bytes, not by their names, because
some servers and browsers unpack a .gz file without renaming it.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.data.facts import FILES
from mnist_mlp.errors import DataError
from mnist_mlp.memory import machine_memory
from mnist_mlp.readers.regular import NAMED, open_regular
from mnist_mlp.shown import size

_UNSIGNED_BYTE = 0x08
_OTHER_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_GZIP_MAGIC = b"\x1f\x8b"
# The largest compression ratio of deflate (zlib's technical notes). If a header announces more than
# the file can hold at this ratio, the file is refused before memory is allocated.
_DEFLATE_LIMIT = 1032
_BLOCK = 1 << 20

VALUES_LIMIT = 4 * 2**30
"""Most bytes of values of one file, unpacked: 5 million images of 28 x 28, or 80 times MNIST. A
gzip file of 9 MB can announce 9 GB, and hold them, too."""

_COPIES = 2
"""How often the images are in memory at least: as they were read, and in the order of a split."""


def read_folder(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the four files of a folder: first the rows of the training files, then the test files'.

    Parameters
    ----------
    folder : Path
        Holds `{train,t10k}-images-idx3-ubyte` and `{train,t10k}-labels-idx1-ubyte`, also spelt
        `train-images.idx3-ubyte`. Each file may be gzipped.

    Returns
    -------
    images : uint8 (n, height, width)
    labels : uint8 (n,)

    Raises
    ------
    DataError
        A file is missing, unreadable or damaged, or the files don't fit together.
    """
    train_images, train_labels, test_images, test_labels = find_files(folder)
    train = _pair_shape(train_images, train_labels)
    test = _pair_shape(test_images, test_labels)
    if train[1:] != test[1:]:
        raise DataError(
            f"{folder}: training images are {_times(train[1:])} pixels, test images are "
            f"{_times(test[1:])}. Both must have the same size."
        )
    # Both files are read into one array: joining two arrays would need twice the memory.
    n = train[0]
    images = np.empty((n + test[0], *train[1:]), dtype=np.uint8)
    labels = np.empty(n + test[0], dtype=np.uint8)
    read_idx(train_images, ndim=3, out=images[:n])
    read_idx(train_labels, ndim=1, out=labels[:n])
    read_idx(test_images, ndim=3, out=images[n:])
    read_idx(test_labels, ndim=1, out=labels[n:])
    return images, labels


def _pair_shape(images: Path, labels: Path) -> tuple[int, ...]:
    """The shape of a file of images, after checking that there are as many labels."""
    shape, (n,) = read_shape(images, ndim=3), read_shape(labels, ndim=1)
    if n != shape[0]:
        raise DataError(
            f"{images.parent}: {images.name} holds {shape[0]} images, but {labels.name} holds "
            f"{n} labels. Each image needs one label."
        )
    return shape


def find_files(folder: Path) -> list[Path]:
    """Paths of the four files in the order train images, train labels, test images, test labels.

    Raises
    ------
    DataError
        The folder or a file in it is missing.
    """
    try:
        present = {file.name for file in folder.iterdir() if file.is_file()}
    except OSError as err:
        raise DataError(
            f"the data folder {folder} cannot be read: {err.strerror or err}. "
            "Give the folder that holds MNIST's four IDX files."
        ) from err
    found = {name: _spelling(name, present) for name in FILES}
    missing = [name for name, spelling in found.items() if spelling is None]
    if missing:
        raise DataError(
            f"{folder} lacks {len(missing)} of MNIST's four IDX files: {', '.join(missing)}. "
            "Each may be gzipped (.gz) or not."
        )
    return [folder / spelling for spelling in found.values() if spelling is not None]


def _spelling(name: str, present: set[str]) -> str | None:
    """The spelling under which a file is present; uncompressed first, because it loads faster."""
    dotted = name.replace("-idx", ".idx")
    spellings = (name, dotted, f"{name}.gz", f"{dotted}.gz")
    return next((spelling for spelling in spellings if spelling in present), None)


def read_shape(path: Path, *, ndim: int) -> tuple[int, ...]:
    """Read the shape in the header of an IDX file of unsigned bytes: `ndim` positive numbers.

    Raises
    ------
    DataError
        The file cannot be read, is not such an IDX file, or is empty.
    """
    with _opened(path) as stream:
        return _read_header(stream, path, ndim)


def read_idx(path: Path, *, ndim: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, gzipped or not.

    Parameters
    ----------
    path : Path
    ndim : int
        Dimensions the file must have: 3 for images, 1 for labels.
    out : uint8, contiguous, of the file's shape, optional
        Where to put the values.

    Returns
    -------
    uint8 (n, height, width) or (n,)
        `out`, or a new array.

    Raises
    ------
    DataError
        The file cannot be read, is not such an IDX file, is empty, or holds fewer or more bytes
        than its header announces.
    """
    with _opened(path) as stream:
        shape = _read_header(stream, path, ndim)
        if out is None:
            out = np.empty(shape, dtype=np.uint8)
        elif out.shape != shape:
            raise DataError(
                f"{path} changed while it was read. Run again when nothing writes to it."
            )
        values = out.reshape(-1).data
        done = 0
        while done < len(values):
            block = stream.read(min(_BLOCK, len(values) - done))
            if not block:
                raise DataError(
                    f"{path} is truncated: its header announces {_times(shape)} = {len(values)} "
                    f"bytes of values, it holds {done}. Get the file again."
                )
            values[done : done + len(block)] = block
            done += len(block)
        # Reading past the end also makes gzip verify its checksum.
        if stream.read(1):
            raise DataError(
                f"{path} has more data than the {_times(shape)} values that its header announces. "
                "Get the file again."
            )
        return out


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write a uint8 array of any shape as an IDX file, not gzipped."""
    if values.dtype != np.uint8:
        raise TypeError(f"IDX files of this project hold uint8, got {values.dtype}")
    with path.open("wb") as stream:
        stream.write(
            struct.pack(f">HBB{values.ndim}I", 0, _UNSIGNED_BYTE, values.ndim, *values.shape)
        )
        stream.write(np.ascontiguousarray(values).data)


@contextmanager
def open_unzipped(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file for reading; gzipped bytes are decompressed."""
    with open_regular(path, NAMED) as file:
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not zipped:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield cast(IO[bytes], unzipped)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open an IDX file; errors of the operating system and of gzip become a `DataError`."""
    try:
        with open_unzipped(path) as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise DataError(f"{path} is damaged: {err}. Get the file again.") from err
    except OSError as err:
        raise DataError(f"{path} cannot be read: {err.strerror or err}.") from err


def _read_header(stream: IO[bytes], path: Path, ndim: int) -> tuple[int, ...]:
    expected = f"an IDX file of unsigned bytes with {ndim} dimension{'s' * (ndim > 1)}"
    header = stream.read(4 + 4 * ndim)
    magic = header[:4]
    if magic[:2] != b"\0\0" or len(magic) < 4:
        raise DataError(f"{path} starts with 0x{magic.hex()}: not {expected} (0x000008{ndim:02x}).")
    kind, dimensions = magic[2:]
    if kind != _UNSIGNED_BYTE:
        raise DataError(
            f"{path} holds {_OTHER_TYPES.get(kind, f'values of the unknown type 0x{kind:02x}')}, "
            f"expected {expected}."
        )
    if dimensions != ndim:
        raise DataError(
            f"{path} has {dimensions} dimension(s), expected {expected}. "
            "Are image and label files mixed up?"
        )
    if len(header) < 4 + 4 * ndim:
        raise DataError(f"{path} is truncated: it ends within its header. Get the file again.")
    shape = struct.unpack(f">{ndim}I", header[4:])
    if 0 in shape:
        raise DataError(f"{path} is an empty set: its header announces {_times(shape)} values.")
    if math.prod(shape) > path.stat().st_size * _DEFLATE_LIMIT:
        raise DataError(
            f"{path} is truncated or its header is damaged: {path.stat().st_size} bytes cannot "
            f"hold the {_times(shape)} values that it announces. Get the file again."
        )
    _check_size(shape, path)
    return shape


def _check_size(shape: tuple[int, ...], path: Path) -> None:
    """Refuse values that are too many for this program, or for the memory of this machine."""
    announced = math.prod(shape)
    if announced > VALUES_LIMIT:
        raise DataError(
            f"{path} announces {_times(shape)} values ({size(announced)}), but the limit is "
            f"{size(VALUES_LIMIT)}. Use a part of the data set."
        )
    memory = machine_memory()
    if memory is not None and announced * _COPIES > memory:
        raise DataError(
            f"{path} announces {_times(shape)} values ({size(announced)}), and training needs "
            f"them {_COPIES} times, but this machine has {size(memory)} of memory. "
            "Use a part of the data set."
        )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
