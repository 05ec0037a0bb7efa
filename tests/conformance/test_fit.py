"""Whole training runs of every registered backend, on both paths, against the NumPy reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mnist_mlp.contract import EpochRecord, Plan, Progress, Runtime, State
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.plan import make_plan, training_data
from mnist_mlp.reference import initial_slots
from mnist_mlp.spec import parse_spec
from mnist_mlp.stopping import stops
from mnist_mlp.worker.parent import Worker
from mnist_mlp_numpy import NumpyBackend

CASES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9, "weight_decay": 1e-3},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "adam": {"name": "adam", "learning_rate": 0.01},
    "schedule": {"schedule": [[5, 0.02], [9, 0.2]], "momentum": 0.5, "clip_norm": 0.3},
}


@pytest.fixture(params=["fast", "plain"])
def worker(backend: str, workers: Callable[[str], Worker], request: pytest.FixtureRequest) -> Any:
    """The shared worker of the backend under test, to be opened for one of the two paths.

    If it has only one, the same tests twice would cost time; that it ignores which one is asked for
    is in `test_fast_and_plain_end_with_the_same_weights`.
    """
    worker = workers(backend)
    if request.param == "plain" and not worker.describe()[0].fast_path:
        pytest.skip("the backend has one path")
    worker.fit_path = request.param
    yield worker
    worker.fit_path = "fast"


def plan_for(data: Dataset, *, precision: str = "float64", **optimizer: Any) -> Plan:
    """187 training rows in batches of 32: five whole ones and one of 27, for 3 epochs."""
    spec = parse_spec(
        {
            "seed": 11,
            "model": {"layer_sizes": [30, 9, 4]},
            "optimizer": {"learning_rate": 0.1} | optimizer,
            "training": {"batch_size": 32, "epochs": 3, "precision": precision},
        }
    )
    plan = make_plan(spec, data)
    assert len(plan.train_ids) == 187
    assert plan.steps_per_epoch == 6
    return plan


def fitted(worker: Worker, plan: Plan, data: Dataset) -> list[EpochRecord]:
    records: list[EpochRecord] = []
    worker.open(plan.spec)
    worker.fit(plan, training_data(plan, data), Progress(epoch=records.append))
    return records


def reference_run(plan: Plan, data: Dataset) -> list[EpochRecord]:
    records: list[EpochRecord] = []
    backend = NumpyBackend()
    backend.open(plan.spec, Runtime())
    backend.fit(plan, training_data(plan, data), Progress(epoch=records.append))
    return records


def largest_gap(a: Any, b: Any) -> float:
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


# "schedule" has momentum, too.
ALONE = [
    pytest.param(case, marks=[pytest.mark.long] if case in ("momentum", "nesterov") else [])
    for case in CASES
]


@pytest.mark.parametrize("case", ALONE)
def test_weights_after_every_epoch(worker: Worker, small_data: Dataset, case: str) -> None:
    """Order, partial last batch and update rule at once: any of them wrong shows in the weights."""
    plan = plan_for(small_data, **CASES[case])
    capabilities, _ = worker.describe()
    if capabilities.refusals(plan.spec):
        return  # that it is refused in words is tested in test_steps
    ours, truth = fitted(worker, plan, small_data), reference_run(plan, small_data)
    assert [record.epoch for record in ours] == [1, 2, 3]
    for mine, his in zip(ours, truth, strict=True):
        assert largest_gap(mine.weights, his.weights) <= 1e-10
    shifted = replace(plan, spec=plan.spec.model_copy(update={"seed": 12}))
    other = reference_run(shifted, small_data)[-1].weights
    assert largest_gap(truth[-1].weights, other) > 1e-6, "another order must be visible"


def test_epoch_metrics_mean_what_the_design_says(worker: Worker, small_data: Dataset) -> None:
    """Training: mean over rows of what was seen before each update. Validation: after the epoch."""
    plan = plan_for(small_data)
    ours, truth = fitted(worker, plan, small_data), reference_run(plan, small_data)
    for mine, his in zip(ours, truth, strict=True):
        assert mine.loss == pytest.approx(his.loss, abs=1e-10)
        assert mine.val_loss == pytest.approx(his.val_loss, abs=1e-10)
        # One row more or less would be 5e-3; a metric kept in float32 is 6e-8 off.
        assert mine.accuracy == pytest.approx(his.accuracy, abs=1e-6)
        assert mine.val_accuracy == pytest.approx(his.val_accuracy, abs=1e-6)
        assert mine.seconds > 0


def test_loss_of_a_fit_is_not_clipped(worker: Worker, small_data: Dataset) -> None:
    """Initial weights with logit gaps of hundreds: a clipped probability would give 16.118."""
    plan = plan_for(small_data, learning_rate=1e-6)
    weights = {name: 400 * tensor for name, tensor in plan.initial_weights.items()}
    plan = replace(plan, initial_weights=weights)
    ours, truth = fitted(worker, plan, small_data), reference_run(plan, small_data)
    assert truth[0].loss > 40
    for mine, his in zip(ours, truth, strict=True):
        assert mine.loss == pytest.approx(his.loss, rel=1e-10)
        assert mine.val_loss == pytest.approx(his.val_loss, rel=1e-10)


@pytest.mark.parametrize(
    "hidden",
    [
        ["relu", "sigmoid", "tanh", "leaky_relu(0.2)"],
        ["softplus", "elu", "selu", "gelu", "silu", "linear"],
    ],
)
def test_every_activation_is_trained_through(
    worker: Worker, small_data: Dataset, hidden: list[str]
) -> None:
    plan = plan_for(small_data)
    model = {"layer_sizes": [30, *(9 for _ in hidden), 4], "activations": [*hidden, "softmax"]}
    plan = make_plan(parse_spec(plan.spec.model_dump() | {"model": model}), small_data)
    capabilities, _ = worker.describe()
    if capabilities.refusals(plan.spec):
        return
    ours, truth = fitted(worker, plan, small_data)[-1], reference_run(plan, small_data)[-1]
    assert largest_gap(ours.weights, truth.weights) <= 1e-10
    assert largest_gap(plan.initial_weights, truth.weights) > 1e-4, "it must have learnt"


@pytest.mark.parametrize(
    "batch_size",
    [1, pytest.param(17, marks=pytest.mark.long), pytest.param(187, marks=pytest.mark.long), 500],
)
def test_batches_that_divide_the_rows_or_are_larger(
    worker: Worker, small_data: Dataset, batch_size: int
) -> None:
    """187 = 11 x 17 rows: no rest, one batch in all, and a rest alone."""
    training = {"batch_size": batch_size, "epochs": 2, "precision": "float64"}
    spec = parse_spec(plan_for(small_data).spec.model_dump() | {"training": training})
    plan = make_plan(spec, small_data)
    ours, truth = fitted(worker, plan, small_data), reference_run(plan, small_data)
    assert len(ours) == 2
    for mine, his in zip(ours, truth, strict=True):
        assert largest_gap(mine.weights, his.weights) <= 1e-10
        assert mine.loss == pytest.approx(his.loss, abs=1e-10)
        assert mine.accuracy == pytest.approx(his.accuracy, abs=1e-6)


def test_the_path_asked_for_is_the_one_that_ran(worker: Worker, small_data: Dataset) -> None:
    """The framework's own counters tell: updates made, divided by calls of its training step."""
    plan = plan_for(small_data)
    capabilities, _ = worker.describe()
    opened = worker.open(plan.spec)
    assert opened.runtime.path == opened.runtime.fit_path == worker.fit_path
    ran = worker.fit(plan, training_data(plan, small_data))
    if not capabilities.fast_path:
        return
    if worker.fit_path == "fast":
        assert 3 <= ran["steps_per_call"] <= plan.steps_per_epoch
    else:
        assert ran["steps_per_call"] == 1


def test_progress_moves_within_an_epoch(worker: Worker, small_data: Dataset) -> None:
    """11 million parameters, 32 rows: 2 GFLOP a step, so six steps make more than one call."""
    model = {"layer_sizes": [30, 3300, 3300, 4]}
    training = {"batch_size": 32, "epochs": 1, "precision": "float32"}
    spec = plan_for(small_data).spec.model_dump() | {"model": model, "training": training}
    plan = make_plan(parse_spec(spec), small_data)
    steps: list[int] = []
    worker.open(plan.spec)
    worker.fit(
        plan, training_data(plan, small_data), Progress(epoch=lambda _: None, step=steps.append)
    )
    assert 0 < steps[0] < plan.steps_per_epoch
    assert steps == sorted(steps)


def test_fast_and_plain_end_with_the_same_weights(
    backend: str, workers: Callable[[str], Worker], small_data: Dataset
) -> None:
    """Equal but for rounding, in float32: XLA adds up in another order than TensorFlow."""
    plan, ends = plan_for(small_data, precision="float32"), []
    worker = workers(backend)
    for path in ("plain", "fast"):
        worker.fit_path = path
        ends.append(fitted(worker, plan, small_data)[-1].weights)
    assert largest_gap(*ends) <= 1e-6


@pytest.mark.parametrize(
    ("case", "precision"),
    [
        pytest.param("sgd", "float32", marks=pytest.mark.long),
        pytest.param("adam", "float64", marks=pytest.mark.long),
        # Without momentum alone: Nesterov's has the same slot.
        pytest.param("nesterov", "float32", marks=pytest.mark.long),
        ("schedule", "float32"),
    ],
)
def test_a_run_in_two_parts_gives_the_same_bits(
    worker: Worker, small_data: Dataset, case: str, precision: str
) -> None:
    """From the state after each epoch in turn, as it comes back from a checkpoint."""
    plan = plan_for(small_data, precision=precision, **CASES[case])
    capabilities, _ = worker.describe()
    if capabilities.refusals(plan.spec):
        return
    straight = fitted(worker, plan, small_data)
    if not capabilities.resume:
        start = State(plan.steps_per_epoch, straight[0].weights)
        with pytest.raises(UsageError, match="cannot go on from a checkpoint"):
            worker.fit(plan, training_data(plan, small_data), start=start)
        return
    for done in (1, 2):
        last = straight[done - 1]
        assert last.slots is not None
        assert set(last.slots) == set(initial_slots(plan.spec.optimizer, plan.initial_weights))
        assert all(np.any(tensor) for slot in last.slots.values() for tensor in slot.values())
        start = State(done * plan.steps_per_epoch, last.weights, last.slots)
        steps: list[int] = []
        rest: list[EpochRecord] = []
        worker.open(plan.spec)
        progress = Progress(epoch=rest.append, step=steps.append)
        worker.fit(plan, training_data(plan, small_data), progress, start=start)
        assert all(done * plan.steps_per_epoch < step <= 3 * plan.steps_per_epoch for step in steps)
        assert [record.epoch for record in rest] == list(range(done + 1, 4))
        for one, two in zip(straight[done:], rest, strict=True):
            assert same_but_for_seconds(one, two)
    # A planted fault: without the optimizer's state, or with the number of steps forgotten.
    if CASES[case]:
        forgotten = State(0 if "schedule" in CASES[case] else start.step, start.weights)
        records: list[EpochRecord] = []
        worker.open(plan.spec)
        worker.fit(
            plan,
            training_data(plan, small_data),
            Progress(epoch=records.append),
            start=replace(forgotten, slots=initial_slots(plan.spec.optimizer, start.weights)),
        )
        assert not same_but_for_seconds(records[-1], straight[-1])


def test_every_backend_stops_after_the_same_epoch(worker: Worker, small_data: Dataset) -> None:
    """Where `mnist_mlp.stopping` says; a backend that does not stop by itself may train on."""
    plan = plan_for(small_data, precision="float32")
    patient = {"epochs": 30, "patience": 3, "min_delta": 0.04, "precision": "float32"}
    plan = with_training(plan, **patient)
    endless = with_training(plan, patience=0, min_delta=0.0)
    losses = [record.val_loss for record in reference_run(endless, small_data)]
    training = plan.spec.training
    end = next(n for n in range(1, 31) if stops(losses[:n], training))
    assert 4 < end < 25, "neither at once nor never"
    capabilities, _ = worker.describe()
    records = fitted(worker, plan, small_data)
    assert len(records) == (end if capabilities.resume else 30)
    whole = fitted(worker, with_training(endless, epochs=end), small_data)
    for one, two in zip(records, whole, strict=False):
        assert same_but_for_seconds(one, two)
    if capabilities.resume:  # the epochs before count as well
        half = whole[end - 3]
        assert half.slots is not None
        start = State(half.epoch * plan.steps_per_epoch, half.weights, half.slots)
        seen = [record.val_loss for record in whole[: half.epoch]]
        rest: list[EpochRecord] = []
        worker.open(plan.spec)
        data = training_data(plan, small_data)
        worker.fit(plan, data, Progress(epoch=rest.append), start=start, val_losses=seen)
        assert [record.epoch for record in rest] == [end - 1, end]


def with_training(plan: Plan, **changes: Any) -> Plan:
    """The plan with other settings of training."""
    training = plan.spec.training.model_copy(update=changes)
    return replace(plan, spec=plan.spec.model_copy(update={"training": training}))


def same_but_for_seconds(a: EpochRecord, b: EpochRecord) -> bool:
    """Whether two records of an epoch have the same bits."""
    numbers = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
    if any(getattr(a, name) != getattr(b, name) for name in numbers):
        return False
    pairs = [(a.weights, b.weights)]
    pairs += [((a.slots or {})[slot], (b.slots or {})[slot]) for slot in a.slots or {}]
    return all(
        left[name].tobytes() == right[name].tobytes() for left, right in pairs for name in left
    )


@pytest.mark.parametrize("precision", ["float32", pytest.param("float64", marks=pytest.mark.long)])
def test_a_run_repeats_itself_bit_for_bit(
    worker: Worker, small_data: Dataset, precision: str
) -> None:
    plan = plan_for(small_data, precision=precision)
    first, second = fitted(worker, plan, small_data), fitted(worker, plan, small_data)
    for one, two in zip(first, second, strict=True):
        for name in one.weights:
            assert one.weights[name].dtype == np.dtype(precision)
            assert np.array_equal(one.weights[name], two.weights[name])


def test_float32_stays_near_float64(worker: Worker, small_data: Dataset) -> None:
    """float32 is float32 all the way (not float64 in disguise), and no worse than that."""
    single = fitted(worker, plan_for(small_data, precision="float32"), small_data)[-1].weights
    double = reference_run(plan_for(small_data), small_data)[-1].weights
    assert 1e-9 < largest_gap(single, double) < 1e-5


def test_predictions_have_the_precision_of_the_specification(
    worker: Worker, small_data: Dataset
) -> None:
    for precision in ("float32", "float64"):
        plan = plan_for(small_data, precision=precision)
        worker.open(plan.spec)
        logits = worker.predict(plan.initial_weights, training_data(plan, small_data).test_images)
        assert logits.dtype == np.dtype(precision)
        assert logits.shape == (len(plan.test_ids), 4)
