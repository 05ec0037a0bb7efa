"""What an original and its port bring, and the rows of both by one number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.check.own_data import (
    IDS_OF_FIRST,
    steps_asked,
)
from mnist_mlp.parity.findings import Break, Cause, Place, Side
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.plan import Ids
from mnist_mlp.ports.find_rows import find, first_of_equal
from mnist_mlp.ports.protocol import OwnData, OwnPass, PortFacts
from mnist_mlp.reference import Array

PORT: Side = "b"

MANY = 10**9
"""More batches than an epoch has."""


@dataclass(frozen=True, eq=False)
class Brought:
    """What a side says and brings; `recipe` is what its judged steps follow, if there were any."""

    facts: PortFacts
    recipe: Recipe | None

    @property
    def own(self) -> OwnData | None:
        """Its data."""
        return self.facts.own

    @property
    def trains(self) -> bool:
        """Whether it brings training data."""
        return self.own is not None and bool(self.own.epochs)

    @property
    def validates(self) -> bool:
        """Whether it brings validation data."""
        return self.own is not None and self.own.validation is not None

    def network_inputs(self, pixels: Array) -> Array:
        """What the first layer gets of pixels (n, inputs), as far as the model scales them."""
        slope, offset = model_scaling(self.recipe, pixels.shape[1]) or (1.0, 0.0)
        return slope * np.asarray(pixels, np.float64) + offset


def model_scaling(recipe: Recipe | None, inputs: int) -> tuple[float, float] | None:
    """How a model scales its inputs, as its judged steps tell; None if it does something else."""
    if recipe is None or "data" in recipe.muted:
        return None
    # Three blank images, and one that shows whether pixels stay where they are.
    greys = np.array([0, 51, 255], np.uint8)
    images = np.repeat(greys[:, None], inputs, axis=1)
    ramp = (np.arange(inputs) * 37 % 256).astype(np.uint8)
    images = np.concatenate([images, ramp[None]])
    x = recipe.pixels(images).value
    slope, offset = float(x[2, 0] - x[0, 0]), float(x[0, 0])
    straight = np.allclose(x, slope * images / 255.0 + offset, rtol=0, atol=1e-5 * abs(slope))
    return (slope, offset) if straight else None


def batches_taken(facts: PortFacts, batches: int) -> int:
    """How many batches of an epoch a Lightning trainer takes."""
    text = facts.options.get("limit_train_batches", "None")
    try:
        return max(int(text) if text.isdigit() else int(float(text) * batches), 1)
    except ValueError:
        return batches


def as_trained_on(side: Brought) -> OwnData:
    """Its data as far as its trainer lets it see them."""
    own = side.own
    assert own is not None

    def cut(one: OwnPass) -> OwnPass:
        most = batches_taken(side.facts, len(one.batches))
        if most >= len(one.batches):
            return one
        n = sum(one.sizes[:most])
        weights = None if one.weights is None else one.weights[:n]
        return OwnPass(one.batches[:most], one.targets[:n], weights, one.widths)

    return replace(own, epochs=tuple(cut(one) for one in own.epochs))


def is_cut(facts: PortFacts, own: OwnData) -> bool:
    """Whether epochs end early on purpose, each after other rows."""
    asked = steps_asked(facts) is not None or batches_taken(facts, MANY) < MANY
    ids = [np.unique(one.ids) for one in own.epochs]
    return asked and len(np.unique(np.concatenate(ids))) > len(ids[0])


class Pair:
    """Two sides' data, the rows of both numbered by content.

    `ours` and `theirs` give the content of each row of a table: the place of the first equal row in
    the original's table, or a number beyond it where the original has no such row.
    """

    def __init__(
        self,
        theirs: OwnData,
        ours: OwnData,
        original: Brought,
        port: Brought,
        dataset: Dataset,
        *,
        lenient: bool,
    ) -> None:
        self.a, self.b = theirs, ours
        self.original, self.port = original, port
        self.dataset = dataset
        self.lenient = lenient
        """Whether the original's rows are the plan's, of which a port may take others."""
        self.places = find(ours.rows, theirs.rows)
        firsts = first_of_equal(theirs.rows)
        self.theirs = firsts
        beyond = len(theirs.rows) + np.arange(len(ours.rows))
        self.ours = np.where(self.places >= 0, firsts[self.places], beyond)

    @property
    def labelled(self) -> bool:
        """Whether targets can differ: not where a side has none, or both have their inputs."""
        a, b = self.a, self.b
        return not (a.unlabelled or b.unlabelled or (a.again and b.again))

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the original's first epoch."""
        return max(len(self.a.epochs[0].batches), 1)

    def contents(self, one: OwnPass, *, side: Side) -> Ids:
        """Row by row, for a pass of a side."""
        return (self.theirs if side == "a" else self.ours)[one.ids]

    @cached_property
    def orders(self) -> tuple[list[Ids], list[Ids]]:
        """Contents of each epoch, of both."""
        return (
            [self.contents(one, side="a") for one in self.a.epochs],
            [self.contents(one, side="b") for one in self.b.epochs],
        )


def same_rows(a: Ids, b: Ids) -> bool:
    """Whether two passes show the same rows, in whatever order."""
    return np.array_equal(np.sort(a), np.sort(b))


def ids_break(cause: Cause, *, rung: str = "data", place: Place = IDS_OF_FIRST) -> Break:
    """A difference in which rows come, or in their order."""
    return Break(side=PORT, rung=rung, place=place, cause=cause)
