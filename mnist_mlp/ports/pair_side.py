"""A model of a user's file as one side of a pair: what it answers, and how a process offers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from mnist_mlp.ports.inputs import Inputs
from mnist_mlp.ports.pair import PairFacts, PairJob, PairStep
from mnist_mlp.ports.pair_rows import PairRows, RunLength, WholeRun
from mnist_mlp.ports.protocol import OwnData
from mnist_mlp.ports.reported import Reports
from mnist_mlp.reference import Array, Tensors


@dataclass(frozen=True, eq=False)
class PairBrought:
    """What a model's file brings beside the model, before anything is run."""

    own: OwnData | None
    batch_size: int | None = None
    epochs: int | None = None
    shuffle: bool | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    not_judged: tuple[str, ...] = ()
    accumulated: int = 1


class PairSide(Protocol):
    """A model of a user's file, as one side of a pair."""

    def brought(
        self,
        images: Array,
        labels: Array,
        *,
        targets: int | None = None,
        weighted: bool = False,
    ) -> PairBrought:
        """Own data and settings.

        `images` uint8 (n, inputs) and `labels` (n,) are for a loader that takes rows; it gets them
        as its model wants them. `targets` is how many parts of a batch are targets, if that is
        known of the other side; `weighted` is whether that has one input, one target and weights
        of single rows, which a third part of a batch then is here, too.
        """
        ...

    def open(
        self, candidates: Sequence[PairRows], *, precision: str, length: RunLength
    ) -> PairFacts:
        """Load the file anew in a precision, and run one batch of the first rows that it takes.

        `length` is that of the run that is meant, for schedules that ask how long it is.

        Raises
        ------
        UserCodeError
            It takes none of them; the error is that of the first.
        """
        ...

    def draws(self) -> tuple[Tensors, ...]:
        """Initial weights of several models, each made after another seed."""
        ...

    def fit(self, job: PairJob) -> tuple[PairStep, ...]:
        """One real `fit`, each of its steps recorded."""
        ...

    def reported(self) -> Reports:
        """What the model reported of the epochs of the last `fit`."""
        ...

    def rates(self, at: Sequence[int], *, interval: str | None = None) -> dict[str, Array]:
        """`learning_rate` and `momentum` of the updates `at` (from 0, rising) of the run that is
        meant, from its schedules alone.

        With an `interval` (`step` or `epoch`), they are asked once in each such.
        """
        ...

    def predict(self, weights: Tensors, x: Inputs) -> Mapping[int, Array]:
        """In evaluation mode: what layers with weights give, by number; the last one, or those that
        several losses look at; and the `RESULT` of the whole model, if that is one tensor."""
        ...

    def train(self, run: WholeRun, on_epoch: Callable[[Mapping[str, float]], None]) -> None:
        """Load the file anew and train as its user would, from the model's own initial weights.

        `on_epoch` is called after each epoch with its numbers: `loss`, the mean over its rows of
        what was minimised, and what else is reported (`mnist_mlp.ports.reported.by_kind`). A user's
        own loop has a loss only.
        """
        ...


class PairHost:
    """The part of a host (`protocol.PortHost`) that judges pairs: the calls of its `PairSide`.

    Calls reach a host by name, so each has a name of its own here.
    """

    def make_side(self) -> PairSide:
        """The side of the model that this host has loaded."""
        raise NotImplementedError

    @cached_property
    def _side(self) -> PairSide:
        return self.make_side()

    def pair_brought(
        self,
        images: Array,
        labels: Array,
        *,
        targets: int | None = None,
        weighted: bool = False,
    ) -> PairBrought:
        """See `PairSide.brought`."""
        return self._side.brought(images, labels, targets=targets, weighted=weighted)

    def pair_open(
        self, candidates: Sequence[PairRows], *, precision: str, length: RunLength
    ) -> PairFacts:
        """See `PairSide.open`."""
        return self._side.open(candidates, precision=precision, length=length)

    def pair_draws(self) -> tuple[Tensors, ...]:
        """See `PairSide.draws`."""
        return self._side.draws()

    def pair_fit(self, job: PairJob) -> tuple[PairStep, ...]:
        """See `PairSide.fit`."""
        return self._side.fit(job)

    def pair_reported(self) -> Reports:
        """See `PairSide.reported`."""
        return self._side.reported()

    def pair_rates(self, at: Sequence[int], *, interval: str | None = None) -> dict[str, Array]:
        """See `PairSide.rates`."""
        return self._side.rates(at, interval=interval)

    def pair_predict(self, weights: Tensors, x: Inputs) -> Mapping[int, Array]:
        """See `PairSide.predict`."""
        return self._side.predict(weights, x)

    def pair_train(self, run: WholeRun, *, on_epoch: Callable[[Mapping[str, float]], None]) -> None:
        """See `PairSide.train`."""
        self._side.train(run, on_epoch)
