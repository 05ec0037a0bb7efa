"""Order, initial weights and epoch numbers: which name each fault gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from scipy.stats import truncnorm
from small_problems import problem, spec_of

from mnist_mlp.parity.causes import init, metrics, order
from mnist_mlp.parity.causes.initialisers import is_narrower
from mnist_mlp.parity.causes.metrics import EpochMeasures
from mnist_mlp.plan import Plan, glorot_uniform, stream
from mnist_mlp.ports.trials import wanted_draws
from mnist_mlp.reference import Array

PLAN = problem(spec_of()).plan
SQUARE = problem(spec_of(sizes=(16, 16))).plan
N = len(PLAN.train_ids)
EPOCHS = [PLAN.order(epoch) for epoch in (1, 2, 3)]
RNG = np.random.default_rng(9)


def with_epoch(number: int, positions: Array) -> list[Array]:
    return [positions if epoch == number else old for epoch, old in enumerate(EPOCHS, 1)]


def exchanged(positions: Array, *places: int) -> Array:
    new = positions.copy()
    new[list(places)] = new[list(places[1:] + places[:1])]
    return new


# --- Order ----------------------------------------------------------------------------------------

ORDERS: dict[str, tuple[list[Array], int, int, str]] = {
    "repeated": ([EPOCHS[0]] * 3, 2, 11, "order_not_reshuffled"),
    "in their order": ([np.arange(N)] * 3, 1, 1, "not_shuffled"),
    "one epoch ahead": ([PLAN.order(e) for e in (2, 3, 4)], 1, 1, "order_shifted"),
    "backwards": (with_epoch(2, EPOCHS[1][::-1]), 2, 11, "order_reversed"),
    "last batch dropped": ([e[: N - N % 32] for e in EPOCHS], 1, 10, "last_batch_dropped"),
    "another from epoch 2": (
        [EPOCHS[0], RNG.permutation(N), RNG.permutation(N)],
        2,
        11,
        "order_drawn_elsewhere",
    ),
    "another from the start": ([RNG.permutation(N) for _ in range(3)], 1, 1, "own_shuffle"),
    "two rows exchanged": (with_epoch(3, exchanged(EPOCHS[2], 40, 70)), 3, 22, "altered_file"),
    "one entry altered": (
        with_epoch(1, np.concatenate([EPOCHS[0][:-1], EPOCHS[0][:1]])),
        1,
        10,
        "altered_file",
    ),
    "drawn with repeats": (with_epoch(1, RNG.integers(0, N, N)), 1, 1, "unknown"),
    "half the rows": ([e[: N // 2] for e in EPOCHS], 1, 5, "unknown"),
    "some rows more": ([np.concatenate([e, e[:9]]) for e in EPOCHS], 1, 10, "unknown"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders(name: str) -> None:
    epochs, epoch, step, cause = ORDERS[name]
    found = order.first_break(epochs, PLAN)
    assert found is not None
    assert (found[0], found[1], found[2].name) == (epoch, step, cause)


def test_the_planned_order_is_no_break() -> None:
    assert order.first_break(EPOCHS, PLAN) is None


# --- Initial weights ------------------------------------------------------------------------------


def drawn(plan: Plan, draw: Callable[[np.random.Generator, tuple[int, int]], Any]) -> Any:
    """Kernels drawn in another way; biases as planned."""
    return {
        name: draw(stream(1, 5, number), w.shape).astype(w.dtype) if w.ndim == 2 else w
        for number, (name, w) in enumerate(plan.initial_weights.items())
    }


def cut_normal(rng: np.random.Generator, shape: tuple[int, int], deviation: float) -> Array:
    """As Keras draws: cut at two deviations, then widened to the deviation asked for."""
    values = rng.normal(size=(8, *shape))
    chosen = np.take_along_axis(values, (np.abs(values) <= 2).argmax(axis=0)[None], axis=0)[0]
    return chosen * deviation / 0.87962566103423978


KERNELS: dict[str, tuple[Callable[..., Any], str]] = {
    "torch": (
        lambda rng, s: rng.uniform(-1, 1, s) / np.sqrt(s[0]),
        "torch_default_kernel_init",
    ),
    "he uniform": (lambda rng, s: rng.uniform(-1, 1, s) * np.sqrt(6 / s[0]), "he_uniform"),
    "he normal": (lambda rng, s: rng.normal(0, np.sqrt(2 / s[0]), s), "he_normal"),
    "he normal, cut": (lambda rng, s: cut_normal(rng, s, np.sqrt(2 / s[0])), "he_normal"),
    "glorot normal": (lambda rng, s: rng.normal(0, np.sqrt(2 / sum(s)), s), "glorot_normal"),
    "lecun normal": (lambda rng, s: rng.normal(0, np.sqrt(1 / s[0]), s), "lecun_normal"),
    "lecun uniform": (lambda rng, s: rng.uniform(-1, 1, s) * np.sqrt(3 / s[0]), "lecun_uniform"),
    "normal 0.05": (lambda rng, s: rng.normal(0, 0.05, s), "random_normal"),
    "uniform 0.05": (lambda rng, s: rng.uniform(-0.05, 0.05, s), "random_uniform"),
    "another seed": (
        lambda rng, s: rng.uniform(-1, 1, s) * np.sqrt(6 / sum(s)),
        "other_seed",
    ),
    "zeros": (lambda rng, s: np.zeros(s), "kernel_zeros"),
    "Laplace": (lambda rng, s: rng.laplace(0, 0.1, s), "unknown"),
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_drawn_from_another_distribution(name: str) -> None:
    draw, cause = KERNELS[name]
    (found,) = init.breaks(drawn(PLAN, draw), PLAN, side="b")
    assert (found.rung, found.step, found.epoch, found.layer) == ("init", 0, 0, 0)
    assert (found.tensor, found.side, found.cause.name) == ("kernel", "b", cause)


BIASES: dict[str, tuple[Callable[..., Any], str]] = {
    "torch": (
        lambda rng, n, inputs: rng.uniform(-1, 1, n) / np.sqrt(inputs),
        "torch_default_bias_init",
    ),
    "ones": (lambda rng, n, inputs: np.ones(n), "bias_ones"),
}


@pytest.mark.parametrize("name", BIASES)
def test_biases(name: str) -> None:
    draw, cause = BIASES[name]
    rng = np.random.default_rng(2)
    weights = {
        n: w
        if w.ndim == 2
        else draw(rng, len(w), len(PLAN.initial_weights[n.replace("bias", "kernel")])).astype("f4")
        for n, w in PLAN.initial_weights.items()
    }
    (found,) = init.breaks(weights, PLAN, side="a")
    assert (found.tensor, found.layer, found.cause.name) == ("bias", 0, cause)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda w: w.reshape(w.shape[::-1]).T, "kernel_reshaped"),
        (lambda w: w.T if w.shape[0] == w.shape[1] else w, "kernel_transposed"),
        (lambda w: w + np.eye(*w.shape, dtype=w.dtype) * (w.shape == (16, 10)) / 8, "unknown"),
    ],
)
def test_planned_kernels_used_in_another_way(change: Any, cause: str) -> None:
    weights = {n: change(w) if w.ndim == 2 else w for n, w in SQUARE.initial_weights.items()}
    (found,) = init.breaks(weights, SQUARE, side="a")
    assert (found.tensor, found.cause.name) == ("kernel", cause)


def test_a_few_values_altered() -> None:
    weights = {n: w.copy() for n, w in PLAN.initial_weights.items()}
    weights["layers.1.kernel"][3, 4] += 1e-3
    (found,) = init.breaks(weights, PLAN, side="a")
    assert (found.layer, found.tensor, found.cause.name) == (1, "kernel", "altered_file")
    assert "[3, 4]" in found.got


def test_planned_weights_are_no_break() -> None:
    assert init.breaks(PLAN.initial_weights, PLAN, side="a") == []


@pytest.mark.parametrize("seed", range(20))
def test_honest_native_draws_are_clean(seed: int) -> None:
    model = PLAN.spec.model
    draws = [glorot_uniform(model, seed=1000 * seed + i, dtype="float32") for i in range(10)]
    assert init.native_breaks(draws, model.layers, side="a") == []


def test_native_defaults_of_torch_are_two_breaks() -> None:
    rng = np.random.default_rng(0)
    draws = [
        {
            n: rng.uniform(-1, 1, w.shape)
            / np.sqrt(len(PLAN.initial_weights[n.replace("bias", "kernel")]))
            for n, w in PLAN.initial_weights.items()
        }
        for _ in range(10)
    ]
    found = init.native_breaks(draws, PLAN.spec.model.layers, side="b")
    assert [(item.tensor, item.cause.name) for item in found] == [
        ("kernel", "torch_default_kernel_init"),
        ("bias", "torch_default_bias_init"),
    ]


def test_400_inputs_alone_fit_two_initialisers() -> None:
    """1/sqrt(400) is 0.05, so that torch's default and Keras's random_uniform draw the same."""
    rng = np.random.default_rng(0)
    layers = ((400, 120, ""), (120, 84, ""), (84, 10, ""))
    draws = [
        {
            name: rng.uniform(-1, 1, shape) / np.sqrt(inputs)
            for number, (inputs, units, _) in enumerate(layers)
            for name, shape in (
                (f"layers.{number}.kernel", (inputs, units)),
                (f"layers.{number}.bias", (units,)),
            )
        }
        for _ in range(10)
    ]
    found = init.native_breaks(draws, layers, side="b")
    assert [(item.cause.name, item.layers) for item in found] == [
        ("torch_default_kernel_init", (0, 1, 2)),
        ("torch_default_bias_init", (0, 1, 2)),
    ]
    alone = init.native_breaks(draws, layers[:1], side="b")
    assert [item.cause.name for item in alone] == ["unknown", "unknown"]


@pytest.mark.parametrize("draws", [1, 10])
def test_a_single_column_is_not_orthogonal_by_itself(draws: int) -> None:
    """The last layer of a regression: nothing is there that it could be orthogonal to."""
    rng = np.random.default_rng(0)
    layers = ((160, 1, ""),)
    several = [
        {
            "layers.0.kernel": rng.uniform(-1, 1, (160, 1)) / np.sqrt(160),
            "layers.0.bias": np.zeros(1),
        }
        for _ in range(draws)
    ]
    found = init.native_breaks(several, layers, side="b")
    assert [item.cause.name for item in found] == ["torch_default_kernel_init"]
    for draw in several:
        draw["layers.0.kernel"] /= np.linalg.norm(draw["layers.0.kernel"])
    found = init.native_breaks(several, layers, side="b")
    assert ("orthogonal" in [item.cause.name for item in found]) is (draws > 1)


WIDTHS: dict[str, Callable[[int, int], float]] = {
    "glorot_uniform": lambda inputs, units: (6 / (inputs + units)) ** 0.5,
    "lecun_uniform": lambda inputs, units: (3 / inputs) ** 0.5,
    "torch_default_kernel_init": lambda inputs, units: inputs**-0.5,
}


@pytest.mark.parametrize("sizes", [(3, 1), (4, 3), (8, 3), (4, 8, 3), (3, 9)])
def test_widths_of_small_kernels_are_told_apart(sizes: tuple[int, ...]) -> None:
    """LeCun's and Glorot's bounds are 7 % apart for 4 inputs and 3 units: the shapes of the two
    distributions would need thousands of values."""
    layers = tuple((i, n, "") for i, n in pairwise(sizes))
    rng = np.random.default_rng(7)

    def drawn(width: Callable[[int, int], float]) -> list[dict[str, Array]]:
        return [
            {
                name: value
                for k, (i, n, _) in enumerate(layers)
                for name, value in (
                    (f"layers.{k}.kernel", rng.uniform(-1, 1, (i, n)) * width(i, n)),
                    (f"layers.{k}.bias", np.zeros(n)),
                )
            }
            for _ in range(wanted_draws(min(i * n for i, n, _ in layers)))
        ]

    for ours, theirs in product(WIDTHS, WIDTHS):
        found = init.pair_breaks(drawn(WIDTHS[ours]), drawn(WIDTHS[theirs]), layers, side="b")
        assert bool(found) is (ours != theirs), (ours, theirs)
        if theirs == "torch_default_kernel_init" != ours:
            assert found[0].cause.name == theirs


def test_the_largest_of_a_few_normal_values_may_be_far_apart() -> None:
    """Keras's normal distributions are cut at two deviations: a few of them look nearly uniform."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a, b = (
            [
                {"layers.0.kernel": truncnorm.rvs(-2, 2, size=(3, 1), random_state=rng)}
                for _ in range(120)
            ]
            for _ in range(2)
        )
        assert init.same_distribution(a, b, "layers.0.kernel")


def test_narrower_is_no_claim_about_a_few_values() -> None:
    assert not is_narrower(0.9, 10)
    assert is_narrower(0.9, 200)
    assert not is_narrower(1.0, 10**6)


# --- Epoch numbers --------------------------------------------------------------------------------

COUNTED = EpochMeasures(
    losses=np.array([2.31, 2.17, 2.05, 1.7]),
    rows=np.array([32, 32, 32, 21]),
    correct=np.array([4, 9, 13, 11]),
    confusion=np.array([[20, 3, 1], [5, 10, 15], [0, 9, 54]]),
)


@pytest.mark.parametrize(
    ("kind", "reported", "cause"),
    [
        ("loss", COUNTED.losses.mean(), "unweighted_epoch_mean"),
        ("loss", 1.7, "last_step_logged"),
        ("loss", 2.31, "first_step_logged"),
        ("loss", COUNTED.losses.sum(), "epoch_sum"),
        ("loss", (COUNTED.losses * COUNTED.rows).sum(), "epoch_sum"),
        ("loss", COUNTED.loss / np.log(2), "bits"),
        ("loss", np.exp(COUNTED.loss), "perplexity"),
        ("loss", 1.234, None),
        ("accuracy", np.mean([20 / 24, 10 / 30, 54 / 63]), "macro_accuracy"),
        ("accuracy", np.mean([4 / 32, 9 / 32, 13 / 32, 11 / 21]), "mean_of_batch_accuracies"),
        ("accuracy", 11 / 21, "last_step_logged"),
        ("accuracy", 100 * 37 / 117, "percent"),
        ("accuracy", 37 / 117 / 100, "divided_by_100"),
        ("accuracy", 1 - 37 / 117, "error_rate"),
        ("accuracy", 37.0, "count"),
        ("accuracy", 0.777, None),
    ],
)
def test_formulas(kind: str, reported: float, cause: str | None) -> None:
    found = metrics.name(kind, float(reported), COUNTED)
    assert (found and found.name) == cause


def test_a_number_that_two_formulas_give_gets_no_name() -> None:
    """With batches of one size the last and the first may agree."""
    same = replace(COUNTED, losses=np.array([2.0, 2.5, 3.0, 2.0]))
    assert metrics.name("loss", 2.0, same) is None
