"""What crosses the border when two models are each other's measure: `PairSide`.

Both models take the same training steps in float64, in one real `fit` of their frameworks. Side a
runs freely. Side b is set to a's weights before each step, gets a's random draws within it, and a's
gradients after its own were recorded. So every stage of every step is judged from equal inputs.

Tensors have canonical layouts, which are Keras's: dense kernels are (inputs, units), kernels of
convolutions (*window, inputs / groups, outputs). Their names are `NUMBER/ROLE`: the number of the
layer among all that were observed, and `kernel`, `bias`, `gamma`, `beta`, `mean` or `variance`; a
weight of no layer is `NUMBER/weight`, without axes of length 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import permutations
from math import prod
from typing import Any, Protocol

import numpy as np

from mnist_mlp.ports.batch_keys import BatchKeys
from mnist_mlp.ports.constraints import Constraint, constrained
from mnist_mlp.ports.inputs import Inputs, arrays_of, count_of, each
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.ports.padding import Padding
from mnist_mlp.ports.protocol import OwnData
from mnist_mlp.ports.reported import Reports
from mnist_mlp.ports.update_rules import Settings
from mnist_mlp.reference import Array, Tensors

STATISTICS = ("mean", "variance")
"""Roles of tensors that a forward pass changes, and no optimizer."""

OWN = 1_000_000
"""The number of the first weight that belongs to no layer; more than there are layers."""

RESULT = -1
"""Stands for the number of a layer where the result of the whole model is meant."""

REST = {
    "later": "begin the first update of the next epoch",
    "added": "are added to the first update of the next epoch",
    "update": "make an update",
    "dropped": "are dropped",
}
"""What becomes of batches at an epoch's end that are too few for an update."""

OF_LOOPS = ("cleared", "kept", "training_mode", "still")
"""Changes of a loop: before each step, gradients are cleared, or the module is in training mode;
after each backward pass, gradients are kept until the update."""


def own_weights(
    weights: Iterable[tuple[str, Sequence[int]]],
    frozen: Iterable[tuple[str, Sequence[int]]] = (),
) -> tuple[PairLayer, ...]:
    """Weights that belong to no layer, given by name and shape: those that are trained, then those
    that are `frozen`."""
    every = [*((x, False) for x in weights), *((x, True) for x in frozen)]
    return tuple(
        PairLayer(
            *(OWN + k, name, "own_weight", {"frozen": True} if still else {}),
            shapes={"weight": tuple(n for n in shape if n > 1)},
        )
        for k, ((name, shape), still) in enumerate(every)
    )


def tensor_name(layer: int, role: str) -> str:
    """`3/kernel`."""
    return f"{layer}/{role}"


def layer_and_role(name: str) -> tuple[int, str]:
    """The two parts of a tensor's name."""
    number, _, role = name.partition("/")
    return int(number), role


@dataclass(frozen=True)
class PairLayer:
    """A layer's work as it was observed: a leaf layer in Keras, a call of a function in torch.

    Parameters
    ----------
    number : int
        Its place in the order of execution, from 0.
    name : str
        As the user calls it (`conv1`), with the framework's name of the work (`conv1: Conv2D`).
    kind : str
        What it does, by one name in both frameworks: `dense`, `conv`, `batch_norm`, `max_pool`.
    settings : dict
        By one name and in one convention in both: `epsilon`, `momentum` (the share of the old
        value), `stride`, `pads` (before and after, for each axis), `rate`.
    shapes : dict
        Canonical shape of each of its tensors, by role.
    behind : int or None
        The number of the layer whose result it is given as it is, where that is known.
    line : UserLine or None
        Where the user's code makes it, or calls the function that it is.
    """

    number: int
    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    behind: int | None = None
    line: UserLine | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Passed:
    """Work between layers that is shown and not judged by itself: a change of shape, padding,
    merging, or whatever else is no layer of a known kind.

    `after` is how many layers (`PairLayer`) were noted before it. `shape` is that of its result,
    without the batch. `kind` has one name in both frameworks where it is known: `flatten`,
    `reshape`, `permute`, `pad`, `add`, `concatenate`.
    """

    after: int
    name: str
    kind: str
    shape: tuple[int, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    line: UserLine | None = field(default=None, compare=False)


@dataclass(frozen=True, eq=False)
class PairRows:
    """What a model is fed: rows `x` (m, ...) and targets `y` (m, ...), in the form that it takes.

    Several inputs, or several targets, are a tuple or dictionary of arrays; torch's loaders may
    give all of them in one `flat` tuple, or in a dictionary, by `keys`. `weights` (m,) are those of
    single rows, the third part of a batch. An epoch is these rows in
    their order, `batch_size` at a time; the last batch may be smaller. Where a side accumulates the
    gradients of several batches, `batch_size` are the rows of one update, which are cut into
    those. Of rows of different lengths, `padding` says how they are padded; `batch` cuts them.
    `flat_order` are the places of inputs and targets in a `flat` batch that has them mixed.
    `unlabelled` says how batches are given that have no targets (see `OwnData`); `y` is `x` then.
    """

    x: Inputs
    y: Inputs
    batch_size: int
    flat: bool = False
    keys: BatchKeys | None = None
    weights: Array | None = None
    padding: Padding | None = None
    flat_order: tuple[int, ...] = ()
    unlabelled: str = ""

    @property
    def count(self) -> int:
        """Rows of an epoch."""
        return count_of(self.y)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self.count // self.batch_size)

    def batches(self, parts: int = 1) -> list[list[int]]:
        """The rows of each batch that a model gets, where so many of them make one update."""
        found = []
        for start in range(0, self.count, self.batch_size):
            rows = range(start, min(start + self.batch_size, self.count))
            found += [part.tolist() for part in np.array_split(np.array(rows), parts)]
        return found

    def rows_of(self, step: int) -> range:
        """The rows of an update, from 0, in whatever epoch it is."""
        start = step % self.steps * self.batch_size
        return range(start, min(start + self.batch_size, self.count))

    def first(self, rows: int) -> PairRows:
        """The first so many rows."""
        return self.part(slice(rows))

    def part(self, rows: slice) -> PairRows:
        """Some of the rows."""
        x, y = (each(lambda a: a[rows], given) for given in (self.x, self.y))
        weights = None if self.weights is None else self.weights[rows]
        padding = None if self.padding is None else self.padding.of(rows)
        return replace(self, x=x, y=y, weights=weights, padding=padding)

    @property
    def by_batch(self) -> bool:
        """Whether batches are of different lengths."""
        return self.padding is not None and self.padding.by_batch

    @property
    def as_one(self) -> Inputs:
        """All rows, as one batch of them would be."""
        found: Inputs = self.batch(range(self.count)) if self.by_batch else self.x
        return found

    def batch(self, ids: Sequence[int], x: Any = None) -> Any:
        """The inputs of one batch, as long as its longest row; `x` may be them in another form."""
        chosen = list(ids)
        taken = each(lambda a: a[chosen], self.x if x is None else x)
        if self.padding is None or not self.padding.by_batch:
            return taken
        padding = self.padding.of(chosen)
        arrays = [
            padding.cut(a) if k in padding.parts else a for k, a in enumerate(arrays_of(taken))
        ]
        if isinstance(taken, Mapping):
            return dict(zip(sorted(taken), arrays, strict=True))
        return tuple(arrays) if isinstance(taken, tuple) else arrays[0]


@dataclass(frozen=True)
class RunLength:
    """How long the run is that a user means: its epochs, and the updates of each.

    It is `guessed` where neither side says so by its data and its epochs.
    """

    epochs: int
    steps: int
    guessed: bool = False


@dataclass(frozen=True, eq=False)
class Draw:
    """One draw of random numbers: for a dropout, which elements stay, and how probable that was;
    for `normal` noise, numbers of mean 0 and deviation 1.

    `source` is the number of the layer whose result is dropped of, where that is known: branches of
    a network may run in another order in the other framework. `channels_last` is where the
    framework that drew has them.
    """

    keep: Array
    probability: float = 1.0
    source: int | None = None
    normal: bool = False
    channels_last: bool | None = None


class Planned:
    """Draws to be used once each: that of the same source, else the next of the others."""

    def __init__(self, draws: Sequence[Draw], *, channels_last: bool) -> None:
        self._left = list(draws)
        self._channels_last = channels_last

    def next(
        self, source: int | None, shape: Sequence[int], *, normal: bool = False
    ) -> Array | None:
        """The draw for what is behind a layer, laid out in a shape; None if it does not fit."""
        places = [i for i, draw in enumerate(self._left) if draw.normal == normal]
        if not places:
            return None
        place = next((i for i in places if self._left[i].source == source is not None), places[0])
        draw = self._left[place]
        laid = laid_out(
            draw.keep,
            shape,
            channels_last=self._channels_last,
            elsewhere=draw.channels_last is not None and draw.channels_last != self._channels_last,
        )
        if laid is not None:
            del self._left[place]
        return laid


MAPS = 4
"""Axes of a batch of maps, whose channels stand elsewhere in the other framework. With fewer axes,
features may be last in both."""


def laid_out(
    keep: Array, shape: Sequence[int], *, channels_last: bool, elsewhere: bool = False
) -> Array | None:
    """The same elements in another order of the axes; None if they do not fit `shape`.

    Where several orders fit, channels go last, or first after the batch; `elsewhere` says that they
    come from a framework that has them at the other place.
    """
    shape, axes = tuple(shape), range(keep.ndim)
    if keep.shape == shape and not (elsewhere and keep.ndim >= MAPS):
        return keep
    likely = (
        (*axes[:1], *axes[2:], *axes[1:2])
        if channels_last
        else (*axes[:1], *axes[1:][-1:], *axes[1:-1])
    )
    for order in (likely, *permutations(axes)):
        if tuple(keep.shape[i] for i in order) == shape:
            return keep.transpose(order)
    plain = tuple(n for n in shape if n != 1)
    squeezed = keep.squeeze()
    if (squeezed.shape, plain) == (keep.shape, shape) or keep.size != prod(shape):
        return None
    inner = laid_out(squeezed, plain, channels_last=channels_last)  # an axis of length 1 more
    return None if inner is None else inner.reshape(shape)


@dataclass(frozen=True, eq=False)
class Forced:
    """What side b is given in one step; `gradients` replace its own after they were recorded."""

    weights: Tensors
    gradients: Tensors
    draws: tuple[Draw, ...] = ()


@dataclass(frozen=True)
class Mend:
    """One change of a model for an experiment, where its user would change a line.

    `layer` is the number of the observed layer, None for the optimizer or the loop. `field` is one
    of its settings, or `kind` (do this instead), `skip` (leave it out), `after` (do this behind
    it), with a pair of kind and settings as `value`. Of a loss, `added` is how much its weight in
    the sum of several losses grows. Of the optimizer, it is a field of
    `update_rules`, whose value may be `ByStep` or `ByTensor`, or `interval`: when a schedule is
    asked, `step` or `epoch`. Of a loop, it is one of `OF_LOOPS`.
    """

    layer: int | None
    field: str
    value: Any = None


@dataclass(frozen=True, eq=False)
class PairJob:
    """A training run of a few short epochs.

    `forced` has one entry for each step of side b. With fewer entries than steps, the model runs
    freely after them. With `validation`, each epoch ends with a validation on the same rows, which
    has one entry's weights in each of side b's epochs.
    """

    rows: PairRows
    epochs: int
    forced: tuple[Forced, ...] = ()
    mends: tuple[Mend, ...] = ()
    validation: tuple[Tensors, ...] | None = None

    def forced_at(self, step: int) -> Forced:
        """What is forced in a step, from 0; nothing where the model runs freely."""
        return self.forced[step] if step < len(self.forced) else Forced({}, {})

    def validated_with(self, epoch: int) -> Tensors:
        """The weights of an epoch's validation, from 0; none where it has the model's own."""
        return self.validation[epoch] if self.validation and epoch < len(self.validation) else {}

    @property
    def optimizer_mends(self) -> list[Mend]:
        """The changes of the optimizer."""
        return [m for m in self.mends if m.layer is None and m.field not in OF_LOOPS]

    @property
    def loop_mends(self) -> list[Mend]:
        """The changes of a loop."""
        return [mend for mend in self.mends if mend.layer is None and mend.field in OF_LOOPS]

    def constrained(self, moved: Tensors) -> Tensors:
        """Weights right behind the optimizer, as they are left by constraints that an experiment
        puts in the place of the model's own."""
        found = {}
        for mend in self.mends:
            if mend.field == "constraint" and mend.layer is not None:
                role, by = mend.value
                name = tensor_name(mend.layer, role)
                found[name] = moved[name] if by is None else constrained(moved[name], by)
        return found


def changed_since(moved: Tensors, after: Tensors) -> Tensors:
    """Those of some tensors that are others now, as they were."""
    return {name: w for name, w in moved.items() if not np.array_equal(w, after[name])}


@dataclass(frozen=True, eq=False)
class WholeRun:
    """A training run as its user means it, of which nothing is set and nothing recorded.

    Parameters
    ----------
    epochs : int or None
        None where only the end of a user's own loop tells.
    steps : int or None
        Updates of an epoch, which a loop does not tell by itself.
    rows, held_out : PairRows or None
        Training and validation rows for a model that brings no data.
    """

    epochs: int | None
    steps: int | None = None
    rows: PairRows | None = None
    held_out: PairRows | None = None


@dataclass(frozen=True, eq=False)
class PairStep:
    """What a model computed in one step.

    `inputs` are those of layers with weights, `outputs` those of all observed layers, by number.
    `gradients` are those of the backward pass; `applied` those that the optimizer took, where they
    are others. `optimizer` has the settings of each tensor's update, as they were in effect.
    `rough` names what was computed in a smaller type than the run's, `unseen` what drew random
    numbers that cannot be exchanged. `moved` are weights right behind the optimizer, where they are
    changed once more before the next step, as by a constraint. `result` is what the whole model
    gave, where that is one tensor. `later` has inputs and outputs of each further call of a layer
    that runs more than once, by its number. `padding` is that of the step's rows, where it is
    known.
    """

    inputs: Mapping[int, Array]
    outputs: Mapping[int, Array]
    loss: float
    before: Tensors
    gradients: Tensors
    after: Tensors
    draws: tuple[Draw, ...] = ()
    applied: Tensors = field(default_factory=dict)
    optimizer: Mapping[str, Settings] = field(default_factory=dict)
    rough: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    moved: Tensors = field(default_factory=dict)
    result: Array | None = None
    later: Mapping[int, Sequence[tuple[Array, Array]]] = field(default_factory=dict)
    padding: Padding | None = None


@dataclass(frozen=True)
class ClassWeights:
    """What a row counts in a loss, by its class; classes that are not named count once.

    The sum is divided by the number of rows, or, if it `divides`, by the sum of their weights, as
    `weight` of torch's cross-entropy is.
    """

    by_class: tuple[tuple[int, float], ...]
    divides: bool = False

    def __str__(self) -> str:
        words = ", ".join(f"{label}: {weight:.6g}" for label, weight in self.by_class)
        return f"{words}, divided by their sum" if self.divides else words

    @property
    def counted(self) -> dict[int, float]:
        """Those that are not 1."""
        return {label: weight for label, weight in self.by_class if weight != 1}

    def of(self, classes: Array) -> Array:
        """The weight of each row, float64 (n,), in a mean over the rows."""
        known = dict(self.by_class)
        found = np.array([known.get(int(label), 1.0) for label in classes.ravel()])
        return found * (len(found) / found.sum()) if self.divides else found


@dataclass(frozen=True, eq=False)
class PairFacts:
    """What is known of a model after one batch.

    Parameters
    ----------
    layers : tuple of PairLayer
        In the order of execution.
    chosen : int
        Which of the offered rows it ran on.
    own : tuple of PairLayer
        Weights that belong to no layer of a known kind, one by one: of the role `weight`, without
        axes of length 1, with numbers from `OWN` on. Those that are not trained have the setting
        `frozen`.
    repeated : tuple of str
        Layers with weights that run more than once in a step; the first call is observed.
    unregistered : tuple of PairLayer
        Layers that run with weights which the model does not know, as those in a list of torch.
    loss : PairLayer or None
        The loss, where it is one of the framework's.
    losses : tuple of PairLayer
        Where there are several, each of them, with its `weight` in their sum among its settings,
        and `behind` the last layer with weights that it looks at.
    targets : tuple of int or None
        The places, among a row's several targets, of those that the `losses` look at.
    penalties : dict
        L2 penalty of each tensor that has one, as `sum(w**2)` is multiplied in the loss.
    constraints : dict
        In Keras, the constraint of each tensor that has one.
    class_weights : ClassWeights or None
        Of `fit`, or of torch's loss.
    repeated_rows : tuple of str
        Embeddings for which the optimizer takes the occurrences of a row one by one.
    schedules : tuple of str
        Schedules of the learning rate that can be run alone (`PairSide.rates`), in words.
    asks_length : bool
        Whether the model asked how long the run is, where that was guessed.
    own_rates : bool
        Whether the user's own code changes learning rates, so that `PairSide.rates` does not know
        them.
    accumulated : int
        Batches whose gradients make one update.
    rest : str
        What becomes of batches at the end of an epoch that are too few for an update: one of
        `REST`; empty where that is not known.
    rest_weights : tuple of float
        What the loss of each of them counts in that; empty where all count as in other updates.
    plateau, early_stopping : dict or None
        Settings of what follows the loss, by one name and in one convention: `epochs` without
        progress that it takes.
    trainer_given : bool
        Whether arguments of `Trainer` or `fit` were given at all; callbacks are among them.
    open_questions : tuple of str
        What a training run does that these short ones don't show, in words.
    loop : bool
        Whether a user's own loop makes the steps.
    lines : dict
        The user's own lines by what they are about: `loss`, `optimizer`, `fit` and others.
    shapes : dict
        Shape of each layer's result without the batch, as the framework has it, by number.
    passed : tuple of Passed
        What is between the layers.
    """

    framework: str
    layers: tuple[PairLayer, ...]
    chosen: int
    loss: PairLayer | None = None
    losses: tuple[PairLayer, ...] = ()
    targets: tuple[int | None, ...] = ()
    own: tuple[PairLayer, ...] = ()
    repeated: tuple[str, ...] = ()
    unregistered: tuple[PairLayer, ...] = ()
    penalties: Mapping[str, float] = field(default_factory=dict)
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    class_weights: ClassWeights | None = None
    repeated_rows: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    asks_length: bool = False
    own_rates: bool = False
    accumulated: int = 1
    rest: str = ""
    rest_weights: tuple[float, ...] = ()
    plateau: Mapping[str, Any] | None = None
    early_stopping: Mapping[str, Any] | None = None
    trainer_given: bool = True
    open_questions: tuple[str, ...] = ()
    loop: bool = False
    lines: Mapping[str, UserLine] = field(default_factory=dict)
    shapes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    passed: tuple[Passed, ...] = ()

    @property
    def all_losses(self) -> tuple[PairLayer, ...]:
        """The losses, one or several."""
        return self.losses or ((self.loss,) if self.loss is not None else ())


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
