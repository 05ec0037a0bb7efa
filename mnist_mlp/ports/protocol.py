"""A user's own model, run by the backend of its framework: the optional part of the contract.

A backend that also has `open_port` (`PortBackend`) can run a port: a `LightningModule`, a compiled
`keras.Model`, a function or class that makes one, or a dictionary around it. The code runs as its
framework would run it, in one real `Trainer.fit` or `Model.fit`, fed with the plan's batches; at
the judged steps the host sets the weights before the batch and records what the code makes of it.
What is made of the records is the ladder's business, in the parent process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.contract import Runtime, State, StepRecord, TrainingData
from mnist_mlp.plan import Plan
from mnist_mlp.reference import Array, Tensors


@dataclass(frozen=True)
class PortLayer:
    """A leaf module or layer, in order of execution; one that is run twice between dense layers is
    there twice.

    `kind` is its class (`Linear`, `Dense`, `Conv2d`, `Dropout`), or the name of a function that
    does a layer's work (`dropout` of `torch.nn.functional`); `inputs` and `units` are set for
    dense layers, `bias` says whether one of those has a bias. `dtype` is that of its weights.
    `settings` are a layer's numbers in Keras's terms (`rate`, `epsilon`, `momentum`), as far as
    they matter to anybody; `native` says whether its class is the framework's and not a user's.
    """

    name: str
    kind: str
    inputs: int | None = None
    units: int | None = None
    bias: bool = True
    parameters: int = 0
    dtype: str = ""
    settings: Mapping[str, float] = field(default_factory=dict)
    native: bool = True

    @property
    def dense(self) -> bool:
        """Whether it is a layer that a specification knows."""
        return self.units is not None


@dataclass(frozen=True, eq=False)
class PortDescription:
    """What can be said of a model without giving it a single row.

    Parameters
    ----------
    layers : tuple of PortLayer
        Leaf layers as the model lists them, not in order of execution; one may never be run.
    inputs, outputs : tuple of tuple
        Shape of each input and output without the batch axis, None where an axis is free; empty
        where the model does not declare them.
    losses : tuple of str
        Of Keras the compiled loss; of torch, those that the module holds or its code names.
    constraints : tuple of str
        Of Keras the constraints on weights, which are applied after every update, in words.
    """

    framework: str
    layers: tuple[PortLayer, ...]
    inputs: tuple[tuple[int | None, ...], ...] = ()
    outputs: tuple[tuple[int | None, ...], ...] = ()
    losses: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows `(m, inputs)` as a user's code gave them, flattened, losslessly packed.

    Where `levels` is set, `values` are uint8 indices into it: images have at most 256 different
    greys, whatever was done to their scale. Otherwise `values` are the numbers themselves.
    """

    values: Array
    levels: Array | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def inputs(self) -> int:
        """Numbers in a row."""
        return int(self.values.shape[1])

    @property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest number."""
        numbers = self.values if self.levels is None else self.levels
        return float(np.min(numbers)), float(np.max(numbers))

    def take(self, ids: Any) -> Array:
        """Some rows, as they were given."""
        values = self.values[ids]
        return values if self.levels is None else self.levels[values]


@dataclass(frozen=True, eq=False)
class OwnPass:
    """One pass over own data.

    `batches` holds arrays of indices into `OwnData.rows`. `targets` are classes, int64 (n,), where
    labels are integers or one-hot, else the numbers as they were given, float64 (n, k). `weights`
    (n,) are there where rows came with weights of their own.
    """

    batches: tuple[NDArray[np.int64], ...]
    targets: Array
    weights: Array | None = None

    @property
    def ids(self) -> NDArray[np.int64]:
        """Indices into `OwnData.rows`, row by row."""
        return np.concatenate(self.batches)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows of each batch."""
        return tuple(len(batch) for batch in self.batches)


@dataclass(frozen=True, eq=False)
class OwnData:
    """What a port brings itself, from whichever way of giving data: the batches of a few epochs.

    Parameters
    ----------
    rows : Rows
        Each different row once, in order of its first appearance.
    shape : tuple of int
        Of one row, as it was given.
    epochs : tuple of OwnPass
        Passes over the training data; empty where only validation data were given.
    validation : OwnPass or None
    shuffle : bool or None
        By its own word (a sequential sampler, `fit(shuffle=False)`); None where it says nothing.
    total : int or None
        Rows that an epoch could have by the loader's own word; more than it gives with `drop_last`.
    moved_by_validation : bool or None
        Whether the order of the second epoch changes when the validation loader is iterated in
        between (None: not tried).
    """

    rows: Rows
    shape: tuple[int, ...]
    epochs: tuple[OwnPass, ...] = ()
    validation: OwnPass | None = None
    shuffle: bool | None = None
    total: int | None = None
    moved_by_validation: bool | None = None


@dataclass(frozen=True, eq=False)
class PortFacts:
    """What can be said of a port before it trains.

    Parameters
    ----------
    layers : tuple of PortLayer
        Leaf layers in order of execution, found by running one batch.
    draws : tuple of dict
        Native initial weights by canonical name, one entry a draw with its own seed; a single one
        when the port is an object and not something that makes one.
    optimizer : dict
        `name` (class name), `kind` (the framework's class that it is or is made of) and its
        settings, `learning_rate` among them, as plain numbers.
    loss : str
        Name of the compiled loss, where there is one.
    hidden : tuple of str or None
        What a training step does outside of the `layers`: `random` (it draws numbers), `statistics`
        (means or variances are taken before the last dense layer); None where nobody can tell.
    batch_size, epochs : int or None
        As given beside the model (`fit` or `loader`).
    shuffle : bool or None
        As given beside the model.
    own : OwnData or None
        Own training and validation data, where some were given.
    options : dict
        The other arguments given beside the model (`trainer`, `fit`), as text.
    left_out : tuple of str
        What was given and is not run, in words.
    not_judged : tuple of str
        What was asked for and cannot be had here, in words: nobody can call the port identical.
    """

    framework: str
    layers: tuple[PortLayer, ...]
    draws: tuple[Tensors, ...]
    optimizer: Mapping[str, Any]
    loss: str = ""
    batch_size: int | None = None
    epochs: int | None = None
    shuffle: bool | None = None
    own: OwnData | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    not_judged: tuple[str, ...] = ()
    hidden: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class PortEpoch:
    """One epoch as the port reported it, and what it would have to be made of.

    `reported` is what the framework holds as the epoch's metrics, by the port's own names
    (`callback_metrics`, `logs`). Of each training batch: mean `losses`, `rows`, and `correct`
    predictions by its logits, before its update, and the `cross_entropies` of these logits; of the
    validation batches likewise; and of both passes the `confusion` matrix (classes,
    classes; rows are true classes) over all rows. `batches` is how many the epoch had, with those
    that the port did not run the network on.
    """

    epoch: int
    reported: Mapping[str, float]
    losses: NDArray[np.float64]
    cross_entropies: NDArray[np.float64]
    rows: NDArray[np.int64]
    correct: NDArray[np.int64]
    confusion: NDArray[np.int64]
    batches: int
    val_losses: NDArray[np.float64]
    val_cross_entropies: NDArray[np.float64]
    val_rows: NDArray[np.int64]
    val_correct: NDArray[np.int64]
    val_confusion: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PortStep:
    """A judged step: its number from 1 (None: the stress batch) and the record.

    The state in the record is what is there when the next batch begins, or the whole `fit` has
    ended: what callbacks do in between belongs to the step. `found` holds the weights that were
    there before the shared ones were set, where the step before was not judged.
    """

    step: int | None
    record: StepRecord
    found: Tensors | None = None


@dataclass(frozen=True, eq=False)
class PortJob:
    """What a port is run on.

    Before each step in `shared`, the weights and the optimizer state that the specification knows
    are set to the given ones; at all other steps the port goes its own way. `stress` is one more
    batch, run apart, whose weights make logit gaps over 17: forward, loss and gradient only.
    `passed_by` are kinds of layers that hand on what they are given, so that activations can be
    read where they are.
    """

    plan: Plan
    data: TrainingData
    shared: Mapping[int, State]
    stress: tuple[State, Array, Array] | None = None
    passed_by: tuple[str, ...] = ()


class PortHost(Protocol):
    """A user's model, loaded by its framework's backend.

    A new call is added here and to the hosts of the backends (`backends/*/port/host.py`); the
    worker process forwards any method of this protocol by name, as `worker.parent.Worker` asks it
    to. Arguments named `on_...` are functions that tell the parent of what happens on the way.
    """

    @property
    def description(self) -> PortDescription:
        """What can be said of the model without giving it any data."""
        ...

    def open(self, *, data: TrainingData, image_shape: tuple[int, ...]) -> PortFacts:
        """Run one batch, and tell what was seen: the first call, before all that follow.

        `image_shape` is the shape of one input as the port wants it, without the batch axis
        (`(784,)`, `(1, 28, 28)`). Errors in the user's code are raised as `UserCodeError`.
        """
        ...

    def fit(
        self,
        job: PortJob,
        *,
        on_step: Callable[[PortStep], None],
        on_epoch: Callable[[PortEpoch], None],
    ) -> None:
        """One real `fit` over the plan's epochs, from the plan's initial weights."""
        ...

    def predict(self, weights: Tensors, images: NDArray[np.uint8]) -> Array:
        """Logits (or log-probabilities) `(n, classes)` of the port in evaluation mode."""
        ...

    def train(self, plan: Plan, data: TrainingData, *, seed: int, native: bool) -> float:
        """Train freely, from the port's own initial weights (drawn with `seed`) or from the
        plan's; accuracy on the test rows."""
        ...


class PortBackend(Protocol):
    """The method of a backend that can run ports."""

    def open_port(self, target: str, runtime: Runtime) -> PortHost:
        """Load `path/to/file.py:NAME`; errors in it are raised as `UserCodeError`."""
        ...
