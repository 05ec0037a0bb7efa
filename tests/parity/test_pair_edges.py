"""Batches that are dictionaries, constraints on weights, and numbers that nobody can exchange."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mnist_mlp.parity.check.pair_random import leave_unseen_open, random_outputs
from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair.breaks import Explained
from mnist_mlp.parity.pair.constraints import compared, of_side, tried
from mnist_mlp.parity.pair.judge import Judged
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.weight_map import LayerPair, WeightMap
from mnist_mlp.ports.batch_keys import BatchKeys, KeysError, keys_of, keys_read_in
from mnist_mlp.ports.constraints import Constraint, constrained
from mnist_mlp.ports.draws import Draw
from mnist_mlp.ports.pair import Mend, PairFacts, PairJob, PairLayer, PairStep
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.reference import Array

# --- Dictionaries ---------------------------------------------------------------------------------


def test_the_target_is_known_by_its_name() -> None:
    keys = keys_of(["idx", "image", "Label"], {"image", "Label"})
    assert keys == BatchKeys(("image",), "Label")
    assert keys.parts({"image": 1, "Label": 2, "idx": 3}) == (1, 2)
    assert keys.batch(1, 2) == {"image": 1, "Label": 2}
    several = keys_of(["wide", "deep", "y"], {"y"})  # net(**batch) reads the others
    assert several.parts({"wide": 1, "deep": 2, "y": 3}) == ({"deep": 2, "wide": 1}, 3)
    assert several.batch({"deep": 2, "wide": 1}, 3) == {"deep": 2, "wide": 1, "y": 3}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a", "b"], "'a', 'b', of which none"),
        (["x", "y", "label"], "of which 2"),
        (["labels"], "and no inputs"),
    ],
)
def test_what_cannot_be_told_apart_is_said(names: list[str], told: str) -> None:
    with pytest.raises(KeysError, match=told):
        keys_of(names)


def test_a_batch_that_lacks_an_entry_is_named() -> None:
    with pytest.raises(KeysError, match="no 'image'"):
        BatchKeys(("image",), "label").parts({"label": 1})


def test_what_a_program_reads_by_name() -> None:
    source = """
def training_step(self, batch, batch_idx):
    out = self(batch["image"])
    batch["note"] = other["mask"]
    return loss(out, batch.get("label"))
"""
    assert keys_read_in(source) == ["image", "mask", "label"]
    assert keys_read_in(source, "batch") == ["image", "label"]
    assert keys_read_in("%magic") == []


# --- Constraints ----------------------------------------------------------------------------------

KERNEL = np.array([[3.0, 0.1, -1.0], [4.0, 0.2, 1.0]])


def test_each_constraint_is_keras_own() -> None:
    """Norms of the columns: 5, 0.2236 and 1.4142."""
    norms = np.sqrt(np.square(KERNEL).sum(axis=0))
    limited = constrained(KERNEL, Constraint("max_norm", high=2.0))
    np.testing.assert_allclose(limited[:, 0], [1.2, 1.6], rtol=1e-7)
    np.testing.assert_array_equal(limited[:, 1], KERNEL[:, 1] * (norms[1] / (norms[1] + 1e-7)))
    renormed = constrained(KERNEL, Constraint("max_norm", high=2.0, renorm=True))
    np.testing.assert_array_equal(renormed[:, 1:], KERNEL[:, 1:])
    one = constrained(KERNEL, Constraint("unit_norm", epsilon=0.0))
    np.testing.assert_allclose(np.square(one).sum(axis=0), 1.0)
    half = constrained(KERNEL, Constraint("min_max_norm", low=1.0, high=2.0, rate=0.5))
    np.testing.assert_allclose(
        np.sqrt(np.square(half).sum(axis=0)), [3.5, (1 + norms[1]) / 2, norms[2]], rtol=1e-6
    )
    assert constrained(KERNEL, Constraint("non_neg")).min() == 0
    rows = constrained(KERNEL, Constraint("max_norm", axis=(1,), high=1.0))
    assert np.square(rows).sum(axis=1) == pytest.approx(1.0)
    assert str(Constraint("max_norm", high=0.25)) == "MaxNorm(0.25, axis 0)"
    assert str(Constraint("min_max_norm", axis=(0, 1), rate=0.5)) == (
        "MinMaxNorm(0, 1, axis [0, 1], rate 0.5)"
    )


LIMIT = Constraint("max_norm", high=2.0)
MOVED = [KERNEL, KERNEL + 0.3]


def step(moved: Array, after: Array) -> PairStep:
    changed = {} if moved is after else {"0/kernel": moved}
    return PairStep({}, {}, 0.0, {}, {}, {"0/kernel": after}, moved=changed)


def run_of(own: Constraint | None, left: list[Array], *, seen_in: str = "torch") -> PairRun:
    """An original with a constraint, and a port that leaves those weights."""
    layer = PairLayer(0, "fc: dense", "dense", shapes={"kernel": KERNEL.shape})
    facts = PairFacts("keras", (layer,), 0, constraints={"0/kernel": own} if own else {})
    ours = [step(w, constrained(w, own) if own else w) for w in MOVED]
    theirs = [step(w, after) for w, after in zip(MOVED, left, strict=True)]
    run = SimpleNamespace(
        steps_a=ours,
        own_steps=lambda: theirs,
        facts_a=facts,
        facts_b=PairFacts(seen_in, (layer,), 0),
        weights=WeightMap((LayerPair(layer, layer),)),
    )
    return cast(PairRun, run)


@pytest.mark.parametrize(
    ("own", "left", "way"),
    [
        (LIMIT, [constrained(w, LIMIT) for w in MOVED], "alike"),
        (LIMIT, MOVED, "missing"),
        (LIMIT, [constrained(w, Constraint("max_norm", high=1.0)) for w in MOVED], "otherwise"),
        (LIMIT, [constrained(w, Constraint("max_norm", (1,), high=2.0)) for w in MOVED],
         "otherwise"),
        (LIMIT, [constrained(w, Constraint("max_norm", high=2.0, renorm=True)) for w in MOVED],
         "nearly"),
        (None, [w.clip(0) for w in MOVED], "extra"),
    ],
)  # fmt: skip
def test_a_port_is_held_against_the_original_s_constraint(
    own: Constraint | None, left: list[Array], way: str
) -> None:
    run = run_of(own, left)
    (found,) = compared(run)
    assert (found.way, found.by) == (way, own)
    named = {
        "missing": "constraint_missing",
        "otherwise": "other_constraint",
        "extra": "extra_constraint",
        "nearly": "constraint_epsilon",
    }
    for mends, cause, noted in tried([found], run):
        assert (cause.name, noted) == (named[way], way == "nearly")
        assert mends == (Mend(0, "constraint", ("kernel", own)),)
        assert "kernel of fc: dense" in str(cause.value)


def test_nobody_is_held_to_a_constraint_of_the_user_s_own() -> None:
    run = run_of(None, MOVED)
    run.facts_a = PairFacts("keras", (), 0, constraints={"0/kernel": Constraint("Ternary")})
    assert compared(run) == []


@pytest.mark.parametrize(
    "done",
    [
        LIMIT,
        Constraint("max_norm", high=2.0, renorm=True),
        Constraint("unit_norm", axis=(1,), epsilon=0.0),
        Constraint("non_neg"),
    ],
)
def test_what_a_torch_program_does_is_read_off_its_steps(done: Constraint) -> None:
    steps = [step(w, constrained(w, done)) for w in MOVED]
    (found,) = of_side(PairFacts("torch", (), 0), steps).values()
    for w in MOVED:
        np.testing.assert_allclose(constrained(w, found), constrained(w, done), rtol=1e-13)


def test_what_follows_no_known_rule_is_told_as_such() -> None:
    steps = [step(w, np.round(w)) for w in MOVED]
    (found,) = of_side(PairFacts("torch", (), 0), steps).values()
    assert not found.known


def test_an_experiment_puts_a_constraint_in_the_place_of_the_port_s() -> None:
    rows = PairRows(np.zeros((2, 2)), np.zeros(2), 2)
    mends = (Mend(0, "constraint", ("kernel", LIMIT)), Mend(1, "constraint", ("kernel", None)))
    job = PairJob(rows, 1, mends=mends)
    made = job.constrained({"0/kernel": KERNEL, "1/kernel": KERNEL})
    np.testing.assert_array_equal(made["0/kernel"], constrained(KERNEL, LIMIT))
    assert made["1/kernel"] is KERNEL


# --- Random numbers -------------------------------------------------------------------------------


def drawing(draws: int = 0, unseen: tuple[str, ...] = ()) -> list[PairStep]:
    made = tuple(Draw(np.zeros(2), normal=True) for _ in range(draws))
    return [PairStep({}, {}, 0.0, {}, {}, {}, draws=made, unseen=unseen)]


def a_break(rung: str = "forward", cause: str = UNKNOWN) -> Break:
    return Break(side="b", rung=rung, place=Place(1, 1, 0, "inputs"), cause=Cause(cause))


@pytest.mark.parametrize(
    ("a", "b", "left_open"),
    [
        (drawing(1), drawing(0, ("numpy.random",)), True),
        (drawing(0, ("uniform numbers",)), drawing(1), True),
        (drawing(0, ("uniform numbers",)), drawing(), False),  # the port draws nothing at all
        (drawing(0, ("rand",)), drawing(0, ("rand",)), True),
        (drawing(1), drawing(1), False),
    ],
)
def test_other_random_numbers_are_no_break(
    a: list[PairStep], b: list[PairStep], *, left_open: bool
) -> None:
    seen = PairEvidence()
    result = Explained(Judged(), breaks=[a_break(), a_break("loss", "loss_sum")])
    leave_unseen_open(seen, result, (a, b))
    assert bool(seen.not_judged) == left_open
    assert [x.rung for x in result.breaks] == ["loss"] if left_open else ["forward", "loss"]


def test_random_outputs_are_named_or_left_open() -> None:
    item = a_break("predictions")
    random = np.random.default_rng(0)

    def drawn() -> Array:
        return random.normal(size=3)

    def same() -> Array:
        return np.ones(3)

    assert random_outputs(item, same, same) is item
    for pair in ((same, drawn), (drawn, same)):
        found: Any = random_outputs(item, *pair)
        assert found.cause.name == "random_in_evaluation"
        assert found.place is item.place
    assert isinstance(random_outputs(item, drawn, drawn), str)
