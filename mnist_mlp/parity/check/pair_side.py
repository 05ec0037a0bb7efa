"""One of the two models of a pair, and a first step of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnist_mlp.parity.check.target import Target
from mnist_mlp.parity.pair.weight_map import WeightMap
from mnist_mlp.ports.pair import PairStep
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.protocol import PortDescription
from mnist_mlp.reference import Tensors
from mnist_mlp.worker.parent import Worker


@dataclass(frozen=True)
class Side:
    """One of the two models, described by its worker."""

    target: Target
    worker: Worker
    described: PortDescription


@dataclass(frozen=True, eq=False)
class Start:
    """A first step of both in float32, from the original's own initial weights; and `draws` of the
    initial weights of both."""

    a: PairStep
    b: PairStep | None
    weights: WeightMap
    draws: tuple[Sequence[Tensors], Sequence[Tensors]] = ((), ())


def first_batch(rows: PairRows) -> PairRows:
    """The rows of the first batch, as rows of their own."""
    return rows.first(rows.batch_size)
