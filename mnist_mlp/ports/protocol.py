"""The optional part of the backend interface: run a user's own model.

A backend that also has `open_port` (`PortBackend`) can run a port. A port is a `LightningModule`, a
compiled `keras.Model`, a function or class that makes one, or a dictionary with one. The host runs
the user's code as the framework would, in one real `Trainer.fit` or `Model.fit`, with the batches
of the plan. Before each judged step, the host sets the weights; then it records what the code
computes. The records are judged in the parent process, by `mnist_mlp.parity`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.contract import Runtime, State, StepRecord, TrainingData
from mnist_mlp.plan import Plan
from mnist_mlp.ports.batch_keys import BatchKeys
from mnist_mlp.ports.inputs import Inputs, Part
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.ports.padding import Padding
from mnist_mlp.reference import Array, Tensors


@dataclass(frozen=True)
class PortLayer:
    """A leaf module or layer, in order of execution.

    A layer that is run twice between dense layers is listed twice. `kind` is its class (`Linear`,
    `Dense`, `Conv2d`, `Dropout`), or the name of a function that does a layer's work (`dropout` of
    `torch.nn.functional`). `inputs` and `units` are set for dense layers only; `bias` says whether
    a dense layer has a bias. `dtype` is the type of its weights. `settings` are the relevant
    settings of the layer under their Keras names (`rate`, `epsilon`, `momentum`). `native` says
    whether its class is the framework's, not a user's. `line` is where the user's code makes it, or
    calls the function.
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
    line: UserLine | None = field(default=None, compare=False)

    @property
    def dense(self) -> bool:
        """Whether this is a dense layer, the only kind that a specification has."""
        return self.units is not None


@dataclass(frozen=True, eq=False)
class PortDescription:
    """What is known about a model without running it on any data.

    Parameters
    ----------
    layers : tuple of PortLayer
        Leaf layers as the model lists them, not in order of execution. Some may never be run.
    inputs, outputs : tuple of tuple
        Shape of each input and output without the batch axis; None for an axis of any length. Empty
        if the model does not declare them.
    losses : tuple of str
        In Keras the compiled loss; in torch the losses that the module holds or its code names.
    constraints : tuple of str
        In Keras the constraints on weights, in words. They are applied after every update.
    optimizer : str
        In Keras the class of the framework that the compiled optimizer is or inherits from.
    input_names : tuple of str
        Keys of the inputs where they are a dictionary, in the order of `inputs`.
    output_names, output_losses : tuple of str
        Of several outputs: their keys where they are a dictionary, and the compiled loss of each
        (empty where it has none), both in the order of `outputs`.
    vocabularies : tuple of int
        In Keras, for each input, how many words its embedding has; 0 where it is not embedded.
    loop : bool
        Whether it is trained by a script's own loop, which runs no epochs of a plan.
    """

    framework: str
    layers: tuple[PortLayer, ...]
    inputs: tuple[tuple[int | None, ...], ...] = ()
    outputs: tuple[tuple[int | None, ...], ...] = ()
    losses: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    optimizer: str = ""
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    output_losses: tuple[str, ...] = ()
    vocabularies: tuple[int, ...] = ()
    loop: bool = False


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows `(m, inputs)` as a user's code gave them, flattened and compressed without loss.

    If `levels` is set, `values` are uint8 indices into it: images have at most 256 different greys,
    no matter how they were scaled. Otherwise `values` are the numbers themselves.
    """

    values: Array
    levels: Array | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def inputs(self) -> int:
        """Number of values in a row."""
        return int(self.values.shape[1])

    @property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        numbers = self.values if self.levels is None else self.levels
        return float(np.min(numbers)), float(np.max(numbers))

    def take(self, ids: Any) -> Array:
        """The rows `ids` with the values that the user's code gave."""
        values = self.values[ids]
        return values if self.levels is None else self.levels[values]


@dataclass(frozen=True, eq=False)
class OwnPass:
    """One pass over the port's own data.

    `batches` holds one array of indices into `OwnData.rows` per batch. `targets` are classes, int64
    (n,), if labels are integers or one-hot; otherwise they are the given labels, float64 (n, k).
    Several targets stand side by side, float64 (n, k), `widths` columns each.
    `weights` (n,) are the sample weights, if there are any.
    """

    batches: tuple[NDArray[np.int64], ...]
    targets: Array
    weights: Array | None = None
    widths: tuple[int, ...] = ()

    @property
    def ids(self) -> NDArray[np.int64]:
        """Indices into `OwnData.rows` of all rows, (n,), in the order of the pass."""
        return np.concatenate(self.batches)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of rows of each batch."""
        return tuple(len(batch) for batch in self.batches)


@dataclass(frozen=True, eq=False)
class Stripped:
    """What was taken off rows of different lengths: padding, and what went with each row.

    `parts` are all inputs as they are given, of which number `at` is the row itself; empty if it is
    the only one. `others` are the rest, (m, ...) each, in their order.
    """

    parts: tuple[Part, ...] = ()
    at: int = 0
    others: tuple[Array, ...] = ()


@dataclass(frozen=True, eq=False)
class OwnData:
    """The port's own data, in whatever form it was given: the batches of a few epochs.

    Parameters
    ----------
    rows : Rows
        Each distinct row once, in the order of first appearance.
    shape : tuple of int
        Shape of one row, as it was given.
    epochs : tuple of OwnPass
        Passes over the training data; empty if only validation data were given.
    validation : OwnPass or None
    shuffle : bool or None
        Whether the port's settings ask for shuffling (a sequential sampler, `fit(shuffle=False)`);
        None if they don't say.
    total : int or None
        Number of rows that the loader says it has. With `drop_last`, an epoch gives fewer.
    moved_by_validation : bool or None
        Whether the order of the second epoch changes when the validation loader is iterated in
        between (None: not tried).
    first_targets : array or None
        Targets of the first training batch, as they were given: integers or one-hot, (n,) or
        (n, 1). Several are a tuple or a dictionary.
    parts : tuple of Part
        Several inputs, which stand side by side in a row; empty if there is one.
    order : tuple of int
        The places of the parts in the order in which the user's code has them; empty if they stand
        in that order.
    flat : bool
        Whether torch's batches are `(a, b, y)` instead of `((a, b), y)`.
    keys : BatchKeys or None
        Where torch's batches are dictionaries, what is under which key.
    target_parts, target_order
        The same of several targets as `parts` and `order` of several inputs.
    padding : Padding or None
        Of each of the `rows`, where batches are padded to different lengths, or where the other
        side's are.
    stripped : Stripped or None
        Where the `rows` are without their padding, and without what goes with each of them, so
        that the other side's are found among them: what they were.
    flat_order : tuple of int
        The places in a `flat` batch of the inputs and then the targets; empty if they stand so.
    again : bool
        Whether the targets are the inputs again, as an autoencoder's.
    unlabelled : {"", "bare", "tuple", "beside"}
        How batches come that have no targets: `x`, `(x,)`, or `(x, y)` of which only `x` is looked
        at. The targets are the inputs `again` then, and those of the `epochs` are zeros.
    """

    rows: Rows
    shape: tuple[int, ...]
    epochs: tuple[OwnPass, ...] = ()
    validation: OwnPass | None = None
    shuffle: bool | None = None
    total: int | None = None
    moved_by_validation: bool | None = None
    first_targets: Inputs | None = None
    parts: tuple[Part, ...] = ()
    order: tuple[int, ...] = ()
    flat: bool = False
    keys: BatchKeys | None = None
    target_parts: tuple[Part, ...] = ()
    target_order: tuple[int, ...] = ()
    padding: Padding | None = None
    stripped: Stripped | None = None
    flat_order: tuple[int, ...] = ()
    again: bool = False
    unlabelled: str = ""


@dataclass(frozen=True, eq=False)
class PortFacts:
    """What is known about a port before it trains.

    Parameters
    ----------
    layers : tuple of PortLayer
        Leaf layers in order of execution, found by running one batch.
    draws : tuple of dict
        The port's own initial weights by canonical name, one entry per draw, each with another
        seed. There is only one entry if the port is an object, not a function that makes one.
    optimizer : dict
        `name` (class name), `kind` (the class of the framework that it is or inherits from) and its
        settings, including `learning_rate`, as plain numbers.
    loss : str
        Name of the compiled loss, if there is one.
    hidden : tuple of str or None
        What a training step does outside of the `layers`: `random` (it draws random numbers),
        `statistics` (it computes means or variances before the last dense layer). None if unknown.
    batch_size, epochs : int or None
        As given beside the model (`fit` or `loader`).
    shuffle : bool or None
        As given beside the model.
    own : OwnData or None
        Own training and validation data, where some were given.
    options : dict
        The other arguments given beside the model (`trainer`, `fit`), as text.
    left_out : tuple of str
        Given parts that are not run, described for the user.
    not_judged : tuple of str
        Requested features that are not available here, described for the user. With any of them,
        the port cannot be called identical.
    lines : dict
        The user's own lines by what they are about: `loss`, `optimizer`, `fit` and others;
        `activation K` is the call of a function behind the dense layer K.
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
    lines: Mapping[str, UserLine] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PortEpoch:
    """One epoch: the metrics that the port reported, and the batch values to recompute them.

    `reported` are the epoch's metrics in the framework (`callback_metrics`, `logs`), by the port's
    own names. For each training batch, `losses` are mean losses, `rows` numbers of rows, and
    `cross_entropies` and `correct` the mean cross-entropy and the number of correct predictions of
    its logits before the update; each is (batches,). The fields `val_...` hold the same for the
    validation batches. `confusion` and `val_confusion` are confusion matrices (classes, classes)
    over all rows of the pass; their rows are true classes. `batches` is the number of batches of
    the epoch, including those on which the port did not run the network.
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
    """A judged step: its number, from 1 (None: the stress batch), and its record.

    The state in the record is read when the next batch begins, or after `fit` has ended. So it
    includes what callbacks did after the step. `found` holds the port's own weights before the
    shared ones were set; it is given only if the step before was not judged.
    """

    step: int | None
    record: StepRecord
    found: Tensors | None = None


class AskedStates(Mapping[int, State]):
    """States before some steps, each asked for when it is needed, which is once and in order.

    So a port can begin to train while later states are still being computed. In another process,
    only the steps arrive.
    """

    def __init__(self, steps: Collection[int], ask: Callable[[int], State] | None = None) -> None:
        self._steps = frozenset(steps)
        self._ask = ask
        self._last: tuple[int, State] | None = None

    def __getitem__(self, step: int) -> State:
        if step not in self._steps or self._ask is None:
            raise KeyError(step)
        if self._last is None or self._last[0] != step:
            self._last = (step, self._ask(step))
        return self._last[1]

    def __contains__(self, step: object) -> bool:
        return step in self._steps

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._steps))

    def __len__(self) -> int:
        return len(self._steps)

    def __reduce__(self) -> tuple[type[AskedStates], tuple[frozenset[int]]]:
        return AskedStates, (self._steps,)


@dataclass(frozen=True, eq=False)
class PortJob:
    """What a port is run on.

    Before each step in `shared`, the weights and the optimizer state are set to the given values,
    as far as the specification has them. At all other steps, the port trains undisturbed. `stress`
    is one more batch, run separately, for forward pass, loss and gradient only. Its weights make
    gaps of more than 17 between logits: probabilities are then under 1e-7, where Keras may clip.
    `passed_by` are kinds of layers whose output is replaced by their input, so that activations can
    be compared without them.
    """

    plan: Plan
    data: TrainingData
    shared: Mapping[int, State]
    stress: tuple[State, Array, Array] | None = None
    passed_by: tuple[str, ...] = ()


class PortHost(Protocol):
    """A user's model, loaded by the backend of its framework.

    To add a method, add it here, to the hosts of the backends (`backends/*/port/host.py`) and to
    `worker.parent.Worker`. The worker process forwards every method by its name. Arguments named
    `on_...` are callbacks that report progress to the parent, those named `ask_...` wait for its
    answer.
    """

    @property
    def description(self) -> PortDescription:
        """What is known about the model without running it on any data."""
        ...

    def open(self, *, data: TrainingData, image_shape: tuple[int, ...]) -> PortFacts:
        """Run one batch and describe the model. This must be the first call.

        `image_shape` is the shape of one input as the port expects it, without the batch axis
        (`(784,)`, `(1, 28, 28)`). Errors in the user's code are raised as `UserCodeError`.
        """
        ...

    def fit(
        self,
        job: PortJob,
        *,
        ask_state: Callable[[int], State],
        on_step: Callable[[PortStep], None],
        on_epoch: Callable[[PortEpoch], None],
    ) -> None:
        """Run one real `fit` over the plan's epochs, from the plan's initial weights.

        `ask_state` answers with the state before a step in `job.shared`, whose values have not
        been sent.
        """
        ...

    def predict(self, weights: Tensors, images: NDArray[np.uint8]) -> Array:
        """Return logits (or log-probabilities) `(n, classes)` of the port in evaluation mode."""
        ...

    def train(
        self,
        plan: Plan,
        data: TrainingData,
        *,
        seed: int,
        native: bool,
        on_epoch: Callable[[Mapping[str, float]], None],
    ) -> float:
        """Train without setting any weights on the way; return the accuracy on the test rows.

        With `native`, training starts from the port's own initial weights, drawn with `seed`.
        Otherwise it starts from the plan's. `on_epoch` is called after each epoch with its numbers:
        `loss`, and what the port reports of `accuracy`, `val_loss` and the like
        (`mnist_mlp.ports.reported.by_kind`).
        """
        ...


class PortBackend(Protocol):
    """The additional method of a backend that can run ports."""

    def open_port(self, target: str, runtime: Runtime) -> PortHost:
        """Load `path/to/file.py:NAME`; errors in it are raised as `UserCodeError`."""
        ...
