"""Training of a user's model as its user would run it: nothing is set, and only numbers are noted.

What is noted is the mean loss of each epoch, and whatever else the model reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from mnist_mlp.contract import Array
from mnist_mlp.errors import UsageError
from mnist_mlp.ports.pair_rows import WholeRun
from mnist_mlp.ports.reported import by_kind
from mnist_mlp.ports.script import Catch, patched
from mnist_mlp.ports.tally import Tally
from mnist_mlp_keras.port.load import Given
from mnist_mlp_keras.port.loop import Loop, Seen, Site
from mnist_mlp_keras.port.loop_drive import one_batch
from mnist_mlp_keras.port.own_data import DATA, OF_ARRAYS, is_stream, training_data
from mnist_mlp_keras.port.pair_reported import meant_by
from mnist_mlp_keras.port.run import passed_on, plain_numbers
from mnist_mlp_keras.port.state import number

OnEpoch = Callable[[Mapping[str, float]], None]


class Teller(keras.callbacks.Callback):
    """Tells each epoch's numbers; the last of the callbacks."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        super().__init__()
        self.on_epoch = on_epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Those in Keras's logs."""
        del epoch
        self.on_epoch(by_kind(plain_numbers(logs or {}), meant_by(self.model)))


def fit(
    given: Given, run: WholeRun, on_epoch: OnEpoch, fed: Callable[[], tuple[Array, Array]]
) -> None:
    """The user's own `fit`; with the run's rows where the user gave no data.

    `fed` gives the plan's rows to a loader that takes rows.

    Raises
    ------
    UsageError
        There are no data at all.
    """
    ours = (*DATA, "callbacks", "epochs", "verbose")
    options = {key: value for key, value in given.fit.items() if key not in ours}
    data = training_data(given, fed)
    if data is None:
        if run.rows is None:
            raise UsageError(f"{given.target}: it brings no data to train on")
        data = {"x": run.rows.x, "y": None if run.rows.unlabelled else run.rows.y}
        options.setdefault("batch_size", run.rows.batch_size)
        held_out = run.held_out
        if held_out is not None and "validation_split" not in options:
            validation = (held_out.x,) if held_out.unlabelled else (held_out.x, held_out.y)
            options.setdefault("validation_data", validation)
    elif given.loader is not None and is_stream(data["x"]):
        options = {key: value for key, value in options.items() if key not in OF_ARRAYS}
    given.first().fit(
        **data,
        **options,
        callbacks=[*passed_on(given.fit)["callbacks"], Teller(on_epoch)],
        epochs=run.epochs,
        verbose=0,
    )


class LoopTeller(Seen):
    """A user's own loop, which goes on to its end.

    An evaluation is cut short, as its numbers are the script's own affair.
    """

    def __init__(self, loop: Loop, run: WholeRun, on_epoch: OnEpoch) -> None:
        super().__init__(loop.target)
        self.name = loop.model
        self.tally = Tally(run, on_epoch)

    @contextmanager
    def going_on(self, catch: Catch) -> Iterator[None]:
        """While this lasts; the script's `catch` is for its end."""
        self.tally.begin(catch)
        with self.watching(), patched(keras.Model, evaluate=one_batch(keras.Model.evaluate)):
            yield

    def elements(self, dataset: Any, own: Callable[[Any], Any], site: Site) -> Iterator[Any]:
        """Its own."""
        yield from own(dataset)

    def on_gradients(
        self, target: Any, sources: Sequence[Any], gradients: Sequence[Any]
    ) -> Sequence[Any] | None:
        """Note the loss."""
        del sources, gradients
        self.tally.loss(float(np.sum(number(target))))
        return None

    def on_call(
        self, model: Any, args: Any, options: dict[str, Any], own: Callable[..., Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Note how many rows there are."""
        x = args[0] if args else next(iter(options.values()), None)
        if model.name == self.name:
            self.tally.rows(getattr(x, "shape", ()))
        return args, options

    def on_apply(
        self, optimizer: Any, own: Callable[..., Any], gradients: list[Any], variables: Any
    ) -> Any:
        """Its own update."""
        result = own(optimizer, gradients, variables)
        self.tally.step()
        return result
