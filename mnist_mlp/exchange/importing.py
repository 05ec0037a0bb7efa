"""Import the weights of another program as a run folder without history.

Only safetensors and npz files are read, never pickles: loading a pickle runs its author's code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import DataError, DivergedError
from mnist_mlp.plan import make_plan
from mnist_mlp.readers.arrays import read_npz, read_safetensors
from mnist_mlp.readers.regular import NAMED, read_start
from mnist_mlp.reference import Array, bias_name, kernel_name
from mnist_mlp.run.claim import claimed
from mnist_mlp.run.evaluation import write_evaluation
from mnist_mlp.run.folder import Run
from mnist_mlp.run.machine import describe_machine
from mnist_mlp.run.results import reference_logits, results_of
from mnist_mlp.run.writer import RunWriter
from mnist_mlp.shown import one_line
from mnist_mlp.spec import Spec
from mnist_mlp.training import dataset_record, marking

Layout = Literal["keras", "torch"]

MOST_TRIED = 7
"""Up to this many matrices, every order is tried if the order of their names does not fit. 7
matrices have 5,040 orders; 10 would have more than 3 million."""


_ZIP_MAGIC = b"PK"
_DIGITS = re.compile("([0-9]+)")


def read_weights(path: Path) -> dict[str, Array]:
    """Read the arrays of a safetensors or npz file, by their own names.

    The content decides which of them it is, because a renamed file keeps its content.

    Raises
    ------
    DataError
        The file is neither, damaged, or of a known format that is not read here, such as a pickle.
    """
    zipped = read_start(path, NAMED, len(_ZIP_MAGIC)) == _ZIP_MAGIC
    return read_npz(path, NAMED) if zipped else read_safetensors(path, NAMED)


def canonical(tensors: Mapping[str, Array], spec: Spec, *, layout: Layout) -> dict[str, Array]:
    """Find each layer's kernel and bias among arrays with any names.

    The matrices are first assigned to the layers in the natural order of their names (`fc2` before
    `fc10`). In every common naming, this is the order of the layers. If their shapes don't fit,
    all orders are tried. Exactly one of them must fit.

    Raises
    ------
    DataError
        The shapes don't fit the specification, or fit it in several orders.
    """
    kernels = [name for name in _natural(tensors) if tensors[name].ndim == 2]
    biases = [name for name in _natural(tensors) if tensors[name].ndim == 1]
    shapes = [(inputs, units) for inputs, units, _ in spec.model.layers]
    details = one_line(", ".join(f"{name} {tensors[name].shape}" for name in tensors))
    if len(kernels) != len(shapes) or len(biases) != len(shapes):
        raise DataError(
            f"found {len(kernels)} matrices and {len(biases)} vectors, expected one of each for "
            f"{len(shapes)} layers: {details}"
        )

    def oriented(name: str) -> Array:
        return tensors[name] if layout == "keras" else tensors[name].T

    orders = [tuple(kernels)] if _fits(kernels, oriented, shapes) else []
    if not orders and len(kernels) <= MOST_TRIED:
        orders = [order for order in permutations(kernels) if _fits(order, oriented, shapes)]
    if not orders:
        expected = one_line(", ".join(f"{i} -> {u}" for i, u in shapes))
        raise DataError(
            f"no order of these arrays fits the layers {expected} in {layout} layout "
            f"(try the other --layout): {details}"
        )
    if len(orders) > 1:
        raise DataError(
            f"several orders of these arrays fit the layers; number their names by layer: {details}"
        )
    names = _biases_for(list(orders[0]), biases, tensors, shapes)
    result = {}
    for layer, (kernel, bias) in enumerate(zip(orders[0], names, strict=True)):
        result[kernel_name(layer)] = np.ascontiguousarray(oriented(kernel))
        result[bias_name(layer)] = np.ascontiguousarray(tensors[bias])
    return {name: _converted(name, array, spec) for name, array in result.items()}


def _converted(name: str, array: Array, spec: Spec) -> Array:
    """An array in the precision of the specification; it must be finite before and after that."""
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"{name}: expected floating-point numbers, found {array.dtype}")
    if not np.isfinite(array).all():
        raise DataError(f"{name}: expected finite numbers, found NaN or infinity")
    precision = spec.training.precision
    with np.errstate(over="ignore"):
        converted = array.astype(precision)
    if not np.isfinite(converted).all():
        largest = float(np.abs(array).max())
        raise DataError(
            f"{name}: holds {largest:.3g}, which is too large for {precision}; "
            f"use --precision float64"
        )
    return converted


def _fits(names: Any, oriented: Any, shapes: list[tuple[int, int]]) -> bool:
    return [oriented(name).shape for name in names] == shapes


def _biases_for(
    kernels: list[str],
    biases: list[str],
    tensors: Mapping[str, Array],
    shapes: list[tuple[int, int]],
) -> list[str]:
    """Choose each layer's bias: the vector with the same name prefix as its kernel.

    If any kernel has no such vector, the vectors are taken in the natural order of their names.
    """
    prefixes = {_prefix(name): name for name in biases}
    paired = [prefixes.get(_prefix(kernel)) for kernel in kernels]
    chosen = [name for name in paired if name is not None]
    if len(set(chosen)) != len(kernels):
        chosen = biases
    for name, (_, units) in zip(chosen, shapes, strict=True):
        if tensors[name].shape != (units,):
            raise DataError(f"{name}: shape {tensors[name].shape}, expected ({units},)")
    return chosen


def _prefix(name: str) -> str:
    return name.replace("/", ".").rpartition(".")[0]


def _natural(names: Mapping[str, Array]) -> list[str]:
    """Sort names so that numbers in them are compared by value: `fc2` before `fc10`."""

    def key(name: str) -> list[tuple[int, str]]:
        # Digits without leading zeros compare like their numbers, first by length, then as text.
        # `int` would refuse thousands of digits.
        parts = [part.lstrip("0") if i % 2 else part for i, part in enumerate(_DIGITS.split(name))]
        return [(len(part) if i % 2 else 0, part) for i, part in enumerate(parts)]

    return sorted(names, key=key)


def import_weights(
    path: Path,
    *,
    layout: Layout,
    spec: Spec,
    dataset: Dataset,
    out: Path,
    overwrite: bool = False,
) -> Run:
    """Evaluate imported weights and write a run folder, without history and initial weights."""
    plan = make_plan(spec, dataset)
    tensors = read_weights(path)
    try:
        weights = canonical(tensors, spec, layout=layout)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    logits = reference_logits(weights, spec, dataset.flat()[plan.test_ids])
    if not np.isfinite(logits).all():
        raise DivergedError(
            f"{path}: with these weights, a logit of the test rows is not finite; "
            f"check the weights and model.activations"
        )
    record = {
        "backend": {"name": "import", "target": ""},
        "versions": {},
        "accelerator": "cpu",
        "device": "cpu",
        "threads": 1,
        "fit_path": "",
        "flags": {"file": path.name, "layout": layout},
        "machine": describe_machine(),
        "spec": spec.model_dump(mode="json"),
        "spec_sha256": spec.digest,
        "dataset": dataset_record(plan, dataset),
    }
    with claimed(out, overwrite=overwrite) as claim:
        writer = RunWriter(claim.folder, record)
        writer.open_folder()
        with marking(writer):
            writer.weights(weights)
            results = results_of(logits, test_ids=plan.test_ids, dataset=dataset)
            writer.outcome(results)
            write_evaluation(Run(claim.folder, complete=False))
            writer.finish("complete", metrics=results.metrics.model_dump(), timings={})
        claim.finish()
    return Run(out)
