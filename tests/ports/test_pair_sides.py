"""What each framework's side of a pair observes, sets and changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mnist_mlp.errors import UserCodeError
from mnist_mlp.ports.pair import Forced, Mend, PairFacts, PairJob
from mnist_mlp.ports.pair_rows import PairRows, RunLength, WholeRun
from mnist_mlp.ports.update_rules import ByStep, Given, replayed
from mnist_mlp.worker.parent import Worker

Workers = Callable[[str], Worker]

PAIRS = Path(__file__).parent.parent / "pairs"
TARGETS = {"keras": PAIRS / "lenet_keras.py:build", "torch": PAIRS / "lenet_torch.py:Port"}

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.random((20, 28, 28, 1)), RNG.integers(0, 10, 20)
ROWS = {
    "keras": PairRows(IMAGES, LABELS, 8),
    "torch": PairRows(np.moveaxis(IMAGES, -1, 1), LABELS, 8),
}
BOTH = pytest.mark.parametrize("framework", list(TARGETS))


def opened(
    framework: str, workers: Workers, precision: str = "float64"
) -> tuple[Worker, PairFacts]:
    worker = workers(framework)
    worker.describe_port(str(TARGETS[framework]))
    return worker, worker.pair_open([ROWS[framework]], precision=precision)


def test_both_see_the_same_layers(workers: Workers) -> None:
    """By the same names, with the same settings and canonical shapes."""
    seen = {}
    for framework in TARGETS:
        _, facts = opened(framework, workers)
        assert not facts.own
        seen[framework] = [
            (x.kind, {k: v for k, v in x.settings.items() if k != "pads"}, dict(x.shapes))
            for x in facts.layers
            if x.kind not in ("Flatten", "pad", "softmax", "cross_entropy")
        ]
    assert [kind for kind, _, _ in seen["keras"]] == [
        *("conv", "batch_norm", "relu", "max_pool", "conv", "relu", "average_pool", "dense"),
        *("relu", "dropout", "dense"),
    ]
    assert seen["keras"] == seen["torch"]


def test_both_see_what_is_between_the_layers(workers: Workers) -> None:
    """Changes of shape, and the shape of each result; layers are called as in a first build."""
    found = {}
    for framework in TARGETS:
        _, facts = opened(framework, workers)
        found[framework] = [(x.kind, x.shape) for x in facts.passed if x.kind != "pad"]
        shapes = [facts.shapes[x.number] for x in facts.layers if x.kind == "dense"]
        assert shapes == [(24,), (10,)]
        if framework == "keras":
            names = [x.name for x in facts.layers if x.kind in ("conv", "dense")]
            assert names == ["conv2d: Conv2D", "conv2d_1: Conv2D", "dense: Dense", "dense_1: Dense"]
    assert found["keras"] == found["torch"] == [("flatten", (72,))]


@BOTH
def test_a_whole_training_has_the_rows_that_it_is_given(framework: str, workers: Workers) -> None:
    worker, _ = opened(framework, workers)
    rows = ROWS[framework]
    single = replace(rows, x=np.asarray(rows.x, np.float32))
    told: list[Mapping[str, float]] = []
    worker.pair_train(WholeRun(8, None, single, single), on_epoch=told.append)
    assert len(told) == 8
    assert told[7]["loss"] < told[0]["loss"]
    assert np.isfinite([value for numbers in told for value in numbers.values()]).all()


@BOTH
def test_a_step_is_taken_in_float64_from_what_is_given(framework: str, workers: Workers) -> None:
    worker, facts = opened(framework, workers)
    free = worker.pair_fit(PairJob(ROWS[framework], 2))
    assert len(free) == 6
    assert not any(step.rough for step in free)
    assert {w.dtype for step in free for w in step.after.values()} == {np.dtype(np.float64)}
    for before, after in pairwise(free):  # what one leaves, the next begins with
        for name, w in before.after.items():
            np.testing.assert_array_equal(after.before[name], w)
    again = worker.pair_fit(
        PairJob(ROWS[framework], 2, tuple(Forced(s.before, s.gradients, s.draws) for s in free))
    )
    for one, other in zip(free, again, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-12)
        for name, w in one.after.items():
            np.testing.assert_allclose(other.after[name], w, rtol=1e-12, atol=1e-15)
    assert facts.chosen == 0


@BOTH
def test_gradients_that_are_given_make_the_update(framework: str, workers: Workers) -> None:
    worker, _ = opened(framework, workers)
    free = worker.pair_fit(PairJob(ROWS[framework], 1))[0]
    ones = {name: np.ones_like(g) for name, g in free.gradients.items()}
    given = worker.pair_fit(PairJob(ROWS[framework], 1, (Forced(free.before, ones, free.draws),)))[
        0
    ]
    for name, g in free.gradients.items():
        scale = np.abs(g).max()
        np.testing.assert_allclose(given.gradients[name], g, rtol=1e-9, atol=1e-12 * scale)
        np.testing.assert_allclose(given.after[name] - given.before[name], -0.05, rtol=1e-12)


@BOTH
def test_masks_that_are_given_are_used(framework: str, workers: Workers) -> None:
    worker, _ = opened(framework, workers)
    free = worker.pair_fit(PairJob(ROWS[framework], 1))[0]
    (draw,) = free.draws
    assert draw.probability == pytest.approx(0.75)
    assert 0.5 < draw.keep.mean() < 0.95
    other = type(draw)(~draw.keep, draw.probability)
    given = worker.pair_fit(PairJob(ROWS[framework], 1, (Forced(free.before, {}, (other,)),)))[0]
    np.testing.assert_array_equal(given.draws[0].keep, ~draw.keep)
    last = max(given.inputs)
    assert (given.inputs[last][draw.keep] == 0).all()


def test_an_experiment_changes_one_setting(workers: Workers) -> None:
    for framework in TARGETS:
        worker, facts = opened(framework, workers)
        norm = next(x for x in facts.layers if x.kind == "batch_norm")
        free = worker.pair_fit(PairJob(ROWS[framework], 1))[0]
        job = PairJob(
            ROWS[framework],
            1,
            (Forced(free.before, {}, free.draws),),
            (Mend(norm.number, "epsilon", 0.5),),
        )
        other = worker.pair_fit(job)[0]
        x = other.inputs[norm.number]
        axes = (0, 1, 2) if framework == "keras" else (0, 2, 3)
        expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.5)
        np.testing.assert_allclose(other.outputs[norm.number], expected, rtol=1e-9, atol=1e-12)


@BOTH
def test_rows_of_another_shape_are_not_taken(framework: str, workers: Workers) -> None:
    worker = workers(framework)
    worker.describe_port(str(TARGETS[framework]))
    wrong = PairRows(np.zeros((20, 5)), LABELS, 8)
    with pytest.raises(UserCodeError):
        worker.pair_open([wrong], precision="float64")
    assert worker.pair_open([wrong, ROWS[framework]], precision="float64").chosen == 1


@BOTH
def test_a_float64_run_leaves_nothing_behind(framework: str, workers: Workers) -> None:
    opened(framework, workers)
    worker, _ = opened(framework, workers, precision="float32")
    step = worker.pair_fit(PairJob(ROWS[framework], 1))[0]
    assert {w.dtype for w in step.after.values()} == {np.dtype(np.float32)}


# --- Optimizers and schedules ---------------------------------------------------------------------

TABLE = PairRows(RNG.normal(size=(20, 7)), RNG.normal(size=20), 8)
RULED = {
    "keras": (
        *("sgd", "adam", "amsgrad", "adamw", "rmsprop", "centered", "adagrad", "adadelta"),
        *("adamax", "nadam", "clipped", "clipped_each", "clipped_values", "exponential_momentum"),
    ),
    "torch": (
        *("coupled_decay", "amsgrad_of_torch", "adamw_of_torch", "centered_of_torch"),
        *("adagrad_by_default", "adadelta", "adamax_of_torch", "nadam_by_default", "clipped"),
        *("clipped_values", "exponential_momentum"),
    ),
}


def under(framework: str, name: str, workers: Workers) -> Worker:
    """A worker with the small network under an optimizer, three epochs of ten steps meant."""
    worker = workers(framework)
    worker.describe_port(str(PAIRS / f"optimizers_{framework}.py:{name}"))
    worker.pair_open([TABLE], precision="float64", length=RunLength(3, 10))
    return worker


@BOTH
def test_the_rules_written_down_are_the_framework_s_own(framework: str, workers: Workers) -> None:
    for name in RULED[framework]:
        steps = under(framework, name, workers).pair_fit(PairJob(TABLE, 2))
        found = replayed([Given(s.before, s.gradients, s.optimizer) for s in steps])
        assert len(found) == 6
        for step, after in zip(steps, found, strict=True):
            assert after.keys() == step.gradients.keys()
            for tensor, w in after.items():
                moved = step.after[tensor] - step.before[tensor]
                apart = np.abs(w - step.after[tensor]).max()
                assert apart <= 1e-10 * np.abs(moved).max(), (name, tensor)


@BOTH
def test_an_experiment_changes_the_optimizer(framework: str, workers: Workers) -> None:
    """By an argument, and by the other framework's rule: as its rule with that change has it."""
    name = {"keras": "rmsprop", "torch": "rmsprop_of_torch"}[framework]
    worker = under(framework, name, workers)
    free = worker.pair_fit(PairJob(TABLE, 2))
    given = [Given(s.before, s.gradients, s.optimizer) for s in free]
    forced = tuple(Forced(s.before, s.gradients) for s in free)
    place = {"keras": "the denominator", "torch": "the root"}[framework]
    rates = ByStep((0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    for changes in ({"rho": 0.5}, {"learning_rate": rates}, {"epsilon_in": place, "epsilon": 0.1}):
        mends = tuple(Mend(None, field, value) for field, value in changes.items())
        changed = worker.pair_fit(PairJob(TABLE, 2, forced, mends))
        for step, after in zip(changed, replayed(given, changes), strict=True):
            for tensor, w in after.items():
                np.testing.assert_allclose(step.after[tensor], w, rtol=1e-12, atol=1e-15)


@BOTH
def test_a_schedule_is_run_alone(framework: str, workers: Workers) -> None:
    at = [0, 1, 9, 10, 25]
    halving = 0.05 * 0.5 ** (np.array(at) / 20)
    worker = under(framework, "exponential", workers)
    np.testing.assert_allclose(worker.pair_rates(at)["learning_rate"], halving, rtol=1e-12)
    by_epoch = 0.05 * 0.5 ** (np.array([0, 0, 0, 1, 2]) / 20)
    found = worker.pair_rates(at, interval="epoch")["learning_rate"]
    np.testing.assert_allclose(found, by_epoch, rtol=1e-12)
    worker = under(framework, "by_epoch", workers)
    each = 0.05 * 0.5 ** np.array([0, 0, 0, 1, 2])
    np.testing.assert_allclose(worker.pair_rates(at)["learning_rate"], each, rtol=1e-12)


def test_a_schedule_is_told_how_long_the_run_is(workers: Workers) -> None:
    """Not the few steps that are judged: its cosine ends with 30 steps."""
    rates = under("torch", "cosine", workers).pair_rates([0, 15, 30])["learning_rate"]
    np.testing.assert_allclose(rates, [0.05, 0.0275, 0.005], rtol=1e-9)


def test_a_length_that_was_guessed_leaves_a_schedule_open(workers: Workers) -> None:
    worker = workers("torch")
    for name, asks in (("cosine", True), ("exponential", False)):
        worker.describe_port(str(PAIRS / f"optimizers_torch.py:{name}"))
        guessed = RunLength(3, 10, guessed=True)
        facts = worker.pair_open([TABLE], precision="float64", length=guessed)
        assert facts.asks_length == asks
        assert any("how long the run is" in text for text in facts.open_questions) == asks


def test_weights_of_no_layer_are_read_and_written(workers: Workers) -> None:
    """A class token and a table of positions, by name, on both sides."""
    images = RNG.random((4, 8, 8, 3))
    found = {}
    for framework, rows in (
        ("keras", PairRows(images, LABELS[:4] % 3, 4)),
        ("torch", PairRows(np.moveaxis(images, -1, 1), LABELS[:4] % 3, 4)),
    ):
        worker = workers(framework)
        worker.describe_port(str(PAIRS / f"ported_images_{framework}.py:vit"))
        facts = worker.pair_open([rows], precision="float64")
        found[framework] = [(x.name[-8:], x.shapes["weight"]) for x in facts.own]
        (step,) = worker.pair_fit(PairJob(rows, 1))
        names = [f"{x.number}/weight" for x in facts.own]
        assert all(step.gradients[name].shape == step.before[name].shape for name in names)
        forced = Forced({**step.before, names[1]: np.full((5, 8), 0.5)}, {})
        (other,) = worker.pair_fit(PairJob(rows, 1, (forced,)))
        np.testing.assert_array_equal(other.before[names[1]], 0.5)
        assert other.loss != step.loss
    assert found["keras"] == [("es/token", (8,)), ("position", (5, 8))]
    assert found["torch"] == [("et.token", (8,)), ("position", (5, 8))]


def test_a_recurrent_layer_that_hands_its_states_on(workers: Workers) -> None:
    worker = workers("keras")
    worker.describe_port(str(PAIRS / "ported_sequences_keras.py:seq2seq"))
    words = RNG.integers(0, 20, (4, 7)), RNG.integers(0, 22, (4, 6))
    facts = worker.pair_open([PairRows(words, words[1], 4)], precision="float64")
    states = [x.settings["state"] for x in facts.layers if x.kind == "lstm"]
    assert states == ["zeros", "given"]


def test_noise_with_a_seed_is_random_in_evaluation(workers: Workers) -> None:
    """A model that is built anew would draw the same numbers each time."""
    worker = workers("keras")
    worker.describe_port(str(PAIRS / "ported_tables_keras.py:vae"))
    x = RNG.random((4, 6))
    worker.pair_open([PairRows(x, x, 4)], precision="float64")
    (step,) = worker.pair_fit(PairJob(PairRows(x, x, 4), 1))
    first, second = (worker.pair_predict(step.after, x) for _ in range(2))
    assert all(not np.array_equal(first[number], second[number]) for number in first)


def test_bilinear_upsampling_is_exact_in_float64(workers: Workers) -> None:
    """TensorFlow computes it in float32, whatever it is given."""
    worker = workers("keras")
    worker.describe_port(str(PAIRS / "ported_images_keras.py:segnet"))
    rows = PairRows(RNG.random((2, 12, 12, 3)), RNG.integers(0, 5, (2, 12, 12)), 2)
    facts = worker.pair_open([rows], precision="float64")
    (step,) = worker.pair_fit(PairJob(rows, 1))
    third = [x.number for x in facts.layers if x.kind == "conv"][2]
    pooled = np.maximum(step.outputs[third - 4], 0)  # behind are ReLU, pooling and the upsampling
    small = pooled.reshape(2, 3, 2, 3, 2, -1).max(axis=(2, 4))
    shares = np.zeros((6, 3))
    for new, at in enumerate(np.clip((np.arange(6) + 0.5) / 2 - 0.5, 0, 2)):
        low = min(int(at), 1)
        shares[new, low : low + 2] = low + 1 - at, at - low
    wanted = np.einsum("oh,pw,nhwc->nopc", shares, shares, small)
    np.testing.assert_allclose(step.inputs[third], wanted, rtol=1e-13, atol=1e-14)
