"""Random draws of a Keras step: recorded where TensorFlow draws, or given by the other side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from mnist_mlp.ports.draws import Draw, Planned
from mnist_mlp_keras.engine import replaced_normals, replaced_uniforms
from mnist_mlp_keras.port.state import number


def draw_otherwise(model: Any, number_of: int) -> None:
    """Let a fresh model's generators of random numbers be where none of its other runs is: what is
    random in evaluation is then so in each of them."""
    for variable in model.variables:
        if variable.name == "seed_generator_state":
            variable.assign(variable + keras.ops.cast([0, 7919 * number_of], variable.dtype))


class Draws:
    """Records every draw while it is on; those that are given are used, if they fit.

    `rate` is that of the dropout that is running: an element stays where its number is not below
    it. Uniform numbers for anything else are `unseen`; normal ones are noise, whoever draws them.
    `source` is the number of the layer whose result it is given.
    """

    def __init__(self, given: Sequence[Draw] = ()) -> None:
        self.given = Planned(given, channels_last=True)
        self.source: int | None = None
        self.seen: list[Draw] = []
        self.rate: float | None = None
        self.unseen: tuple[str, ...] = ()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record, while this lasts."""
        with replaced_uniforms(self._drawn), replaced_normals(self._normal):
            yield

    def _drawn(self, uniforms: Any) -> Any:
        if self.rate is None:  # not for a dropout
            self.unseen = ("uniform numbers",)
            return uniforms
        keep = self.given.next(self.source, uniforms.shape)
        if keep is not None:
            # Half-way below the rate, and half-way between it and 1.
            values = np.where(keep, (1 + self.rate) / 2, self.rate / 2)
            uniforms = keras.ops.convert_to_tensor(values, dtype=uniforms.dtype)
        kept = number(uniforms) >= self.rate
        self.seen.append(Draw(kept, 1 - self.rate, self.source, channels_last=True))
        return uniforms

    def _normal(self, normals: Any) -> Any:
        given = self.given.next(self.source, normals.shape, normal=True)
        if given is not None:
            normals = keras.ops.convert_to_tensor(given, dtype=normals.dtype)
        drawn = np.array(number(normals), np.float64)
        self.seen.append(Draw(drawn, 1.0, self.source, normal=True, channels_last=True))
        return normals
