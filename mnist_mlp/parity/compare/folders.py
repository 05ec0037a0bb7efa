"""Compare the files of two run folders with the plan and with each other.

The plan is computed anew from the specification and the data set. Each folder is compared with it,
so an altered file is found on its own rung and on its own side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.causes import init, order
from mnist_mlp.parity.findings import Break, Cause, Place, Side
from mnist_mlp.plan import Plan
from mnist_mlp.reference import kernel_name
from mnist_mlp.run.folder import Run
from mnist_mlp.run.tensors import tensors_digest

Sides = dict[Side, Run]


def spec_fields(a: Run, b: Run) -> dict[str, tuple[Any, Any]]:
    """Every key of two specifications with both values, except their names."""
    left, right = (run.spec.model_dump(mode="json", exclude={"name"}) for run in (a, b))
    pairs = {"seed": (left.pop("seed"), right.pop("seed"))}
    for section, content in left.items():
        for key, value in content.items():
            pairs[f"{section}.{key}"] = (value, right[section][key])
    return pairs


def spec_breaks(pairs: Mapping[str, tuple[Any, Any]]) -> list[Break]:
    """Keys in which two specifications differ."""
    differing = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    if not differing:
        return []
    text = "; ".join(f"{key}: {x} against {y}" for key, (x, y) in differing.items())
    precision = differing.get("training.precision")
    name = f"{precision[1]}_arithmetic" if precision else "specification_differs"
    return [Break(side="b", rung="spec", cause=Cause(name, text), got=text)]


def data_breaks(run: Run, plan: Plan, dataset: Dataset, *, side: Side) -> Iterator[Break]:
    """Compare the digest, the split and the rows of a folder with the data set."""
    for key, recorded, expected in (
        ("sha256", run.dataset.sha256, dataset.digest),
        ("name", run.dataset.name, dataset.name),
    ):
        if recorded != expected:
            cause = Cause("other_data", f"data set {key}")
            yield Break(side=side, rung="data", cause=cause, got=recorded, expected=expected)
            return
    ids = run.predictions["ids"]
    if not np.array_equal(ids, plan.test_ids):
        cause = Cause("other_split", "the test rows differ from those of the plan")
        yield Break(side=side, rung="data", place=Place(tensor="ids"), cause=cause)
        return
    wrong = np.flatnonzero(run.predictions["y_true"] != dataset.labels[plan.test_ids])
    if len(wrong):
        row = int(ids[wrong[0]])
        yield Break(
            side=side,
            rung="data",
            place=Place(tensor="labels"),
            cause=Cause("altered_file", f"predictions.npz: label of row {row}"),
            got=str(run.predictions["y_true"][wrong[0]]),
            expected=str(dataset.labels[row]),
        )
    yield from _example_breaks(run, dataset, side)


def _example_breaks(run: Run, dataset: Dataset, side: Side) -> Iterator[Break]:
    examples = run.examples
    beyond = examples["ids"][examples["ids"] >= len(dataset)]
    if len(beyond):
        text = f"examples.npz: row {beyond[0]} is not in the data set"
        cause = Cause("altered_file", text)
        yield Break(side=side, rung="data", place=Place(tensor="ids"), cause=cause)
        return
    for row, image in zip(examples["ids"], examples["images"], strict=True):
        true = dataset.images[row]
        if image.shape != true.shape or not np.array_equal(image, true):
            at = np.argwhere(image != true)[0] if image.shape == true.shape else (0, 0)
            yield Break(
                side=side,
                rung="data",
                place=Place(tensor="pixels"),
                cause=Cause(
                    "altered_file", f"examples.npz: row {int(row)}, pixel {tuple(map(int, at))}"
                ),
                got=str(image[tuple(at)]),
                expected=str(true[tuple(at)]),
            )
            return


def order_breaks(run: Run, plan: Plan, *, side: Side) -> Iterator[Break]:
    """Compare the recorded order of the rows with that of the plan."""
    found = run.order
    if not np.array_equal(found["train_ids"], plan.train_ids):
        at = _first_difference(found["train_ids"], plan.train_ids)
        cause = Cause(
            "other_split", f"the training rows differ from those of the plan, from position {at} on"
        )
        yield Break(side=side, rung="order", place=Place(tensor="train_ids"), cause=cause)
        return
    orders = [np.asarray(epoch, np.int64) for epoch in found["epochs"]]
    broken = order.first_break(orders, plan)
    if broken is not None:
        epoch, step, cause = broken
        yield Break(
            side=side,
            rung="order",
            place=Place(epoch=epoch, step=step, tensor="ids"),
            cause=cause,
        )


def init_breaks(run: Run, plan: Plan, *, side: Side) -> list[Break]:
    """Compare the initial weights with those of the plan, bit for bit."""
    return init.breaks(run.initial_weights, plan, side=side)


def weights_break(run: Run, *, side: Side) -> Break | None:
    """Compare the stored weights with the digest in the last line of the history."""
    rows = run.history
    if not rows or rows[-1].weights_sha256 == tensors_digest(run.weights):
        return None
    return Break(
        side=side,
        rung="trajectory",
        place=Place(epoch=len(rows), tensor="weights"),
        cause=Cause(
            "altered_file", "weights.safetensors does not have the digest that history.csv records"
        ),
    )


def permuted(a: Run, b: Run) -> bool:
    """Whether the final weights are equal up to rounding and another order of hidden units."""
    left, right = dict(a.weights), dict(b.weights)
    if left.keys() != right.keys() or any(left[n].shape != right[n].shape for n in left):
        return False
    layers = len(left) // 2
    order_before: np.ndarray | None = None
    moved = False
    for layer in range(layers):
        kernel, other = left[kernel_name(layer)], right[kernel_name(layer)]
        if order_before is not None:
            kernel = kernel[order_before]
        if layer == layers - 1:
            return moved and np.allclose(kernel, other, atol=1e-5)
        # A unit is recognised by its incoming weights: each is matched with the nearest one.
        distance = ((kernel[:, :, None] - other[:, None, :]) ** 2).sum(axis=0)
        found = distance.argmin(axis=0)
        if len(set(found.tolist())) != len(found):
            return False
        moved = moved or not np.array_equal(found, np.arange(len(found)))
        if not np.allclose(kernel[:, found], other, atol=1e-5):
            return False
        order_before = found
    return False


def _first_difference(a: np.ndarray, b: np.ndarray) -> int:
    if a.shape != b.shape:
        return min(len(a), len(b))
    return int(np.flatnonzero(a != b)[0])
