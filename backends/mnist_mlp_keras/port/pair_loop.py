"""A user's own training loop in Keras as one side of a pair."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.inputs import Inputs
from mnist_mlp.ports.pair import PairJob
from mnist_mlp.ports.pair_rows import WholeRun
from mnist_mlp.ports.unlabelled import BESIDE, batch_of
from mnist_mlp.reference import Array
from mnist_mlp_keras.engine import exact_scalars
from mnist_mlp_keras.port import free
from mnist_mlp_keras.port.load import Given
from mnist_mlp_keras.port.loop import as_compiled
from mnist_mlp_keras.port.loop_drive import Drive
from mnist_mlp_keras.port.pair import KerasSide
from mnist_mlp_keras.port.pair_observer import default_type
from mnist_mlp_keras.port.pair_run import PairRun
from mnist_mlp_keras.port.pair_schedules import rates
from mnist_mlp_keras.port.state import number

SETS_RATES = re.compile(r"\.(learning_rate|lr)(\s*=(?!=)|\.assign\b)|\bset_value\(")
"""In a script's code, what changes the rate of an optimizer."""


class LoopSide(KerasSide):
    """The loop of a user's script."""

    def ran(self, job: PairJob) -> PairRun:
        """One run of the script, up to the last judged step of its loop."""
        rows = job.rows
        if not isinstance(rows.y, np.ndarray):
            raise UsageError(
                f"{self.path}: its loop compares one output with one target, and the "
                f"data have several"
            )
        if not isinstance(rows.x, np.ndarray):
            raise UsageError(f"{self.path}: its loop gives its model one tensor, not several")
        x, y, weights = self.fed(rows.x), self.fed(rows.y), rows.weights
        epoch: list[Any] = []
        for ids in rows.batches():
            if rows.unlabelled:
                unused = keras.ops.zeros(len(ids), "int64") if rows.unlabelled == BESIDE else None
                given = keras.ops.convert_to_tensor(rows.batch(ids, x))
                epoch.append(batch_of(rows.unlabelled, given, unused))
                continue
            batch = [rows.batch(ids, x), np.asarray(y)[ids]]
            if weights is not None:
                batch.append(np.asarray(self.fed(weights))[ids])
            epoch.append(tuple(map(keras.ops.convert_to_tensor, batch)))
        epochs = [epoch] * job.epochs
        run, steps = self._driven(job, epochs)
        if steps < sum(map(len, epochs)):
            # Its own epochs are fewer: all batches in one.
            run, _ = self._driven(job, [[batch for each in epochs for batch in each]])
        if run is None:
            raise UsageError(f"{self.target}: its loop takes none of the batches that it is given")
        return run

    def _driven(
        self, job: PairJob, epochs: Sequence[Sequence[tuple[Any, ...]]]
    ) -> tuple[LoopRun | None, int]:
        run: LoopRun | None = None

        def stepped(model: Any) -> bool:
            nonlocal run
            if run is None:
                as_compiled(model, None, None)
                run = LoopRun(self, model, job)
            run.enter()
            return any(mend.field == "training_mode" for mend in job.loop_mends)

        def updated(optimizer: Any, own: Callable[..., Any], gradients: Any, given: Any) -> Any:
            assert run is not None
            return run.updated(optimizer, own, gradients, given)

        drive = Drive(
            self.given.loop,
            epochs,
            on_step=stepped,
            on_update=updated,
            on_taken=lambda *taken: run.taken(*taken) if run is not None else None,
            on_end=lambda: run.ended() if run is not None else None,
        )
        try:
            with exact_scalars():
                self.given.found.run(drive.driving)
        finally:
            if run is not None:
                run.stop_watching()
        if run is not None:
            as_compiled(run.fitted, run.optimizer, drive.losses.loss)
        self._rows: Any = job.rows.as_one
        self.rows_fed = job.rows
        self._inputs = drive.inputs[: job.rows.steps]
        return run, drive.steps

    @property
    def writes_rates(self) -> bool:
        """Whether the script sets learning rates itself."""
        return bool(SETS_RATES.search(self.given.found.text))

    def rates(self, at: Sequence[int], *, interval: str | None = None) -> dict[str, Array]:
        """See `PairSide.rates`: one rate, unless own code changes it (`PairFacts.own_rates`)."""
        with default_type(self.precision):
            run = self.ran(PairJob(self.rows.first(self.rows.batch_size), 1))
            with exact_scalars():
                return rates(run.fitted, (), at, self.length, interval)

    def train_freely(self, given: Given, run: WholeRun, on_epoch: free.OnEpoch) -> None:
        """Run the script once more; its loop goes on to its end."""
        keras.utils.set_random_seed(0)
        given.found.run(free.LoopTeller(given.loop, run, on_epoch).going_on)

    def module_input(self, x: Inputs) -> Any:
        """As the loop does it, which may scale and reshape its batches.

        Raises
        ------
        UsageError
            The loop was not run on these rows.
        """
        if not isinstance(x, np.ndarray) or not np.array_equal(x, self._rows):
            raise UsageError(f"{self.path}: what its loop makes of these rows is not known")
        if len({tuple(each.shape[1:]) for each in self._inputs}) == 1:
            return keras.ops.concatenate(list(self._inputs))
        given = [self.rows_fed.batch(ids) for ids in self.rows_fed.batches()]
        if not all(
            np.array_equal(number(got), batch)
            for got, batch in zip(self._inputs, given, strict=False)
        ):
            raise UsageError(f"{self.path}: what its loop makes of these rows is not known")
        return self.fed(x)


class LoopRun(PairRun):
    """The steps of a loop, recorded."""

    exchanges_early = True

    def enter(self) -> None:
        """A step begins."""
        super().enter()
        self._updated = False

    def taken(
        self, target: Any, sources: Sequence[Any], gradients: Sequence[Any]
    ) -> Sequence[Any] | None:
        """A tape has given gradients: the other side's instead, with which the loop goes on.

        What it calls from now on is no part of the step.
        """
        found = super().taken(target, sources, gradients)
        if self._raw:
            self.stop_watching()
        return found

    def updated(
        self, optimizer: Any, own: Callable[..., Any], gradients: list[Any], given: Any
    ) -> Any:
        """The optimizer makes an update."""
        if self.optimizer is None:
            as_compiled(self.fitted, optimizer, None)
            self.take_charge(optimizer)
        return self._applying(own)(gradients, given)

    def stop_watching(self) -> None:
        """Observe no more calls."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def ended(self) -> None:
        """A step is over, with whatever the loop has done after its update."""
        if self.optimizer is None or self._pending or not self._raw:
            return
        self.on_train_batch_end(0)
        self._close()
        self._raw = {}
