"""What crosses the border when two models are each other's measure (`pair_side`).

Both models take the same training steps in float64, in one real `fit` of their frameworks. Side a
runs freely. Side b is set to a's weights before each step, gets a's random draws within it, and a's
gradients after its own were recorded. So every stage of every step is judged from equal inputs.

Tensors have canonical layouts, which are Keras's: dense kernels are (inputs, units), kernels of
convolutions (*window, inputs / groups, outputs). Their names are `NUMBER/ROLE`: the number of the
layer among all that were observed, and `kernel`, `bias`, `gamma`, `beta`, `mean` or `variance`; a
weight of no layer is `NUMBER/weight`, without axes of length 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnist_mlp.ports.constraints import Constraint, constrained
from mnist_mlp.ports.draws import Draw
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.ports.padding import Padding
from mnist_mlp.ports.pair_rows import PairRows
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
