"""Reading a specification off an original: its layers, activations, optimizer and batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.parity.check.supported import compared_by_settings, kinds_passed_by, named, remarks
from mnist_mlp.parity.steps import arbiter
from mnist_mlp.parity.steps.judge import LIMITS
from mnist_mlp.parity.steps.trajectory import ReferenceRun
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.ports.protocol import PortFacts, PortJob, PortLayer, PortStep
from mnist_mlp.reference import Array
from mnist_mlp.spec import ACTIVATIONS, OptimizerSpec, Spec, parse_spec, repeated_activations
from mnist_mlp.worker.parent import Worker


@dataclass(frozen=True)
class ReadSpec:
    """A specification, and in words what it cannot say of the model that it was read off.

    `remarks` are about what no rung judges. `unknown` are the numbers of layers whose activation
    has no name: the specification holds a stand-in there, and is for judging steps alone.
    """

    spec: Spec
    remarks: tuple[str, ...] = ()
    unknown: tuple[int, ...] = ()


def read_spec(
    worker: Worker, facts: PortFacts, dataset: Dataset, base: Spec, *, label: str
) -> ReadSpec:
    """The specification of an opened port; `base` gives what a model does not tell.

    Activations are read off the numbers that pass through the layers, so that it does not matter
    whether they are modules, functions or arguments; dropout and normalisation are passed by on the
    way. An activation that is not known is entered as the base's, is told, and shows as a
    difference of the original.

    Raises
    ------
    UsageError
        The dense layers found are no chain from the data's numbers to its classes.
    """
    dense = [layer for layer in facts.layers if layer.dense]
    sizes = _sizes(dense, dataset, label)
    hidden = next((a for a in base.model.activations[:-1]), "sigmoid")
    raw = base.model_dump(mode="json")
    raw["model"] = {
        "layer_sizes": sizes,
        "activations": repeated_activations(hidden, layers=len(dense)),
    }
    raw["optimizer"] = _optimizer(facts, base.optimizer)
    raw["training"]["precision"] = "float64" if dense[0].dtype == "float64" else "float32"
    for key in ("batch_size", "epochs"):
        given = getattr(facts, key)
        if given is not None:
            raw["training"][key] = given
    if facts.own is not None and facts.own.epochs:  # what it does stands above what it says
        raw["training"]["batch_size"] = max(facts.own.epochs[0].sizes)
    spec = parse_spec(raw)
    passed_by = kinds_passed_by(facts.layers)
    names = _activations(worker, spec, dataset, passed_by)
    raw["model"]["activations"] = [
        *(name or hidden for name in names), "softmax",
    ]  # fmt: skip
    unknown = tuple(layer for layer, name in enumerate(names) if name is None)
    layers = [
        f"{named(layer)}: a specification has no such layer"
        for layer in compared_by_settings(facts.layers)
    ]
    return ReadSpec(parse_spec(raw), (*layers, *remarks(facts)), unknown)


def _sizes(dense: Sequence[PortLayer], dataset: Dataset, label: str) -> list[int]:
    """Numbers of inputs and of units, from the first layer to the last."""
    height, width = dataset.images.shape[1:]
    needed = f"{height * width} numbers to {dataset.classes} classes"
    if not dense:
        raise UsageError(
            f"{label}: no dense layer was found in what one batch ran through, so there is nothing "
            f"to compare with.\nWhat can be judged: a chain of them from {needed}."
        )
    sizes = [dense[0].inputs or 0, *(layer.units or 0 for layer in dense)]
    chained = all(a.units == b.inputs for a, b in pairwise(dense))
    if not chained or sizes[0] != height * width or sizes[-1] != dataset.classes:
        told = ", ".join(f"{layer.name} {layer.inputs}-{layer.units}" for layer in dense)
        raise UsageError(
            f"{label} cannot be judged: its dense layers are {told}.\n"
            f"What can be: a chain of them from {needed}, with activations alone between them."
        )
    return sizes


def _optimizer(facts: PortFacts, base: OptimizerSpec) -> dict[str, Any]:
    settings = facts.optimizer
    name = str(settings.get("kind") or settings.get("name", "")).lower()
    result: dict[str, Any] = {
        "learning_rate": _number(settings, "learning_rate", base.learning_rate)
    }
    schedule = settings.get("schedule")
    if isinstance(schedule, tuple | list):
        result["schedule"] = [list(pair) for pair in schedule]
    elif base.schedule:
        result["schedule"] = [list(pair) for pair in base.schedule]
    clip = _number(settings, "global_clipnorm", 0.0) or _trainer_clip(facts)
    if clip:
        result["clip_norm"] = clip
    if name in ("adam", "adamw"):
        result["name"] = "adam"
        result["epsilon"] = _number(settings, "epsilon", base.epsilon)
        for key in ("beta_1", "beta_2"):
            result[key] = _number(settings, key, getattr(base, key))
        coupled = name == "adam" and facts.framework == "torch"
    else:
        result["momentum"] = _number(settings, "momentum", 0.0)
        result["nesterov"] = bool(settings.get("nesterov", False)) and result["momentum"] > 0
        coupled = True
    decay = _number(settings, "weight_decay", 0.0)
    if decay and coupled:
        result["weight_decay"] = decay
    return result


def _trainer_clip(facts: PortFacts) -> float:
    options = facts.options
    if options.get("gradient_clip_algorithm", "norm").strip("'\"") != "norm":
        return 0.0
    try:
        return float(options.get("gradient_clip_val", "0"))
    except ValueError:
        return 0.0


def _number(settings: Mapping[str, Any], key: str, default: float) -> float:
    value = settings.get(key)
    return float(value) if isinstance(value, int | float) else default


def _activations(
    worker: Worker, spec: Spec, dataset: Dataset, passed_by: tuple[str, ...]
) -> list[str | None]:
    """Hidden ones, named by running one batch from planned weights; None for one with no name."""
    training = spec.training.model_copy(update={"epochs": 1})
    plan = make_plan(spec.model_copy(update={"training": training}), dataset)
    data = training_data(plan, dataset)
    rows = spec.training.batch_size
    one: Plan = replace(plan, train_ids=plan.train_ids[:rows])
    few = replace(
        data,
        train_images=data.train_images[:rows],
        train_labels=data.train_labels[:rows],
        test_images=data.test_images[:rows],
        test_labels=data.test_labels[:rows],
    )
    seen: list[PortStep] = []
    states = ReferenceRun(one, few).states([1])
    job = PortJob(plan=one, data=few, shared=states, passed_by=passed_by)
    worker.fit_port(job, on_step=seen.append, on_epoch=lambda _: None)
    record = seen[0].record
    eps = arbiter.eps_of(spec.training.precision)
    pairs = zip(record.pre_activations, record.activations, strict=False)
    return [_named(z, a, eps) for z, a in pairs]


def _named(z: Array, a: Array, eps: float) -> str | None:
    candidates = list(ACTIVATIONS)
    below = np.asarray(z) < -1e-3
    if np.any(below):
        slope = float(np.median(np.asarray(a)[below] / np.asarray(z)[below]))
        if 0 < slope < 1:
            candidates.append(f"leaky_relu({float(f'{slope:.5g}'):g})")
    for name in candidates:
        if arbiter.units(a, arbiter.activation(name, z), eps=eps).max() <= LIMITS["forward"]:
            return name
    return None
