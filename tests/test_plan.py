"""The plan: the split, the initial weights and the orders, by the rule that the design writes down.

Each number is checked twice: against the rule, carried out here without the package, and against
the literal it gave when it was first run, so that a change of either is seen.
"""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import weakref
from dataclasses import replace
from math import ceil, sqrt
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from mnist_mlp import plan as plan_module
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import EXIT_USAGE, UsageError
from mnist_mlp.plan import (
    Plan,
    ReceivedData,
    TrainingData,
    check_epochs,
    check_memory,
    glorot_uniform,
    least_memory,
    make_plan,
    steps_per_call,
    stream,
    training_data,
)
from mnist_mlp.spec import Spec, parse_spec

MNIST_ROWS = 70_000


def rule(seed: int, *key: int) -> np.random.Generator:
    """`PCG64(SeedSequence(seed, spawn_key=key))`, as the design has it."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def sha256(ids: Any) -> str:
    return hashlib.sha256(np.asarray(ids, dtype="<i8").tobytes()).hexdigest()


def blank(rows: int, *, groups: Any = None) -> Dataset:
    """A data set of MNIST's shape with nothing in it: a plan looks at sizes and groups alone."""
    images = np.broadcast_to(np.zeros((1, 28, 28), np.uint8), (rows, 28, 28))
    return Dataset("mnist", "made up", images, np.zeros(rows, np.uint8), 10, groups)


def planned(rows: int = MNIST_ROWS, *, groups: Any = None, **sections: Any) -> Plan:
    return make_plan(parse_spec(sections), blank(rows, groups=groups))


@pytest.fixture(scope="module")
def tutorial() -> Plan:
    return make_plan(Spec(), blank(MNIST_ROWS))


# --- Initial weights ------------------------------------------------------------------------------

FIRST_ENTRIES = {
    0: [0.056214419821, -0.001297660793, 0.042829034004],
    1: [0.090425299931, -0.051047577180, 0.083221402661],
    2: [0.080464225190, 0.104269001189, -0.064745437416],
}


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_kernels(tutorial: Plan, layer: int) -> None:
    inputs, units = [(784, 128), (128, 64), (64, 10)][layer]
    bound = sqrt(6 / (inputs + units))
    expected = rule(42, 0, layer).uniform(-bound, bound, (inputs, units))
    kernel = tutorial.initial_weights[f"layers.{layer}.kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, expected.astype(np.float32))
    np.testing.assert_allclose(expected[0, :3], FIRST_ENTRIES[layer], rtol=1e-8)
    assert 0.99 * bound < np.abs(kernel).max() <= np.float32(bound)
    assert not tutorial.initial_weights[f"layers.{layer}.bias"].any()
    assert tutorial.initial_weights[f"layers.{layer}.bias"].shape == (units,)


def test_float32_is_the_cast_of_the_float64_draw() -> None:
    """Not a draw of its own: NumPy's float32 stream would be another one."""
    double = glorot_uniform(Spec().model, seed=3, dtype="float64")
    single = glorot_uniform(Spec().model, seed=3, dtype="float32")
    assert list(single) == [f"layers.{i}.{part}" for i in range(3) for part in ("kernel", "bias")]
    for name, tensor in double.items():
        assert (tensor.dtype.name, single[name].dtype.name) == ("float64", "float32")
        np.testing.assert_array_equal(single[name], tensor.astype(np.float32))
    kernel = double["layers.0.kernel"]
    assert (kernel != kernel.astype(np.float32)).any()


def test_weights_depend_on_the_seed_and_on_nothing_else_of_the_run() -> None:
    base = planned(1000, seed=5, data={"rows": 1000})
    other = planned(900, seed=5, data={"test_fraction": 0.5}, training={"batch_size": 7})
    for name, tensor in base.initial_weights.items():
        np.testing.assert_array_equal(tensor, other.initial_weights[name])
    moved = planned(1000, seed=6).initial_weights
    assert not np.isclose(base.initial_weights["layers.0.kernel"], moved["layers.0.kernel"]).all()


def test_keys_are_keys_and_not_entropy() -> None:
    """As lists of entropy `[7]`, `[7, 0]` and `[7, 0, 0]` would be one and the same stream."""
    pooled = [np.random.default_rng(np.random.SeedSequence(e)) for e in ([7], [7, 0], [7, 0, 0])]
    assert len({float(generator.random()) for generator in pooled}) == 1
    keys: list[tuple[int, ...]] = [(), (0,), (0, 0), (0, 1), (1, 0), (1, 1)]
    draws = {key: float(stream(7, *key).random()) for key in keys}
    assert len(set(draws.values())) == len(keys)
    assert draws[0, 0] == rule(7, 0, 0).random() == pytest.approx(0.3921071947, abs=1e-9)


# --- Order ----------------------------------------------------------------------------------------


def test_the_order_of_each_epoch(tutorial: Plan) -> None:
    for epoch, first in ((1, [48366, 46982, 22]), (2, [24258, 51444, 15754])):
        order = tutorial.order(epoch)
        np.testing.assert_array_equal(order, rule(42, 1, epoch - 1).permutation(52_500))
        assert order[:3].tolist() == first
        np.testing.assert_array_equal(np.sort(order), np.arange(52_500))


def test_an_order_does_not_depend_on_what_was_drawn_before(tutorial: Plan) -> None:
    second = tutorial.order(2)
    tutorial.order(1)
    np.testing.assert_array_equal(tutorial.order(2), second)


def test_the_batches_of_an_epoch(tutorial: Plan) -> None:
    batches = list(tutorial.batches(1))
    assert tutorial.steps_per_epoch == len(batches) == 411
    assert [len(batch) for batch in batches] == [128] * 410 + [20]
    np.testing.assert_array_equal(np.concatenate(batches), tutorial.order(1))
    even = planned(1024, training={"batch_size": 96})
    assert [len(batch) for batch in even.batches(1)] == [96] * 8
    assert even.steps_per_epoch == 8


# --- Split ----------------------------------------------------------------------------------------

TRAIN_IDS_SHA256 = "8a25e849c57fc1afc80950919b8b935ccdde54a2d63690d8060f69bde5939fb9"
TEST_IDS_SHA256 = "39930eb78dbc5444af83f963c65fa36c9bae405ce3f93c9b033298ad6cc4f8e9"


def test_the_split_of_70_000_rows(tutorial: Plan) -> None:
    assert (len(tutorial.train_ids), len(tutorial.test_ids)) == (52_500, 17_500)
    train, test = train_test_split(np.arange(MNIST_ROWS), test_size=0.25, random_state=42)
    np.testing.assert_array_equal(tutorial.train_ids, train)
    np.testing.assert_array_equal(tutorial.test_ids, test)
    assert sha256(tutorial.train_ids) == TRAIN_IDS_SHA256
    assert sha256(tutorial.test_ids) == TEST_IDS_SHA256
    together = np.concatenate([tutorial.train_ids, tutorial.test_ids])
    np.testing.assert_array_equal(np.sort(together), np.arange(MNIST_ROWS))
    assert tutorial.train_ids.dtype == np.int64


def test_the_split_depends_on_seed_and_fraction() -> None:
    base = planned(1000, seed=1)
    assert (base.test_ids != planned(1000, seed=2).test_ids).any()
    assert len(planned(1000, data={"test_fraction": 0.1}).test_ids) == 100


@pytest.mark.parametrize("rows", [3, 401, 1797])
def test_the_split_is_that_of_scikit_learn(rows: int) -> None:
    for fraction in (0.01, 1 / 3, 0.5, 0.9):
        if ceil(fraction * rows) == rows:
            continue
        for seed in (0, 2**32 - 1):
            plan = planned(rows, seed=seed, data={"test_fraction": fraction})
            parts = train_test_split(np.arange(rows), test_size=fraction, random_state=seed)
            np.testing.assert_array_equal(plan.train_ids, parts[0])
            np.testing.assert_array_equal(plan.test_ids, parts[1])


def test_no_training_row_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot split 2 rows: no training row is left"):
        planned(2, data={"test_fraction": 0.9})


def test_drawing_a_plan_imports_no_scikit_learn() -> None:
    """Each command would wait more than a second for it."""
    source = (
        "import sys, numpy as np\n"
        "from mnist_mlp.data.dataset import Dataset\n"
        "from mnist_mlp.plan import make_plan\n"
        "from mnist_mlp.spec import Spec\n"
        "labels = np.zeros(40, np.uint8)\n"
        "rows = Dataset('idx', 'x', np.zeros((40, 28, 28), np.uint8), labels, 10)\n"
        "assert len(make_plan(Spec(), rows).test_ids) == 10\n"
        "assert 'sklearn' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", source], check=True)


def test_rows_are_the_first_ones() -> None:
    plan = planned(1000, data={"rows": 200})
    assert (len(plan.train_ids), len(plan.test_ids)) == (150, 50)
    together = np.concatenate([plan.train_ids, plan.test_ids])
    np.testing.assert_array_equal(np.sort(together), np.arange(200))
    assert len(planned(200, data={"rows": 200}).train_ids) == 150


def groups_on_both_sides(plan: Plan, groups: Any) -> set[int]:
    return set(groups[plan.train_ids].tolist()) & set(groups[plan.test_ids].tolist())


def test_images_of_one_scan_stay_on_one_side() -> None:
    groups = (np.arange(5000) % 180).astype(np.int32)
    plan = planned(5000, groups=groups)
    assert groups_on_both_sides(plan, groups) == set()
    assert len(set(groups[plan.test_ids].tolist())) == 45
    together = np.concatenate([plan.train_ids, plan.test_ids])
    np.testing.assert_array_equal(np.sort(together), np.arange(5000))
    limited = planned(5000, groups=groups, data={"rows": 700})
    assert groups_on_both_sides(limited, groups) == set()
    assert max(limited.train_ids.max(), limited.test_ids.max()) == 699


def test_a_split_that_ignores_scans_is_seen() -> None:
    groups = (np.arange(5000) % 180).astype(np.int32)
    assert len(groups_on_both_sides(planned(5000), groups)) == 180


# --- Refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": {"layer_sizes": [108, 16, 10]}}, ["108", "784", "28 x 28", "[784, ...]"]),
        ({"model": {"layer_sizes": [784, 16, 9]}}, ["ends with 9", "10 classes", "[..., 10]"]),
        ({"data": {"rows": 1001}}, ["data.rows is 1001", "1000 rows"]),
        ({"data": {"test_fraction": 0.9999}}, ["test_fraction=0.9999", "1000 rows"]),
    ],
)
def test_sizes_that_do_not_fit_the_data(sections: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        planned(1000, **sections)
    assert caught.value.exit_code == EXIT_USAGE
    for word in words:
        assert word in str(caught.value)


def test_a_network_that_needs_more_memory_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """784 x 10 + 10 parameters three times, and batches of 32 rows with 10 units, in float64."""
    spec = parse_spec(
        {
            "model": {"layer_sizes": [784, 10]},
            "training": {"batch_size": 32, "precision": "float64"},
        }
    )
    needed = (3 * 7850 + 32 * 10) * 8
    assert least_memory(spec, rows=1000) == needed == 190_960
    single = parse_spec({"model": {"layer_sizes": [784, 10]}, "training": {"batch_size": 32}})
    assert least_memory(single, rows=1000) == needed / 2
    for memory in (None, needed, needed + 1):
        monkeypatch.setattr(plan_module, "machine_memory", lambda memory=memory: memory)
        check_memory(spec, rows=1000)
    monkeypatch.setattr(plan_module, "machine_memory", lambda: needed - 1000)
    with pytest.raises(UsageError) as caught:
        check_memory(spec, rows=1000)
    assert str(caught.value) == (
        "7,850 parameters and batches of 32 rows need at least 186 KiB, but this machine has "
        "186 KiB of memory: lower model.layer_sizes or training.batch_size"
    )
    with pytest.raises(UsageError, match="batches of 20 rows"):
        monkeypatch.setattr(plan_module, "machine_memory", lambda: 1000)
        check_memory(spec, rows=20)


def test_the_most_epochs_that_a_folder_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row takes 4 bytes in the order of an epoch; 7 rows 28; 100 bytes hold three epochs."""
    monkeypatch.setattr(plan_module, "ARRAYS_LIMIT", 100)
    check_epochs(parse_spec({"training": {"epochs": 3}}), rows=7)
    with pytest.raises(UsageError) as caught:
        check_epochs(parse_spec({"training": {"epochs": 4}}), rows=7)
    assert str(caught.value) == (
        "training.epochs is 4, but the order of 7 rows fits into a run folder (100 bytes) for at "
        "most 3 epochs: lower it"
    )


def test_the_plan_of_a_run_that_stopped(tutorial: Plan) -> None:
    """No early stopping, so that a replay makes just these epochs."""
    training = {"epochs": 9, "patience": 2, "min_delta": 0.1, "batch_size": 7}
    asked = replace(tutorial, spec=parse_spec({"training": training, "seed": 3}))
    done = asked.as_trained(4)
    assert done.spec == parse_spec({"training": {"epochs": 4, "batch_size": 7}, "seed": 3})
    assert done.train_ids is tutorial.train_ids
    assert done.initial_weights is tutorial.initial_weights


def test_the_rows_of_both_sides_in_the_order_of_the_plan() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 28, 28)), rng.integers(0, 10, 60)
    data = Dataset("idx", "made up", images.astype(np.uint8), labels.astype(np.uint8), 10)
    plan = make_plan(Spec(), data)
    rows = training_data(plan, data)
    for ids, pixels, classes in (
        (plan.train_ids, rows.train_images, rows.train_labels),
        (plan.test_ids, rows.test_images, rows.test_labels),
    ):
        np.testing.assert_array_equal(pixels, images[ids].reshape(-1, 784))
        np.testing.assert_array_equal(classes, labels[ids])


def test_only_a_worker_forgets_its_images_when_they_were_copied() -> None:
    """The caller of a backend keeps its rows; a worker gets rows of its own, by pickle."""
    images, labels = np.full((6, 4), 7, np.uint8), np.arange(6, dtype=np.uint8)
    rows = TrainingData(images, labels, images[:2], labels[:2])
    received = pickle.loads(pickle.dumps(ReceivedData(**vars(rows)), protocol=5))
    rows.release()
    assert rows.train_images is images
    np.testing.assert_array_equal(received.train_images, images)
    forgotten = weakref.ref(received.train_images)
    received.release()
    assert forgotten() is None
    assert received.train_images.shape == received.test_images.shape == (0, 4)
    np.testing.assert_array_equal(received.train_labels, labels)


def test_six_operations_for_each_parameter_and_row() -> None:
    """A step of 7,850 parameters and 1,000 rows is 47.1 MFLOP: 212 of them are nearly 10 GFLOP."""
    spec = parse_spec({"model": {"layer_sizes": [784, 10]}, "training": {"batch_size": 1000}})
    for steps, expected in ((212, 212), (213, 107), (424, 212)):
        ids = np.arange(1000 * steps + 7)
        assert steps_per_call(Plan(spec, ids, ids, {})) == expected
