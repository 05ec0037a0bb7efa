"""Random draws of a Keras step: recorded where TensorFlow draws, or given by the other side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from math import prod
from typing import Any

import keras
import numpy as np

from mnist_mlp.ports.pair import Draw, Planned
from mnist_mlp.reference import Array
from mnist_mlp_keras.engine import replaced_uniforms
from mnist_mlp_keras.port.state import number


class Draws:
    """Records every draw for a dropout while it is on; those that are given are used, if they fit.

    `rate` is that of the layer that is running: an element stays where its number is not below it.
    `source` is the number of the layer whose result it is given.
    """

    def __init__(self, given: Sequence[Draw] = ()) -> None:
        self.given = Planned(given)
        self.source: int | None = None
        self.seen: list[Draw] = []
        self.rate: float | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record, while this lasts."""
        with replaced_uniforms(self._drawn):
            yield

    def _drawn(self, uniforms: Any) -> Any:
        if self.rate is None:  # not for a dropout
            return uniforms
        given = self.given.next(self.source)
        if given is not None:
            keep = _laid_out(given.keep, tuple(uniforms.shape))
            if keep is not None:
                # Half-way below the rate, and half-way between it and 1.
                values = np.where(keep, (1 + self.rate) / 2, self.rate / 2)
                uniforms = keras.ops.convert_to_tensor(values, dtype=uniforms.dtype)
        self.seen.append(Draw(number(uniforms) >= self.rate, 1 - self.rate, self.source))
        return uniforms


def _laid_out(keep: Array, shape: Sequence[int]) -> Array | None:
    """The same elements in another order of the axes: images are channels last in Keras."""
    if keep.shape == tuple(shape):
        return keep
    first_last = (0, *range(2, keep.ndim), 1) if keep.ndim > 1 else (0,)
    for order in (first_last, *permutations(range(keep.ndim))):
        if tuple(keep.shape[i] for i in order) == tuple(shape):
            return keep.transpose(order)
    plain = tuple(n for n in shape if n != 1)
    squeezed = keep.squeeze()
    if (squeezed.shape, plain) == (keep.shape, tuple(shape)) or keep.size != prod(shape):
        return None
    inner = _laid_out(squeezed, plain)  # one side has an axis of length 1 more
    return None if inner is None else inner.reshape(tuple(shape))
