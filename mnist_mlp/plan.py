"""The plan: a specification plus all random draws, made before any framework starts.

Two backends with the same plan therefore have no freedom left. Random streams are
`PCG64(SeedSequence(seed, spawn_key=key))`. The kernel of layer `i` has the key `(0, i)`, the order
of epoch `e` has the key `(1, e - 1)`. Keys are used because lists of entropy would collide: `[7]`,
`[7, 0]` and `[7, 0, 0]` seed the same stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.memory import machine_memory
from mnist_mlp.readers.arrays import ARRAYS_LIMIT
from mnist_mlp.reference import Array, bias_name, kernel_name
from mnist_mlp.shown import size
from mnist_mlp.spec import ModelSpec, Spec

Ids = NDArray[np.int64]

_KERNEL_STREAM, _ORDER_STREAM = 0, 1


@dataclass(frozen=True, eq=False)
class Plan:
    """All that determines a run: specification, rows, initial weights and order.

    Parameters
    ----------
    spec : Spec
    train_ids, test_ids : int64 (n_train,), (n_test,)
        Row ids in the data set. A *position* is an index into `train_ids`.
    initial_weights : dict of arrays
        Initial weights by canonical name, in the precision of the specification.
    orders : integers (epochs, n_train), optional
        The order of each epoch, where a framework drew it (`contract.Draws`).
    """

    spec: Spec
    train_ids: Ids
    test_ids: Ids
    initial_weights: dict[str, Array]
    orders: Array | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch, including a smaller last one."""
        return ceil(len(self.train_ids) / self.spec.training.batch_size)

    def as_trained(self, epochs: int) -> Plan:
        """The plan of a run that stopped after some epochs: only these, without early stopping."""
        training = self.spec.training.model_copy(
            update={"epochs": epochs, "patience": 0, "min_delta": 0.0}
        )
        return replace(self, spec=self.spec.model_copy(update={"training": training}))

    def order(self, epoch: int) -> Ids:
        """Positions in the order in which epoch `epoch` (from 1) visits them, int64 (n_train,)."""
        if self.orders is not None:
            return self.orders[epoch - 1].astype(np.int64)
        return stream(self.spec.seed, _ORDER_STREAM, epoch - 1).permutation(len(self.train_ids))

    def batches(self, epoch: int) -> Iterator[Ids]:
        """Positions of each batch of an epoch (from 1); the last batch may be smaller."""
        order, size = self.order(epoch), self.spec.training.batch_size
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def rows_of_batch(self, index: int) -> int:
        """Number of rows of batch `index` (from 0) of any epoch."""
        size = self.spec.training.batch_size
        return min(size, len(self.train_ids) - index * size)


def share(positions: Ids, *, rank: int, ranks: int) -> Ids:
    """The part of some rows that process `rank` (from 0) of `ranks` computes.

    The parts follow one another, and every row is in exactly one. Their lengths differ by at most
    one row, and are 0 for some if there are fewer rows than processes.
    """
    return np.array_split(positions, ranks)[rank]


def stream(seed: int, *key: int) -> np.random.Generator:
    """The random stream of a key."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def make_plan(spec: Spec, dataset: Dataset) -> Plan:
    """Draw the split and the initial weights.

    Raises
    ------
    UsageError
        The layer sizes or the row limit don't fit the data, the network doesn't fit into the
        memory, or the epochs don't fit into a run folder; the text names both numbers.
    """
    check_fit(spec, dataset)
    train_ids, test_ids = split(spec, dataset)
    check_epochs(spec, rows=len(train_ids))
    check_memory(spec, rows=len(train_ids))
    weights = glorot_uniform(spec.model, seed=spec.seed, dtype=spec.training.precision)
    return Plan(spec=spec, train_ids=train_ids, test_ids=test_ids, initial_weights=weights)


def check_fit(spec: Spec, dataset: Dataset) -> None:
    """Refuse sizes that don't fit the data (`UsageError`)."""
    sizes = spec.model.layer_sizes
    height, width = dataset.images.shape[1:]
    if sizes[0] != dataset.inputs:
        raise UsageError(
            f"model.layer_sizes begins with {sizes[0]}, but an image of {dataset.name} has "
            f"{dataset.inputs} pixels ({height} x {width}): "
            f"set model.layer_sizes=[{dataset.inputs}, ...]"
        )
    if sizes[-1] != dataset.classes:
        raise UsageError(
            f"model.layer_sizes ends with {sizes[-1]}, but {dataset.name} has "
            f"{dataset.classes} classes: set model.layer_sizes=[..., {dataset.classes}]"
        )
    rows = spec.data.rows
    if rows != "all" and rows > len(dataset):
        raise UsageError(
            f"data.rows is {rows}, but {dataset.name} has {len(dataset)} rows: "
            f"lower it or set data.rows='all'"
        )


_ORDER_ITEM = 4  # bytes of a position in the order of an epoch: uint32


def check_epochs(spec: Spec, *, rows: int) -> None:
    """Refuse more epochs of `rows` training rows than a run folder can hold (`UsageError`).

    The order of all epochs is one file, and it is drawn before training.
    """
    most = ARRAYS_LIMIT // (_ORDER_ITEM * rows)
    if spec.training.epochs > most:
        raise UsageError(
            f"training.epochs is {spec.training.epochs:,}, but the order of {rows:,} rows fits "
            f"into a run folder ({size(ARRAYS_LIMIT)}) for at most {most:,} epochs: lower it"
        )


def check_memory(spec: Spec, *, rows: int) -> None:
    """Refuse a network that needs more memory than this machine has (`UsageError`).

    `rows` is the number of training rows, which limits the size of a batch.
    """
    needed, memory = least_memory(spec, rows=rows), machine_memory()
    if memory is not None and needed > memory:
        batch = min(spec.training.batch_size, rows)
        raise UsageError(
            f"{spec.model.parameters:,} parameters and batches of {batch:,} rows need at least "
            f"{size(needed)}, but this machine has {size(memory)} of memory: lower "
            f"model.layer_sizes or training.batch_size"
        )


def least_memory(spec: Spec, *, rows: int) -> int:
    """Bytes without which no backend can train.

    These are the weights twice (in this process and in the worker), their gradient, and the
    activations of a batch, which the backward pass needs.
    """
    weights = 3 * spec.model.parameters
    units = sum(units for _, units, _ in spec.model.layers)
    activations = min(spec.training.batch_size, rows) * units
    return (weights + activations) * np.dtype(spec.training.precision).itemsize


def split(spec: Spec, dataset: Dataset) -> tuple[Ids, Ids]:
    """Row ids of the training set and of the test set, not stratified.

    They are those of scikit-learn's `train_test_split`. If the data set has groups (several images
    made from one scan), `GroupShuffleSplit` makes them, so that no group is on both sides.
    """
    rows = len(dataset) if spec.data.rows == "all" else spec.data.rows
    fraction, ids = spec.data.test_fraction, np.arange(rows, dtype=np.int64)
    try:
        if dataset.groups is None:
            return _shuffled_split(ids, fraction, seed=spec.seed)
        from sklearn.model_selection import GroupShuffleSplit

        splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=spec.seed)
        train, test = next(splitter.split(ids, groups=dataset.groups[:rows]))
        return ids[train], ids[test]
    except ValueError as error:
        raise UsageError(
            f"data.test_fraction={fraction} cannot split {rows} rows: {error}"
        ) from None


def _shuffled_split(ids: Ids, fraction: float, *, seed: int) -> tuple[Ids, Ids]:
    """What `train_test_split(ids, test_size=fraction, random_state=seed)` returns.

    Not by that function, because importing scikit-learn takes longer than drawing everything else,
    and each command would wait for it. NumPy never changes the numbers of `RandomState`.
    """
    tests = ceil(fraction * len(ids))
    if tests >= len(ids):
        raise ValueError("no training row is left")
    drawn = ids[np.random.RandomState(seed).permutation(len(ids))]
    return drawn[tests:], drawn[:tests]


def glorot_uniform(model: ModelSpec, *, seed: int, dtype: Any) -> dict[str, Array]:
    """Initial weights: kernels from `uniform(-b, b)`, `b = sqrt(6 / (inputs + units))`, biases 0.

    Kernels are drawn in float64, then cast (Glorot and Bengio, 2010, equation 16).
    """
    weights: dict[str, Array] = {}
    for layer, (inputs, units, _) in enumerate(model.layers):
        bound = sqrt(6 / (inputs + units))
        kernel = stream(seed, _KERNEL_STREAM, layer).uniform(-bound, bound, (inputs, units))
        weights[kernel_name(layer)] = kernel.astype(dtype)
        weights[bias_name(layer)] = np.zeros(units, dtype=dtype)
    return weights


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Rows of both sides of the split, unscaled.

    `train_images` is uint8 (n_train, inputs) and `train_labels` uint8 (n_train,), in the order of
    `Plan.train_ids`. The test set has the same form.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]

    def release(self) -> None:
        """Say that all images were copied. Here it does nothing: the caller may need them."""


@dataclass(frozen=True, eq=False)
class ReceivedData(TrainingData):
    """Rows of a worker, which nobody needs once its framework has a copy of them."""

    def release(self) -> None:
        """Forget the images, so that their memory can be used again; the labels stay."""
        for name in ("train_images", "test_images"):
            object.__setattr__(self, name, np.empty((0, getattr(self, name).shape[1]), np.uint8))


def training_data(plan: Plan, dataset: Dataset) -> TrainingData:
    """The rows of both sides of the split, in the plan's order."""
    images = dataset.flat()
    return TrainingData(
        train_images=images[plan.train_ids],
        train_labels=dataset.labels[plan.train_ids],
        test_images=images[plan.test_ids],
        test_labels=dataset.labels[plan.test_ids],
    )


# The two limits below decide how many steps one framework call makes on the fast path. Every call
# has a fixed cost of about a millisecond, so a call should be long. But training reports nothing
# during a call, so a call should be short enough for progress to move about once a second.

_CALL_FLOP = 1e10
"""Work of one call: half a second at 20 GFLOP/s, which one core of a slow machine reaches."""

_MOST_STEPS = 1000
"""Most steps of one call. A step costs torch a millisecond even in a tiny network, so the limit on
floating-point operations alone would make the calls of tiny networks too long."""


def steps_per_call(plan: Plan) -> int:
    """Number of full batches per framework call, at least 1.

    An epoch is divided into calls of nearly equal length. A step is counted as 6 floating-point
    operations per parameter and row: two each for the forward pass, the gradient of the weights and
    the gradient of the inputs.
    """
    batch_size = plan.spec.training.batch_size
    flop = 6 * plan.spec.model.parameters * batch_size
    longest = min(max(int(_CALL_FLOP / flop), 1), _MOST_STEPS)
    whole = len(plan.train_ids) // batch_size
    # First the number of calls, then their length: this avoids a very short last call.
    calls = max(ceil(whole / longest), 1)
    return max(ceil(whole / calls), 1)
