"""Own data of an original and of its port: what they do alike passes, what differs is named.

Batches are made up here, by the code that the hosts use; that the hosts see what a real `fit` or a
real loader gives is tested under `tests/ports`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.causes.data import affine_cause
from mnist_mlp.parity.causes.explain import Explanation
from mnist_mlp.parity.check.own_data import DataVerdict, near
from mnist_mlp.parity.check.pair_brought import Brought
from mnist_mlp.parity.check.pair_data import against_original
from mnist_mlp.parity.check.side import PortEvidence, setting
from mnist_mlp.parity.check.verdict import port_outcome
from mnist_mlp.parity.findings import STEP_RUNGS
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.parity.steps import arbiter
from mnist_mlp.parity.steps.arbiter import Expected
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.plan import Plan, make_plan
from mnist_mlp.ports.find_rows import find
from mnist_mlp.ports.protocol import OwnData, OwnPass, PortFacts
from mnist_mlp.ports.rows import Rows, RowTable, read_pass
from mnist_mlp.reference import Array
from mnist_mlp.spec import parse_spec

SIZE = 32
N = 150
"""Rows of the data set's 250 that the original trains on, whatever the plan says."""


@dataclass(frozen=True)
class Side:
    """How a side gives its rows."""

    rows: Array
    tested: Array | None = None
    size: int = SIZE
    order: str = "drawn"
    """`drawn` in each epoch, `fixed` (one permutation) or `stored`."""

    drop_last: bool = False
    seed: int = 1
    pixels: Callable[[Array], Array] = lambda greys: (greys / 255).astype(np.float32)
    labels: Callable[[Array], Array] = lambda labels: labels
    weights: Callable[[Array], Array] | None = None
    word: bool | None = None
    total: int | None = None


Faulty = dict[str, Any]


class Setting:
    """A data set, a plan of 187 of its rows, and two sides that bring other rows than the plan."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        spec = parse_spec(
            {"model": {"layer_sizes": [30, 9, 4]}, "training": {"batch_size": SIZE, "epochs": 2}}
        )
        self.plan: Plan = make_plan(spec, dataset)
        self.recipe = Recipe(spec, arbiter.eps_of("float32"), (6, 5))
        self.rows, self.tested = np.arange(N), np.arange(N, 250)

    def own(self, side: Side) -> OwnData:
        """Three epochs of it."""
        table, draw = RowTable(), np.random.default_rng(side.seed)
        images, labels = self.dataset.flat(), self.dataset.labels

        def read(rows: Array, *, drop_last: bool) -> OwnPass:
            batches = []
            split = np.split(rows, range(side.size, len(rows), side.size))
            if side.order == "near":
                rows = rows[np.argsort(np.arange(len(rows)) + draw.uniform(0, 30, len(rows)))]
                split = np.split(rows, range(side.size, len(rows), side.size))
            if side.order == "batches":
                split = [split[k] for k in draw.permutation(len(split))]
            for batch in split:
                if drop_last and len(batch) < side.size:
                    continue
                w = None if side.weights is None else side.weights(batch)
                batches.append((side.pixels(images[batch]), side.labels(labels[batch]), w))
            return read_pass(batches, table)

        once = draw.permutation(side.rows)
        epochs = []
        for _ in range(3):
            rows = {"drawn": draw.permutation(side.rows), "fixed": once}
            epochs.append(read(rows.get(side.order, side.rows), drop_last=side.drop_last))
        validation = None
        if side.tested is not None:
            validation = read(side.tested, drop_last=False)
        return OwnData(
            rows=table.rows(),
            shape=(30,),
            epochs=tuple(epochs),
            validation=validation,
            shuffle=side.word,
            total=side.total,
        )

    def judge(
        self,
        original: OwnData | None,
        port: OwnData | None,
        *,
        models: tuple[Recipe | None, Recipe | None] = (None, None),
        framework: str = "keras",
        port_options: dict[str, str] | None = None,
        **words: Any,
    ) -> DataVerdict:
        """The port's data by the original's; `words` are said by the original."""
        facts = {"layers": (), "draws": (), "optimizer": {}}
        a = PortFacts(framework=framework, own=original, **facts, **words)
        b = PortFacts(framework="torch", own=port, options=port_options or {}, **facts)
        return against_original(
            Brought(a, models[0]), Brought(b, models[1]), self.plan, self.dataset
        )

    def pair(self, original: Faulty, port: Faulty) -> DataVerdict:
        """Two sides of the same rows, drawn by two seeds, each with what is said of it."""
        whole: dict[str, Any] = {"rows": self.rows, "tested": self.tested}
        a, b = Side(**(whole | original)), Side(**(whole | {"seed": 2} | port))
        return self.judge(self.own(a), self.own(b))


@pytest.fixture
def here(small_data: Dataset) -> Setting:
    return Setting(small_data)


def greys(pixels: Array) -> Array:
    return pixels.astype(np.float32)


def normalised(pixels: Array) -> Array:
    return ((pixels / 255 - 0.13) / 0.31).astype(np.float32)


def weighted(rows: Array) -> Array:
    return 1.0 + rows % 3


FAITHFUL: dict[str, tuple[Faulty, Faulty]] = {
    "both shuffle": ({}, {}),
    "neither shuffles": ({"order": "stored"}, {"order": "stored", "word": False}),
    "both keep one permutation": ({"order": "fixed"}, {"order": "fixed"}),
    "both store a permutation": (
        {"order": "fixed"},
        {"order": "fixed", "word": False},
    ),
    "one and the same permutation": ({"order": "fixed"}, {"order": "fixed", "seed": 1}),
    "both shuffle whole batches": ({"order": "batches"}, {"order": "batches"}),
    "both shuffle within a buffer": ({"order": "near"}, {"order": "near"}),
    "both drop the last batch": ({"drop_last": True}, {"drop_last": True}),
    "both drop it and keep the order": (
        {"drop_last": True, "order": "stored"},
        {"drop_last": True, "order": "stored"},
    ),
    "a subset": ({"rows": np.arange(100)}, {"rows": np.arange(100)}),
    "rows that occur twice": (
        {"rows": np.append(np.arange(100), np.arange(20))},
        {"rows": np.append(np.arange(20), np.arange(100))},
    ),
    "greys on both sides": ({"pixels": greys}, {"pixels": greys}),
    "the same mean and deviation": ({"pixels": normalised}, {"pixels": normalised}),
    "uint8 and float": ({"pixels": greys}, {"pixels": lambda pixels: pixels}),
    "one-hot and integer labels": ({"labels": lambda labels: np.eye(4)[labels]}, {}),
    "labels from 1 on both sides": (
        {"labels": lambda labels: labels + 1},
        {"labels": lambda labels: labels + 1},
    ),
    "images": ({}, {"pixels": lambda g: (g / np.float32(255)).reshape(-1, 1, 6, 5)}),
    "weights": ({"weights": weighted}, {"weights": weighted}),
    "no validation": ({"tested": None}, {"tested": None}),
    "validation in another order": ({}, {"tested": np.arange(249, N - 1, -1)}),
}


@pytest.mark.parametrize("what", FAITHFUL)
def test_what_both_do_alike_passes(here: Setting, what: str) -> None:
    found = here.pair(*FAITHFUL[what])
    assert found.breaks == []
    assert (found.missing, found.but_for, found.unjudged) == ({}, "", "")
    assert found.not_exercised == []
    assert found.compared["data"] > 250
    assert found.compared["order"] >= 12
    assert {cause.name for cause in found.noted} <= {"own_shuffle"}


FAULTY: dict[str, tuple[Faulty, Faulty, tuple[Any, ...]]] = {
    "the port does not shuffle": (
        {},
        {"order": "stored"},
        ("order", 1, 1, "ids", "not_shuffled"),
    ),
    "nor by its own word": (
        {"rows": np.random.default_rng(9).permutation(N)},
        {"rows": np.random.default_rng(8).permutation(N), "order": "stored", "word": False},
        ("order", 1, 1, "ids", "not_shuffled"),
    ),
    "the port shuffles": (
        {"order": "stored", "word": False},
        {},
        ("order", 1, 1, "ids", "shuffled"),
    ),
    "the port shuffles once": (
        {},
        {"order": "fixed"},
        ("order", 2, 6, "ids", "order_not_reshuffled"),
    ),
    "the port shuffles within a buffer": (
        {},
        {"order": "near"},
        ("order", 2, 6, "ids", "shuffle_buffer"),
    ),
    "the port shuffles within a buffer, the original never": (
        {"order": "stored"},
        {"order": "near"},
        ("order", 1, 1, "ids", "shuffled"),
    ),
    "the port shuffles whole batches": (
        {},
        {"order": "batches"},
        ("order", 2, 6, "ids", "batches_shuffled"),
    ),
    "the original shuffles whole batches": (
        {"order": "batches"},
        {},
        ("order", 2, 6, "ids", "batches_shuffled"),
    ),
    "the port shuffles batches, the original nothing": (
        {"order": "stored"},
        {"order": "batches"},
        ("order", 1, 1, "ids", "shuffled"),
    ),
    "the port shuffles nothing, the original batches": (
        {"order": "batches"},
        {"order": "stored", "word": False},
        ("order", 1, 1, "ids", "not_shuffled"),
    ),
    "the port shuffles anew": (
        {"order": "fixed"},
        {},
        ("order", 1, 1, "ids", "shuffled"),
    ),
    "the port shuffles once, the original never": (
        {"order": "stored"},
        {"order": "fixed"},
        ("order", 1, 1, "ids", "shuffled"),
    ),
    "batches of another size": ({}, {"size": 50}, ("order", 1, 1, "ids", "batch_size")),
    "the last batch dropped": (
        {},
        {"drop_last": True},
        ("order", 1, 5, "ids", "last_batch_dropped"),
    ),
    "the last batch kept": (
        {"drop_last": True},
        {},
        ("order", 1, 5, "ids", "last_batch_kept"),
    ),
    "a subset": ({}, {"rows": np.arange(120)}, ("data", 1, 1, "ids", "other_split")),
    "a subset of whole batches": (
        {},
        {"rows": np.arange(128)},
        ("data", 1, 1, "ids", "other_split"),
    ),
    "the last batch dropped, in one order": (
        {"order": "stored"},
        {"order": "stored", "drop_last": True, "word": False, "total": N},
        ("order", 1, 5, "ids", "last_batch_dropped"),
    ),
    "another split": ({}, {"rows": np.arange(10, 160)}, ("data", 1, 1, "ids", "other_split")),
    "rows drawn with replacement": (
        {},
        {"rows": np.random.default_rng(0).integers(0, N, N)},
        ("order", 1, 1, "ids", "unknown"),
    ),
    "greys for a network of shares": (
        {},
        {"pixels": greys},
        ("data", 1, 1, "inputs", "pixels_not_scaled"),
    ),
    "shares for a network of greys": (
        {"pixels": greys},
        {},
        ("data", 1, 1, "inputs", "pixels_scaled_otherwise"),
    ),
    "scaled twice": (
        {},
        {"pixels": lambda g: (g / 255**2).astype(np.float32)},
        ("data", 1, 1, "inputs", "pixels_scaled_twice"),
    ),
    "mean and deviation": (
        {},
        {"pixels": normalised},
        ("data", 1, 1, "inputs", "mean_std_normalisation"),
    ),
    "no mean and deviation": (
        {"pixels": normalised},
        {},
        ("data", 1, 1, "inputs", "pixels_scaled_otherwise"),
    ),
    "rows and columns exchanged": (
        {},
        {"pixels": lambda g: (g / 255).reshape(-1, 6, 5).transpose(0, 2, 1)},
        ("data", 1, 1, "inputs", "image_axes_swapped"),
    ),
    "labels from 1": (
        {},
        {"labels": lambda labels: labels + 1},
        ("data", 1, 1, "labels", "labels_shifted"),
    ),
    "wrong labels": (
        {},
        {"labels": lambda labels: np.where(labels == 2, 3, labels)},
        ("data", 1, 1, "labels", "unknown"),
    ),
    "smoothed labels": (
        {},
        {"labels": lambda labels: 0.9 * np.eye(4)[labels] + 0.025},
        ("data", 1, 1, "labels", "unknown"),
    ),
    "weights left out": ({"weights": weighted}, {}, ("loss", 1, 1, "loss", "unknown")),
    "other weights": (
        {"weights": weighted},
        {"weights": lambda rows: 2.0 + rows % 3},
        ("loss", 1, 1, "loss", "unknown"),
    ),
    "validated on training rows": (
        {},
        {"tested": np.arange(100)},
        ("data", 1, 5, "ids", "other_split"),
    ),
    "validated on some training rows": (
        {},
        {"tested": np.arange(140, 240)},
        ("data", 1, 5, "ids", "other_split"),
    ),
    "validated on fewer rows": (
        {},
        {"tested": np.arange(N, 200)},
        ("data", 1, 5, "ids", "other_split"),
    ),
    "other numbers altogether": (
        {},
        {"pixels": lambda g: np.sqrt(g / 255)},
        ("data", 1, 1, "ids", "unknown"),
    ),
}


@pytest.mark.parametrize("what", FAULTY)
def test_what_the_port_does_otherwise_is_named(here: Setting, what: str) -> None:
    original, port, expected = FAULTY[what]
    found = here.pair(original, port)
    assert found.breaks, what
    first = found.breaks[0]
    assert (first.rung, first.epoch, first.step, first.tensor, first.cause.name) == expected
    named = {item.cause.name for item in found.breaks}
    assert len(named) == 1, named


def test_a_network_that_scales_its_inputs_belongs_to_the_scale(here: Setting) -> None:
    """Greys into a `Rescaling`, and shares into a network without: the same inputs."""

    def rescaling(images: Array) -> Expected:
        x = images / 255.0**2
        return Expected(x, np.abs(x))

    scaling = replace(here.recipe, pixels=rescaling)
    whole = here.own(Side(here.rows)), here.own(Side(here.rows, pixels=greys, seed=3))
    plain, rescaled = (here.recipe, here.recipe), (scaling, here.recipe)
    assert here.judge(whole[1], whole[0], models=rescaled).breaks == []
    assert here.judge(whole[0], whole[1], models=(here.recipe, scaling)).breaks == []
    twice = here.judge(whole[0], whole[0], models=(here.recipe, scaling)).breaks
    assert [item.cause.name for item in twice] == ["pixels_scaled_twice"]
    never = here.judge(whole[0], whole[1], models=plain).breaks
    assert [item.cause.name for item in never] == ["pixels_not_scaled"]
    # Who brings no data and divides by 255 is taken to have greys.
    own = here.own(Side(here.plan.train_ids))
    assert here.judge(None, own, models=rescaled).breaks == []


def test_where_the_original_brings_no_data_the_plan_is_its_data(here: Setting) -> None:
    planned = here.own(Side(here.plan.train_ids, here.plan.test_ids))
    found = here.judge(None, planned)
    assert (found.breaks, found.missing, found.but_for) == ([], {}, "")
    assert (found.compared["data"], found.compared["order"]) == (187 * 3 + 63, 18)

    other = here.judge(None, here.own(Side(here.rows, here.tested)))
    assert other.breaks == []
    assert other.but_for == "which rows it takes for training, as the original brings none"
    assert list(other.missing) == ["data"]
    assert other.not_exercised == ["which rows validation shows: the original brings none"]

    strange = here.judge(None, here.own(Side(here.rows, pixels=lambda g: np.sin(g * 1.0))))
    assert strange.breaks == []
    assert "no row of the port's is one of the data set" in strange.unjudged


OF_THE_PLAN: dict[str, tuple[Faulty, str]] = {
    "no shuffle": ({"order": "stored"}, "not_shuffled"),
    "one permutation": ({"order": "fixed"}, "order_not_reshuffled"),
    "mean and deviation": ({"pixels": normalised}, "mean_std_normalisation"),
    "labels from 1": ({"labels": lambda labels: labels + 1}, "labels_shifted"),
    "another size": ({"size": 64}, "batch_size"),
    "the last batch dropped": ({"drop_last": True}, "last_batch_dropped"),
    "by its own word": ({"drop_last": True, "order": "stored", "total": N}, "last_batch_dropped"),
    "rows drawn with replacement": (
        {"rows": np.random.default_rng(0).integers(0, N, N)},
        "unknown",
    ),
}


def test_an_original_that_shuffles_within_a_buffer_is_noted(here: Setting) -> None:
    """torch has no such buffer; its port shuffles more than was asked."""
    found = here.pair({"order": "near"}, {})
    assert found.breaks == []
    (noted,) = found.noted
    assert noted.name == "shuffle_buffer"
    assert "in the original: the places of rows in epochs 1 and 2 have a correlation of 0.9" in str(
        noted.value
    )


def test_permutations_are_not_near_each_other() -> None:
    for seed in range(300):
        draw = np.random.default_rng(seed)
        assert near([draw.permutation(60), draw.permutation(60)]) == ""
    rows = np.arange(60)
    assert near([rows, rows[:59]])
    assert near([rows[:40], rows[:40]]) == ""  # too few to say
    assert near([np.zeros(99, int), np.zeros(99, int)]) == ""  # the same row again and again


@pytest.mark.parametrize("what", OF_THE_PLAN)
def test_rows_of_another_split_are_judged_by_the_plan(here: Setting, what: str) -> None:
    fault, cause = OF_THE_PLAN[what]
    found = here.judge(None, here.own(Side(**({"rows": here.rows} | fault))))
    assert cause in [item.cause.name for item in found.breaks]
    assert not any(item.cause.name == "other_split" for item in found.breaks)


def test_the_originals_word_is_a_measure(here: Setting) -> None:
    """`fit(shuffle=False)` without data: a port that shuffles differs."""
    drawn, stored = here.own(Side(here.rows)), here.own(Side(here.rows, order="stored"))
    assert here.judge(None, drawn, shuffle=False).breaks[0].cause.name == "shuffled"
    assert here.judge(None, stored, shuffle=False).breaks == []


def test_what_only_the_original_brings_is_not_judged(here: Setting) -> None:
    whole = here.own(Side(here.rows, here.tested))
    found = here.judge(whole, None)
    assert found.breaks == []
    assert found.but_for == "only the original brings training data"
    assert set(found.missing) == {"data", "order"}
    assert found.not_exercised == ["validation: only the original brings rows for it"]

    without = here.own(Side(here.rows, seed=2))
    found = here.judge(whole, without)
    assert (found.breaks, found.but_for) == ([], "")
    assert found.not_exercised == ["validation: only the original brings rows for it"]
    found = here.judge(without, whole)
    assert (found.breaks, found.but_for) == ([], "")
    assert found.not_exercised == ["validation: only the port brings rows for it"]


def test_neither_brings_data(here: Setting) -> None:
    found = here.judge(None, None)
    assert (found.breaks, found.but_for) == ([], "")
    assert list(found.missing) == ["order"]
    assert found.compared == {}


def test_a_seeded_keras_repeats_its_shuffle_and_that_is_noted(here: Setting) -> None:
    seeded = here.own(Side(here.rows, order="fixed", word=True))
    drawn = here.own(Side(here.rows, seed=2))
    found = here.judge(seeded, drawn)
    assert found.breaks == []
    assert [cause.name for cause in found.noted] == ["order_not_reshuffled"]
    # A torch original that repeats one order does so on purpose.
    found = here.judge(seeded, drawn, framework="torch")
    assert [item.cause.name for item in found.breaks] == ["shuffled"]


def test_rows_that_are_made_anew_in_each_epoch_cannot_be_matched(here: Setting) -> None:
    noise = np.random.default_rng(3)

    def augmented(pixels: Array) -> Array:
        return pixels / 255 + noise.normal(0, 0.1, pixels.shape)

    new = {"pixels": augmented, "tested": None}
    both = here.pair(new, new)
    assert both.breaks == []
    assert both.unjudged == "rows change from epoch to epoch, and cannot be matched"
    unknown = here.judge(None, here.own(Side(here.rows, pixels=augmented)))
    assert (unknown.breaks, unknown.unjudged) == ([], both.unjudged)
    one = here.pair(new, {"tested": None})
    assert [item.cause.name for item in one.breaks] == ["unknown"]
    assert one.breaks[0].cause.value == (
        "the original's rows change from epoch to epoch, the port's do not"
    )


def test_epochs_that_are_cut_short_are_counted(here: Setting) -> None:
    """Keras by `steps_per_epoch`, which was seen; Lightning by its trainer, which says so."""
    whole, cut = here.own(Side(here.rows)), here.own(Side(here.rows, seed=2))
    cut = replace(
        cut,
        epochs=tuple(OwnPass(one.batches[:2], one.targets[: 2 * SIZE]) for one in cut.epochs),
    )
    said = {"options": {"steps_per_epoch": "2"}}
    found = here.judge(cut, whole, port_options={"limit_train_batches": "2"}, **said)
    assert found.breaks == []
    assert found.steps_judged
    assert found.unjudged == "which rows there are: epochs are cut short"
    found = here.judge(whole, whole, port_options={"limit_train_batches": "0.4"})
    assert [(item.step, item.cause.name) for item in found.breaks] == [(3, "steps_missing")]
    found = here.judge(cut, whole, **said)
    assert [(item.step, item.cause.value) for item in found.breaks] == [
        (3, "epoch 1 has 5 of 2 batches")
    ]


def test_an_image_with_two_labels_is_no_wrong_label(here: Setting) -> None:
    """MNIST has one; the label tells the two rows apart."""
    images = here.dataset.images.copy()
    images[7] = images[3]
    labels = here.dataset.labels.copy()
    labels[7] = (labels[3] + 1) % 4
    there = Setting(replace(here.dataset, images=images, labels=labels))
    assert there.pair({}, {}).breaks == []
    assert there.judge(None, there.own(Side(there.rows))).breaks == []
    # One of the two labels given to both is not the original's data.
    for_both = replace(there.dataset, labels=np.where(np.arange(250) == 7, labels[3], labels))
    other = Setting(for_both).own(Side(there.rows, seed=2))
    (found,) = there.judge(there.own(Side(there.rows)), other).breaks
    assert (found.tensor, found.cause.name) == ("labels", "unknown")
    assert there.pair({}, {"labels": lambda labels: (labels + 2) % 4}).breaks


def outcome_of(here: Setting, found: DataVerdict) -> Outcome:
    """What `check` says of a port whose steps are clean, and whose data were `found` so."""
    facts = PortFacts(framework="torch", layers=(), draws=(), optimizer={})
    seen = PortEvidence(label="port", framework="torch", facts=facts)
    seen.explained = Explanation((), {}, (), here.recipe)
    seen.margins = dict.fromkeys(STEP_RUNGS, 0.5)
    seen.compared = {"spec": 3, "init": 6}
    seen.own_data = found
    seen.breaks, seen.noted, seen.missing = found.breaks, found.noted, found.missing
    given = setting(here.plan.spec, here.dataset)
    return port_outcome(None, seen, given, here.plan.spec)


def test_the_verdict_says_what_of_the_data_was_not_judged(here: Setting) -> None:
    whole = here.own(Side(here.rows))
    rungs = {rung.name: rung for rung in outcome_of(here, here.pair({}, {})).rungs}
    assert (rungs["data"].status, rungs["data"].compared) == ("clean", N * 3 + 100)
    assert (rungs["order"].status, rungs["order"].compared) == ("noted", 15)

    outcome = outcome_of(here, here.judge(whole, None))
    assert (outcome.verdict, outcome.exit_code) == ("identical", 0)
    assert outcome.headline == "IDENTICAL, BUT FOR THE DATA"
    assert "only the original brings training data." in outcome.text
    rungs = {rung.name: rung for rung in outcome.rungs}
    assert rungs["data"].status == rungs["order"].status == "not_exercised"

    noise = np.random.default_rng(3)
    new = {"pixels": lambda g: g / 255 + noise.normal(0, 0.1, g.shape), "tested": None}
    outcome = outcome_of(here, here.pair(new, new))
    assert (outcome.verdict, outcome.exit_code) == ("inconclusive", 6)
    assert "cannot be matched" in outcome.text

    # What nobody compared is never clean.
    rungs = {rung.name: rung for rung in outcome_of(here, DataVerdict()).rungs}
    assert rungs["order"].status == "not_exercised"


def test_scales_are_named_by_what_a_pixel_becomes() -> None:
    assert affine_cause(255.0, 0.0).name == "pixels_not_scaled"
    assert affine_cause(2.0, -1.0).name == "pixels_scaled_to_minus_one_one"


def test_rows_are_found_by_features_that_one_side_standardised() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6)) * [1, 10, 0.1, 5, 2, 30] + [0, 5, 1, -3, 2, 100]
    order = rng.permutation(50)
    made = ((x - x.mean(axis=0)) / x.std(axis=0))[order]
    np.testing.assert_array_equal(find(Rows(made.astype(np.float32)), Rows(x)), order)
    others = rng.normal(size=(50, 6))
    assert (find(Rows(others), Rows(x)) < 0).all()


@pytest.mark.parametrize(
    ("port", "name", "value"),
    [
        ({"labels": lambda y: np.roll(y, 1)}, "labels_shuffled", "the label of another row"),
        ({"labels": lambda y: 0.01 * y - 2}, "targets_scaled", "0.01 * the original's - 2"),
        ({"labels": lambda y: (7 * y**2) % 5}, "unknown", "rows have other labels"),
    ],
    ids=["of other rows", "scaled", "others"],
)
def test_labels_that_are_others(here: Setting, port: Faulty, name: str, value: str) -> None:
    """A permutation within each batch, as of rows and labels that are shuffled apart."""
    found = here.pair({}, {"order": "stored", **port})
    causes = [each.cause for each in found.breaks if each.place.tensor == "labels"]
    assert causes[0].name == name
    assert value in str(causes[0].value)


def test_a_last_batch_that_is_dropped_of_another_batch_size(here: Setting) -> None:
    """The rows that are left out are those of the port's own size: 150 rows are 3 times 40."""
    found = here.pair({}, {"size": 40, "drop_last": True, "total": N})
    causes = {each.cause.name: each.cause for each in found.breaks}
    assert causes.keys() == {"batch_size", "last_batch_dropped"}
    assert causes["batch_size"].fix == f"batch_size={SIZE}"
    assert causes["last_batch_dropped"].value == "30 rows of each epoch"


@pytest.mark.parametrize("features", [2, 12, 32])
@pytest.mark.parametrize("more", [0, 100], ids=["the same rows", "held-out rows in one table"])
def test_rows_of_standardised_features_are_recognised(features: int, more: int) -> None:
    """As where a model of Keras has a Normalization, and its port's data are standardised."""
    draw = np.random.default_rng(0)
    given = draw.random((400 + more, features)) * draw.uniform(0.1, 100, features)
    mean, deviation = given[:400].mean(axis=0), given[:400].std(axis=0)
    made = ((given[:400] - mean) / deviation).astype(np.float32)
    assert np.array_equal(find(Rows(made), Rows(given)), np.arange(400))
    others = draw.normal(size=(400, features))
    assert (find(Rows(others), Rows(given)) < 0).mean() > 0.95
