"""A data set as a value: images, labels, their source, and their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Dataset:
    """All rows of a data set, in the order that gives each row its id.

    Parameters
    ----------
    name : str
        `mnist`, `digits` (the embedded set) or `idx` (a user's own IDX files).
    source : str
        Where the rows came from, for people: a folder, a mirror, a library.
    images : uint8 (n, height, width)
        0 is background.
    labels : uint8 (n,)
        0 .. classes - 1.
    classes : int
        Number of classes.
    groups : int32 (n,) or None
        Rows of the same group must not be split between training and test set.
    """

    name: str
    source: str
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    classes: int
    groups: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def inputs(self) -> int:
        """Number of pixels of one image, which is the number of inputs of the network."""
        return int(self.images.shape[1] * self.images.shape[2])

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over shape, image bytes, then label bytes."""
        sha = hashlib.sha256(repr(self.images.shape).encode())
        sha.update(np.ascontiguousarray(self.images).data)
        sha.update(np.ascontiguousarray(self.labels).data)
        return sha.hexdigest()

    def flat(self) -> NDArray[np.uint8]:
        """Images as rows of a matrix, uint8 (n, height * width), without a copy."""
        return self.images.reshape(len(self.images), self.inputs)
