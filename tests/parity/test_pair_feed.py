"""What two models are fed: whose data, and in which forms the port may want them."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_mlp.data import Dataset
from mnist_mlp.parity.pair.feed import Fed, feed
from mnist_mlp.parity.pair.own_rows import targets_like
from mnist_mlp.plan import Plan, make_plan
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import OwnData, PortDescription
from mnist_mlp.ports.rows import RowTable, read_pass
from mnist_mlp.reference import Array
from mnist_mlp.spec import parse_spec

NOTHING = PairBrought(own=None)
TORCH = PortDescription("torch", ())


def keras(inputs: tuple[int, ...], outputs: tuple[int, ...], loss: str) -> PortDescription:
    return PortDescription("keras", (), inputs=(inputs,), outputs=(outputs,), losses=(loss,))


def own(x: Array, y: Array) -> PairBrought:
    """As a side brings data: batches of 4 rows."""
    table = RowTable()
    batches = [(x[i : i + 4], y[i : i + 4], None) for i in range(0, len(x), 4)]
    return PairBrought(
        own=OwnData(
            epochs=(read_pass(batches, table),),
            rows=table.rows(),
            shape=table.shape,
            first_targets=y[:4],
        )
    )


@pytest.fixture(scope="module")
def plan(small_data: Dataset) -> Plan:
    spec = {"model": {"layer_sizes": [30, 9, 4]}, "training": {"batch_size": 8}}
    return make_plan(parse_spec(spec), small_data)


class Feeder:
    """`feed` with the plan and data set of a test."""

    def __init__(self, plan: Plan, dataset: Dataset) -> None:
        self.plan, self.dataset = plan, dataset

    def __call__(
        self,
        described: PortDescription,
        original: PairBrought = NOTHING,
        port: PairBrought = NOTHING,
    ) -> Fed:
        found = feed(original, port, (described, TORCH), self.plan, self.dataset, ())
        assert found is not None
        return found


@pytest.fixture
def fed(plan: Plan, small_data: Dataset) -> Feeder:
    return Feeder(plan, small_data)


def test_rows_of_the_data_set_where_they_fit(fed: Feeder, small_data: Dataset) -> None:
    """One hot, where the original's loss wants that; the port gets classes first."""
    found = fed(keras((6, 5, 1), (4,), "categorical_crossentropy"))
    assert found.source == "the data set"
    assert (found.a[0].x.shape, found.a[0].y.shape) == ((20, 6, 5, 1), (20, 4))
    assert (found.b[0].x.shape, found.b[0].y.shape) == ((20, 1, 6, 5), (20,))
    assert found.a[0].x.max() <= 1
    assert found.a[0].steps == 3  # the last batch is smaller
    np.testing.assert_array_equal(found.a[0].y.argmax(axis=1), found.b[0].y)
    assert small_data.classes == 4


def test_an_autoencoder_gets_its_inputs_for_targets(fed: Feeder) -> None:
    found = fed(keras((30,), (30,), "binary_crossentropy"))
    for rows in (*found.a, *found.b):
        np.testing.assert_array_equal(rows.x, rows.y)


@pytest.mark.parametrize(
    ("loss", "outputs", "good"),
    [
        ("mse", (1,), lambda y: y.dtype == np.float64),
        ("binary_crossentropy", (2,), lambda y: set(np.unique(y)) == {0, 1}),
        ("sparse_categorical_crossentropy", (5,), lambda y: y.dtype.kind == "i" and y.max() < 5),
        ("categorical_crossentropy", (5,), lambda y: (y.sum(axis=1) == 1).all()),
    ],
)
def test_numbers_are_drawn_where_nothing_fits(
    loss: str, outputs: tuple[int, ...], good: object, fed: Feeder
) -> None:
    found = fed(keras((8, 8, 3), outputs, loss))
    assert found.source == "drawn numbers"
    assert found.a[0].x.shape == (20, 8, 8, 3)
    assert found.b[0].x.shape == (20, 3, 8, 8)
    assert callable(good)
    assert good(found.a[0].y)
    # What a cast to float32 in a user's code would change, is nothing.
    np.testing.assert_array_equal(found.a[0].x.astype(np.float32), found.a[0].x)


def test_what_the_port_declares_counts_where_the_original_declares_nothing(
    plan: Plan, small_data: Dataset
) -> None:
    """A torch network and its port to Keras: rows of the data set fit neither."""
    described = keras((8, 8, 3), (5,), "sparse_categorical_crossentropy")
    found = feed(NOTHING, NOTHING, (TORCH, described), plan, small_data, ())
    assert found is not None
    assert found.source == "drawn numbers"
    assert {rows.x.shape for rows in found.a} >= {(20, 3, 8, 8)}
    assert found.b[0].x.shape == (20, 8, 8, 3)
    fitting = keras((30,), (4,), "sparse_categorical_crossentropy")
    found = feed(NOTHING, NOTHING, (TORCH, fitting), plan, small_data, ())
    assert found is not None
    assert found.source == "the data set"


def test_a_model_that_declares_nothing_and_brings_nothing(plan: Plan, small_data: Dataset) -> None:
    odd = PortDescription("keras", (), inputs=((None, 3),), outputs=((None,),), losses=("mse",))
    assert feed(NOTHING, NOTHING, (odd, TORCH), plan, small_data, ()) is None


RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 7)).astype(np.float32), RNG.normal(size=24).astype(np.float32)


def test_the_originals_data_stand_above_all(fed: Feeder) -> None:
    found = fed(keras((7,), (1,), "mse"), own(X, Y))
    assert (found.source, found.a[0].batch_size) == ("the original's data", 4)
    np.testing.assert_array_equal(found.a[0].x, X[:10].astype(np.float64))
    np.testing.assert_array_equal(found.b[0].y, Y[:10].astype(np.float64))
    assert found.guessed


def test_the_port_gets_its_own_form_of_the_same_rows(fed: Feeder) -> None:
    """Rows are known by their content, in another order and on another scale."""
    order = RNG.permutation(24)
    found = fed(keras((7,), (1,), "mse"), own(X, Y), own(2 * X[order] + 1, Y[order, None]))
    (rows,) = found.b
    assert found.own_rows
    assert not found.guessed
    np.testing.assert_allclose(rows.x, 2 * X[:10] + 1, rtol=1e-6, atol=1e-6)
    assert rows.y.shape == (10, 1)
    np.testing.assert_array_equal(rows.y[:, 0], Y[:10])


def test_other_rows_do_not_show_how_the_port_scales_them(fed: Feeder) -> None:
    """Then the port gets the original's rows, and its own scale is judged apart."""
    other = RNG.normal(size=(24, 7)).astype(np.float32)
    found = fed(keras((7,), (1,), "mse"), own(X, Y), own(2 * other + 1, Y[:, None]))
    assert not found.own_rows
    np.testing.assert_array_equal(found.b[0].x, X[:10].astype(np.float64))


def test_data_that_only_the_port_brings(fed: Feeder) -> None:
    found = fed(keras((7,), (1,), "mse"), port=own(X, Y))
    assert found.source == "the port's data"
    np.testing.assert_array_equal(found.a[0].x, X[:20].astype(np.float64))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (np.array([1, 0]), np.array([2, 0])),
        (np.array([[1.0], [0.0]]), np.array([[2.0], [0.0]])),
        (np.eye(3)[[1, 0]], np.eye(3)[[2, 0]]),
    ],
)
def test_targets_are_put_into_a_given_form(form: Array, expected: Array) -> None:
    found = targets_like(form, np.array([2, 0]))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype.kind == expected.dtype.kind
