"""One step of every registered backend against the NumPy reference, in float64.

The bound is 1e-10 for values of order 1: a million roundings, and far below the smallest known
difference between two frameworks' formulas (2e-9, torch's softplus above 20).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mnist_mlp import reference
from mnist_mlp.contract import State, StepRecord
from mnist_mlp.errors import UsageError
from mnist_mlp.plan import glorot_uniform
from mnist_mlp.spec import ACTIVATIONS, Spec, parse_spec
from mnist_mlp.worker.parent import Worker

BOUND = 1e-10

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "decay": {"weight_decay": 0.03},
    "momentum and decay": {"momentum": 0.8, "weight_decay": 0.03},
    "nesterov and decay": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.03},
    "clip": {"clip_norm": 0.05},
    "clip, decay and momentum": {"clip_norm": 0.05, "weight_decay": 0.03, "momentum": 0.9},
    "schedule": {"schedule": [[2, 0.5], [3, 0.01]]},
    "momentum and schedule": {"momentum": 0.9, "schedule": [[2, 0.5], [3, 0.01]]},
    "adam": {"name": "adam"},
    "adam, large epsilon": {"name": "adam", "epsilon": 1e-3, "beta_1": 0.8, "beta_2": 0.99},
    "adam and all": {
        "name": "adam",
        "weight_decay": 0.03,
        "clip_norm": 0.05,
        "schedule": [[2, 0.5], [3, 0.01]],
    },
}


def make_spec(sizes: list[int], hidden: str, optimizer: dict[str, Any] | None = None) -> Spec:
    activations = [hidden] * (len(sizes) - 2) + ["softmax"]
    return parse_spec(
        {
            "model": {"layer_sizes": sizes, "activations": activations},
            "optimizer": {"learning_rate": 0.1} | (optimizer or {}),
            "training": {"precision": "float64"},
        }
    )


def open_or_check_refusal(worker: Worker, spec: Spec) -> bool:
    """Open a specification; a backend that can't do it has to say what it misses, in words."""
    try:
        worker.open(spec)
    except UsageError as error:
        capabilities, _ = worker.describe()
        missing = capabilities.refusals(spec)
        assert missing, f"refused, but its capabilities cover the specification: {error}"
        for phrase in missing:
            assert phrase in str(error)
        return False
    return True


def batch(n: int, inputs: int, classes: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (n, inputs)).astype(np.uint8)
    return images, rng.integers(0, classes, n).astype(np.uint8)


def reference_step(spec: Spec, state: State, images: Any, labels: Any) -> StepRecord:
    x = reference.scale_pixels(images, dtype=np.float64)
    passed = reference.forward(state.weights, spec.model.activations, x)
    gradient = reference.backward(state.weights, x, labels, passed)
    weights, slots = reference.update(
        spec.optimizer,
        weights=state.weights,
        slots=state.slots,
        gradient=gradient,
        step=state.step + 1,
    )
    return StepRecord(
        inputs=x,
        pre_activations=passed.pre_activations,
        activations=passed.activations,
        loss=float(reference.sample_losses(passed.logits, labels).mean()),
        gradient=gradient,
        state=State(state.step + 1, weights, slots),
    )


def assert_same_step(ours: StepRecord, truth: StepRecord) -> None:
    assert len(ours.pre_activations) == len(truth.pre_activations)
    assert len(ours.activations) == len(truth.activations)
    pairs: dict[str, tuple[Any, Any]] = {
        "inputs": (ours.inputs, truth.inputs),
        "loss": (np.float64(ours.loss), np.float64(truth.loss)),
    }
    for i, z in enumerate(truth.pre_activations):
        pairs[f"pre_activations[{i}]"] = (ours.pre_activations[i], z)
    for i, a in enumerate(truth.activations):
        pairs[f"activations[{i}]"] = (ours.activations[i], a)
    for name in truth.gradient:
        pairs[f"gradient of {name}"] = (ours.gradient[name], truth.gradient[name])
        pairs[f"new {name}"] = (ours.state.weights[name], truth.state.weights[name])
    assert ours.state.slots.keys() == truth.state.slots.keys()
    for slot, tensors in truth.state.slots.items():
        for name in tensors:
            pairs[f"{slot} of {name}"] = (ours.state.slots[slot][name], tensors[name])
    for what, (got, expected) in pairs.items():
        assert got.dtype == np.float64, what
        assert got.shape == expected.shape, what
        gap = np.abs(got - expected).max()
        assert gap <= BOUND * max(1.0, np.abs(expected).max()), f"{what}: {gap:.3g} apart"
    assert ours.state.step == truth.state.step


def test_weights_go_in_and_out_in_the_canonical_layout(worker: Worker) -> None:
    """Square kernels, so that a transposed one would fit; no two entries alike."""
    spec = make_spec([6, 6, 6, 4], "sigmoid")
    worker.open(spec)
    rng = np.random.default_rng(1)
    weights = {
        name: rng.normal(size=tensor.shape)
        for name, tensor in glorot_uniform(spec.model, seed=1, dtype="float64").items()
    }
    images, labels = batch(9, 6, 4)
    x = reference.scale_pixels(images, dtype=np.float64)
    truth = reference.forward(weights, spec.model.activations, x).logits
    assert np.abs(worker.predict(weights, images) - truth).max() <= BOUND
    moved = worker.step(State(0, weights), images, labels).state.weights
    for name, tensor in weights.items():
        assert moved[name].shape == tensor.shape
        assert 0 < np.abs(moved[name] - tensor).max() < 0.1


def test_a_step_leaves_the_caller_s_arrays_alone(worker: Worker) -> None:
    spec = make_spec([6, 5, 4], "sigmoid", {"momentum": 0.9})
    if not open_or_check_refusal(worker, spec):
        spec = make_spec([6, 5, 4], "sigmoid")
        worker.open(spec)
    weights = glorot_uniform(spec.model, seed=1, dtype="float64")
    state = State(0, weights, reference.initial_slots(spec.optimizer, weights))
    images, labels = batch(9, 6, 4)
    first = worker.step(state, images, labels)
    again = worker.step(state, images, labels)
    for name in weights:
        assert np.array_equal(first.state.weights[name], again.state.weights[name])


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"name": "adam"}, {}])
def test_tensors_are_found_by_their_names(worker: Worker, options: dict[str, Any]) -> None:
    """A caller's dictionaries may hold them in any order."""
    spec = make_spec([6, 6, 6], "sigmoid", options)
    if not open_or_check_refusal(worker, spec):
        return
    rng = np.random.default_rng(2)
    weights = glorot_uniform(spec.model, seed=1, dtype="float64")
    slots = {
        slot: {name: rng.uniform(0.1, 1, tensor.shape) for name, tensor in tensors.items()}
        for slot, tensors in reference.initial_slots(spec.optimizer, weights).items()
    }
    images, labels = batch(9, 6, 6)
    turned = State(
        5,
        dict(reversed(weights.items())),
        {slot: dict(reversed(slots[slot].items())) for slot in reversed(slots)},
    )
    assert_same_step(
        worker.step(turned, images, labels),
        reference_step(spec, State(5, weights, slots), images, labels),
    )


@pytest.mark.parametrize("activation", [*ACTIVATIONS, "leaky_relu(0.2)", "leaky_relu(0.01)"])
def test_activation(worker: Worker, activation: str) -> None:
    """Pre-activations from -40 to 40: one input of value 1, kernel entries over that range."""
    spec = make_spec([1, 161, 3], activation)
    if not open_or_check_refusal(worker, spec):
        return
    weights = glorot_uniform(spec.model, seed=5, dtype="float64")
    weights["layers.0.kernel"] = np.linspace(-40, 40, 161).reshape(1, 161)
    weights["layers.0.kernel"][0, 80] = 1e-3  # not 0, where some derivatives are a convention
    images = np.array([[255], [128], [1]], dtype=np.uint8)
    labels = np.array([0, 2, 1], dtype=np.uint8)
    state = State(0, weights)
    assert_same_step(
        worker.step(state, images, labels), reference_step(spec, state, images, labels)
    )


@pytest.mark.parametrize("hidden", ["sigmoid", "relu"])
def test_every_stage_of_a_deeper_network(worker: Worker, hidden: str) -> None:
    spec = make_spec([30, 12, 9, 7, 4], hidden)
    worker.open(spec)
    weights = glorot_uniform(spec.model, seed=2, dtype="float64")
    images, labels = batch(17, 30, 4)
    state = State(0, weights)
    assert_same_step(
        worker.step(state, images, labels), reference_step(spec, state, images, labels)
    )


def test_no_hidden_layer(worker: Worker) -> None:
    spec = make_spec([30, 4], "sigmoid")
    worker.open(spec)
    images, labels = batch(17, 30, 4)
    state = State(0, glorot_uniform(spec.model, seed=2, dtype="float64"))
    assert_same_step(
        worker.step(state, images, labels), reference_step(spec, state, images, labels)
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(worker: Worker, name: str) -> None:
    """Four steps in a row, each judged from the reference's state."""
    spec = make_spec([30, 8, 4], "sigmoid", OPTIMIZERS[name])
    if not open_or_check_refusal(worker, spec):
        return
    weights = glorot_uniform(spec.model, seed=4, dtype="float64")
    images, labels = batch(16, 30, 4)
    state = State(0, weights, reference.initial_slots(spec.optimizer, weights))
    if spec.optimizer.clip_norm:
        gradient = reference_step(spec, state, images, labels).gradient
        assert reference.global_norm(gradient) > spec.optimizer.clip_norm, "the clip must fire"
    for _ in range(4):
        truth = reference_step(spec, state, images, labels)
        assert_same_step(worker.step(state, images, labels), truth)
        state = truth.state


def test_loss_and_gradient_at_large_logit_gaps(worker: Worker) -> None:
    """Gaps over 17: a loss taken from clipped probabilities would stop at 16.118."""
    spec = make_spec([2, 4], "sigmoid")
    worker.open(spec)
    weights = {
        "layers.0.kernel": np.array([[60.0, -20.0, 0.0, 5.0], [0.0, 30.0, -30.0, 1.0]]),
        "layers.0.bias": np.zeros(4),
    }
    images = np.array([[255, 0], [0, 255], [255, 255]], dtype=np.uint8)
    labels = np.array([1, 2, 2], dtype=np.uint8)
    state = State(0, weights)
    truth = reference_step(spec, state, images, labels)
    assert truth.loss > 60
    assert_same_step(worker.step(state, images, labels), truth)
