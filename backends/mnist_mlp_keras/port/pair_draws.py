"""Random draws of a Keras step: recorded where TensorFlow draws, or given by the other side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from mnist_mlp.ports.pair import Draw, Planned, laid_out
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
            keep = laid_out(given.keep, uniforms.shape, channels_last=True)
            if keep is not None:
                # Half-way below the rate, and half-way between it and 1.
                values = np.where(keep, (1 + self.rate) / 2, self.rate / 2)
                uniforms = keras.ops.convert_to_tensor(values, dtype=uniforms.dtype)
        self.seen.append(Draw(number(uniforms) >= self.rate, 1 - self.rate, self.source))
        return uniforms
