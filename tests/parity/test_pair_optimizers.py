"""What makes two optimizers differ, without a framework: settings, rules, and schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pytest

from mnist_mlp.parity.pair.clipping import clipping_of, scaling_of
from mnist_mlp.parity.pair.optimizers import NEGLIGIBLE, explain, hypotheses
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.schedules import SAMPLES, acting, compared, settings_break
from mnist_mlp.parity.pair.sequences import of_update
from mnist_mlp.parity.pair.updates import Hypothesis, Optimizers
from mnist_mlp.parity.pair.weight_map import LayerPair, WeightMap
from mnist_mlp.ports.pair import Mend, PairFacts, PairLayer, PairStep, layer_and_role
from mnist_mlp.ports.pair_rows import PairRows, RunLength
from mnist_mlp.ports.update_rules import (
    ByStep,
    ByTensor,
    Given,
    Settings,
    replayed,
    settings_of_kind,
)
from mnist_mlp.reference import Array, Tensors

STEPS = 6
RNG = np.random.default_rng(0)
ROLES: dict[str, tuple[int, ...]] = {"kernel": (4, 3), "bias": (3,)}
SHAPES = {f"0/{role}": shape for role, shape in ROLES.items()}
GRADIENTS = [
    {n: RNG.normal(size=s) * 10 ** RNG.uniform(-5, 0, s) for n, s in SHAPES.items()}
    for _ in range(STEPS)
]


def settings(framework: str, kind: str, **found: Any) -> dict[str, Any]:
    known = {"learning_rate": 1e-3, "epsilon": 1e-7, **found}
    return {"name": kind, **settings_of_kind(framework, kind, known)}


def steps(given: Sequence[Mapping[str, Settings]], off: float = 1.0) -> tuple[PairStep, ...]:
    """By rule from weights that are the same for all; `off` times as far with another rule."""
    weights = {n: np.ones(s) for n, s in SHAPES.items()}
    after = replayed([Given(weights, g, s) for g, s in zip(GRADIENTS, given, strict=True)])
    return tuple(
        PairStep(
            inputs={0: np.ones((2, 4))},
            outputs={0: np.ones((2, 3))},
            loss=1.0,
            before=weights,
            gradients=gradients,
            after={n: weights[n] + off * (w - weights[n]) for n, w in moved.items()},
            optimizer=each,
        )
        for gradients, moved, each in zip(GRADIENTS, after, given, strict=True)
    )


def every(one: Settings) -> list[Mapping[str, Settings]]:
    return [dict.fromkeys(SHAPES, one)] * STEPS


def run_of(
    a: Sequence[Mapping[str, Settings]], b: Sequence[Mapping[str, Settings]], off: float = 1.0
) -> PairRun:
    layer = PairLayer(0, "dense", "dense", shapes=ROLES)
    facts = PairFacts("keras", (layer,), 0), PairFacts("torch", (layer,), 0)
    weights = WeightMap((LayerPair(layer, layer),))
    rows = PairRows(np.zeros((6, 4)), np.zeros(6), 2)
    return PairRun(lambda job: steps(b, off), *facts, steps(a), rows, weights)


def named(run: PairRun, *, proven: bool = True) -> dict[str, tuple[Mend, ...]] | None:
    found = explain(run, lambda chosen: proven)
    return None if found is None else {each.cause.name: each.mends for each in found}


RMSPROP = settings("keras", "RMSprop", rho=0.9)


@pytest.mark.parametrize(
    ("a", "b", "causes"),
    [
        (RMSPROP, settings("torch", "RMSprop", rho=0.9), {"rmsprop_epsilon_placement"}),
        (
            RMSPROP,
            settings("torch", "RMSprop", rho=0.99, learning_rate=1e-2, epsilon=1e-8),
            {"rmsprop_epsilon_placement", "optimizer_settings", "learning_rate"},
        ),
        (
            RMSPROP,
            settings("torch", "RMSprop", rho=0.9, learning_rate=1e-3 * 1.00001),
            {"rmsprop_epsilon_placement", "learning_rate"},
        ),
        (
            settings("keras", "Adagrad", initial_accumulator=0.1),
            settings("torch", "Adagrad", epsilon=1e-10),
            {"adagrad_initial_accumulator", "adagrad_epsilon_placement"},
        ),
        (
            settings("keras", "Adamax", beta_1=0.9, beta_2=0.999),
            settings("torch", "Adamax", beta_1=0.9, beta_2=0.999),
            {"adamax_epsilon_placement"},
        ),
        (
            settings("keras", "Nadam", beta_1=0.9, beta_2=0.999),
            settings("torch", "Nadam", beta_1=0.9, beta_2=0.999, momentum_decay=0.004),
            {"nadam_momentum_decay"},
        ),
        (
            settings("keras", "Adam", beta_1=0.9, beta_2=0.999, weight_decay=4e-3),
            settings("torch", "Adam", beta_1=0.9, beta_2=0.999, weight_decay=4e-3),
            {"adam_epsilon_placement", "coupled_weight_decay"},
        ),
        (
            settings("keras", "SGD", momentum=0.9, nesterov=True),
            settings("torch", "SGD"),
            {"momentum_missing", "nesterov_missing"},
        ),
        (
            settings("keras", "SGD", clip="tensor", clip_at=0.1),
            settings("torch", "SGD", clip="global", clip_at=0.1, clip_slack=1e-6),
            {"clip_by_norm"},
        ),
        (settings("keras", "SGD"), settings("torch", "SGD", maximize=True), {"gradient_ascent"}),
        (RMSPROP, settings("torch", "SGD"), {"other_optimizer"}),
    ],
)  # fmt: skip
def test_what_is_needed_is_named_and_nothing_else(
    a: Settings, b: Settings, causes: set[str]
) -> None:
    found = named(run_of(every(a), every(b)))
    assert found is not None
    assert found.keys() - {"clip_norm_slack"} == causes


def test_a_setting_is_told_with_both_values_and_the_optimizer() -> None:
    run = run_of(every(RMSPROP), every(settings("torch", "RMSprop", rho=0.99)))
    found = explain(run, lambda chosen: True)
    assert found is not None
    (told,) = (each.cause for each in found if each.cause.name == "optimizer_settings")
    assert str(told.value).startswith("rho 0.99 instead of 0.9, RMSprop; it changes an update by")
    assert told.fix == "alpha=0.9 in the optimizer"


def test_nothing_is_named_that_did_not_help_the_port() -> None:
    run = run_of(every(RMSPROP), every(settings("torch", "RMSprop", rho=0.9)))
    assert named(run, proven=False) is None


def test_an_optimizer_that_follows_no_rule_is_not_explained_by_one() -> None:
    run = run_of(every(RMSPROP), every(settings("torch", "RMSprop", rho=0.9)), off=1.1)
    assert named(run) is None
    unknown: list[Mapping[str, Settings]] = [{}] * STEPS
    assert named(run_of(every(RMSPROP), unknown)) is None


def test_a_decay_of_some_tensors_is_its_scope() -> None:
    whole = settings("torch", "SGD", weight_decay=0.1)
    none = {**settings("keras", "SGD"), "weight_decay": 0.0}
    kernels = [{"0/kernel": {**none, "weight_decay": 0.1}, "0/bias": none}] * STEPS
    found = named(run_of(kernels, every(whole)))
    assert found is not None
    assert found.keys() == {"weight_decay_scope"}
    ((mend,),) = found.values()
    assert mend.value == ByTensor((("0/kernel", 0.1), ("0/bias", 0.0)))


def test_the_scope_of_a_decay_is_told_by_tensors() -> None:
    whole = settings("torch", "SGD", weight_decay=0.1)
    none = {**settings("torch", "SGD"), "weight_decay": 0.0}
    kernels = [{"0/kernel": whole, "0/bias": none}] * STEPS
    for ours, theirs, told, fix in (
        (kernels, every(whole), "0.1 acts on the bias of dense too; ", "weight_decay=0 for the"),
        (every(whole), kernels, "0.1 acts not on the bias of dense; ", "weight_decay=0.1 for the"),
    ):
        found = explain(run_of(ours, theirs), lambda chosen: True)
        assert found is not None
        assert str(found[0].cause.value).startswith(told)
        assert found[0].cause.fix.startswith(fix)


def test_a_difference_that_float32_does_not_hold_is_noted() -> None:
    a = settings("keras", "Adagrad", initial_accumulator=0.1)
    for epsilon, noted in ((1e-7, True), (1e-4, False)):
        b = settings("torch", "Adagrad", initial_accumulator=0.1, epsilon=epsilon)
        found = explain(run_of(every(a), every(b)), lambda chosen: True)
        assert found is not None
        (only,) = found
        assert (only.cause.name, only.noted) == ("adagrad_epsilon_placement", noted)
        assert "initial_accumulator_value=0.1000001, eps=0" in only.cause.fix
    assert 1e-7 < NEGLIGIBLE < 1e-6


# --- Two biases -----------------------------------------------------------------------------------


def of_two_biases(b: Settings, *, trained: bool, shared: float = 0.0) -> PairRun:
    """An original whose LSTM has one bias, and a port that has two, of which the second may be
    trained; with Adam, whose epsilon has two places."""
    roles = {"kernel": (3, 8), "recurrent_kernel": (2, 8), "bias": (8,)}
    second = {"recurrent_bias": (8,)}
    one = PairLayer(0, "lstm", "lstm", shapes=roles)
    two = PairLayer(1, "lstm", "lstm", shapes=roles | second)
    weights = WeightMap((LayerPair(one, two),))
    rng = np.random.default_rng(1)
    gradients = [
        {f"0/{role}": rng.normal(size=s) * 10 ** rng.uniform(-5, 0, s) for role, s in roles.items()}
        for _ in range(STEPS)
    ]
    before = {f"0/{role}": np.full(s, 0.5) for role, s in roles.items()}
    a = settings("keras", "Adam", beta_1=0.9, beta_2=0.999, weight_decay=shared, decoupled=True)

    def taken(
        before: Tensors, gradients: Sequence[Tensors], each: Settings
    ) -> tuple[PairStep, ...]:
        given = dict.fromkeys(before, each)
        number, _ = layer_and_role(next(iter(before)))
        after = replayed([Given(before, g, given) for g in gradients])
        return tuple(
            PairStep(
                inputs={number: np.ones((2, 4, 3))},
                outputs={number: np.ones((2, 4, 2))},
                loss=1.0,
                before=before,
                gradients=g,
                after={**before, **w},
                optimizer=given,
            )
            for g, w in zip(gradients, after, strict=True)
        )

    left_out = set() if trained else {"1/recurrent_bias"}
    own = [
        {n: g for n, g in weights.to_b(step, gradients=True).items() if n not in left_out}
        for step in gradients
    ]
    steps_b = taken(weights.to_b(before), own, b)
    facts = PairFacts("keras", (one,), 0), PairFacts("torch", (two,), 0)
    rows = PairRows(np.zeros((6, 4)), np.zeros(6), 2)
    return PairRun(lambda job: steps_b, *facts, taken(before, gradients, a), rows, weights)


ADAM = settings("torch", "Adam", beta_1=0.9, beta_2=0.999, decoupled=True)


@pytest.mark.parametrize("trained", [True, False])
def test_a_second_bias_is_told_beside_what_differs_in_the_optimizer(trained: bool) -> None:
    run = of_two_biases(ADAM, trained=trained)
    biases = [Hypothesis(*each) for each in of_update(run)]
    found = explain(run, lambda chosen: True, biases)
    assert found is not None
    assert [(each.cause.name, each.noted) for each in found] == [
        *([("recurrent_bias_twice", False)] if trained else []),
        ("adam_epsilon_placement", False),
    ]
    alone = explain(run, lambda chosen: True)
    assert (alone is None) == trained


def test_a_setting_of_one_bias_is_that_of_both() -> None:
    run = of_two_biases({**ADAM, "weight_decay": 0.2}, trained=False, shared=0.1)
    decay = {"0/kernel": 0.0, "0/recurrent_kernel": 0.0, "0/bias": 0.1}
    for step in run.steps_a:
        step.optimizer.update(  # type: ignore[attr-defined]
            {n: {**s, "weight_decay": decay[n]} for n, s in step.optimizer.items()}
        )
    found = dict(next(iter(h.changes.items())) for h in hypotheses(Optimizers.of(run)))
    assert dict(found["weight_decay"].values)["1/recurrent_bias"] == 0.1


# --- Schedules ------------------------------------------------------------------------------------


def rates(rule: Any, *, decay_by: int = 1) -> Any:
    """A side whose rate is a rule of the step; its interval can be changed to steps or epochs."""

    def asked(at: Array, *, interval: str | None = None) -> dict[str, Array]:
        size = {"step": 1, "epoch": LENGTH.steps, None: decay_by}[interval]
        return {"learning_rate": np.array([float(rule(int(step) // size)) for step in at])}

    return asked


LENGTH = RunLength(epochs=200, steps=50)
WORDS = ("one", "another")


def halving(step: int) -> float:
    return float(0.1 * 0.5 ** (step / 1000))


def test_the_same_schedule_is_the_same() -> None:
    found = compared(rates(halving), rates(lambda s: halving(s) * (1 + 1e-7)), LENGTH, WORDS)
    assert found.first is None
    assert not list(found.breaks())


@pytest.mark.parametrize("step", [0, 1, 49, 50, 3_777, 9_999])
def test_the_first_step_that_differs_is_found(step: int) -> None:
    """A change that lasts, in a run of 10,000 steps of which few are looked at."""
    assert LENGTH.epochs * LENGTH.steps > 10 * SAMPLES
    late = rates(lambda s: halving(s) * (0.9 if s >= step else 1.0))
    found = compared(rates(halving), late, LENGTH, WORDS)
    assert found.first == step
    (broken,) = found.breaks()
    assert (broken.epoch, broken.step) == (step // 50 + 1, step + 1)
    assert broken.cause.name == "other_schedule"
    assert f"at step {step + 1}; another instead of one" in str(broken.cause.value)


def constant(_: int) -> float:
    return 0.1


def test_what_a_schedule_does_otherwise() -> None:
    by_epoch = rates(halving, decay_by=LENGTH.steps)
    for a, b, cause, interval in (
        (rates(halving), by_epoch, "schedule_by_epoch", "step"),
        (by_epoch, rates(halving), "schedule_by_step", "epoch"),
        (rates(halving), rates(constant), "schedule_ignored", None),
        (rates(constant), rates(halving), "undeclared_schedule", None),
    ):
        found = compared(a, b, LENGTH, WORDS)
        assert (found.cause.name, found.interval, found.scaled) == (cause, interval, False)


def test_a_schedule_of_another_rate_is_scaled() -> None:
    found = compared(rates(halving), rates(lambda s: 1.00001 * halving(s)), LENGTH, WORDS)
    assert (found.first, found.scaled) == (0, True)


def test_a_judged_step_with_another_rate_is_traced_to_its_schedule() -> None:
    a = [dict.fromkeys(SHAPES, settings("keras", "SGD", learning_rate=halving(k)))
         for k in range(STEPS)]  # fmt: skip
    b = every(settings("torch", "SGD", learning_rate=0.1))
    run = run_of(a, b)
    run.schedules = compared(rates(halving), rates(halving, decay_by=LENGTH.steps), LENGTH, WORDS)
    found = named(run)
    assert found == {"schedule_by_epoch": (Mend(None, "interval", "step"),)}
    run.schedules = compared(rates(halving), rates(constant), LENGTH, WORDS)
    found = named(run)
    wanted = ByStep(tuple(halving(k) for k in range(STEPS)))
    assert found == {"schedule_ignored": (Mend(None, "learning_rate", wanted),)}


def test_rates_that_own_code_changes_are_told_by_the_steps() -> None:
    falling = [dict.fromkeys(SHAPES, settings("torch", "SGD", learning_rate=0.1 * (k < 3) + 0.1))
               for k in range(STEPS)]  # fmt: skip
    found = explain(
        run_of(every(settings("keras", "SGD", learning_rate=0.2)), falling), lambda chosen: True
    )
    assert found is not None
    (only,) = found
    assert only.cause.name == "undeclared_schedule"
    assert str(only.cause.value).startswith("learning_rate 0.1 instead of 0.2 at step 4;")


# --- What follows the loss ------------------------------------------------------------------------

PLATEAU = {"monitor": "val_loss", "mode": "min", "epochs": 5, "min_delta": 1e-4, "relative": False}


def test_settings_that_follow_the_loss_are_compared() -> None:
    def compare(a: Any, b: Any) -> Any:
        return settings_break(a, b, name="plateau_settings", rung="update")

    assert compare(None, None) is None
    assert compare(PLATEAU, PLATEAU | {"monitor": "valid/loss"}) is None
    late = compare(PLATEAU, PLATEAU | {"epochs": 6})
    assert late.cause.value == "epochs without progress 6 instead of 5"
    train = compare(PLATEAU, PLATEAU | {"monitor": "train_loss", "relative": True})
    assert cast(str, train.cause.value).count("instead of") == 2
    assert compare(PLATEAU, None).cause.value == "only the original has it"


# --- Clipping by own code -------------------------------------------------------------------------


def test_clipping_is_told_by_what_the_optimizer_took() -> None:
    given = [{"a": np.array([3.0, 4.0]), "b": np.array([0.6, 0.8])}]

    def told(a: float, b: float, framework: str = "keras", limit: float = 9.0) -> dict[str, Any]:
        taken = {"a": np.clip(a * given[0]["a"], -limit, limit), "b": b * given[0]["b"]}
        return clipping_of([*given, *given], [*given, taken], framework)

    assert told(1.0, 1.0) == {}
    norm = float(np.sqrt(26))
    found = told(0.5, 0.5)
    assert found == {"clip": "global", "clip_at": pytest.approx(0.5 * norm), "clip_slack": 0.0}
    scale = 2.0 / (norm + 1e-6)
    assert told(scale, scale, "torch")["clip_at"] == pytest.approx(2.0, rel=1e-13)
    by_itself = told(0.4, 1.0)
    assert by_itself == {"clip": "tensor", "clip_at": pytest.approx(2.0), "clip_slack": 0.0}
    assert told(1.0, 1.0, limit=3.5) == {"clip": "value", "clip_at": 3.5}
    # One tensor halved, and of the other one element: no clipping that has a name.
    assert told(1.0, 0.5, limit=3.5) == {}


def test_the_same_factor_in_every_step_is_no_clipping() -> None:
    given = [{"a": np.array([3.0, 4.0])}, {"a": np.array([0.6, 0.8])}]
    halved = [{"a": 0.5 * step["a"]} for step in given]
    assert scaling_of(given, halved) == pytest.approx(0.5, rel=1e-13)
    assert clipping_of(given, halved, "keras") == {}
    assert scaling_of(given[:1], halved[:1]) is None
    assert scaling_of(given, [halved[0], given[1]]) is None
    assert scaling_of(given, [halved[0], {"a": 0.4 * given[1]["a"]}]) is None
    assert scaling_of(given, given) is None
    assert scaling_of(given, [{}, {}]) is None


# --- What waits for epochs without progress -------------------------------------------------------


@pytest.mark.parametrize(("epochs", "acts"), [(4, False), (5, True)])
def test_patience_as_long_as_the_run_changes_nothing(epochs: int, acts: bool) -> None:
    settings = {"epochs": 3}
    known = RunLength(epochs, 10), RunLength(2, 10)
    assert acting(settings, known) == (settings if acts else None)
    guessed = RunLength(epochs, 10), RunLength(2, 10, guessed=True)
    assert acting(settings, guessed) == settings
    assert acting(None, known) is None
