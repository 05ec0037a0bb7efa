"""A user's `keras.Model` in the Keras backend: what it is fed, what is recorded and told of it.

The numbers are compared with the reference; that a recorded run is the run that Keras makes by
itself is compared with a plain `fit` in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from mnist_mlp import reference
from mnist_mlp.contract import State, TrainingData
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UserCodeError
from mnist_mlp.parity.steps.trajectory import ReferenceRun, batch_of
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.ports.find_rows import find
from mnist_mlp.ports.protocol import PortEpoch, PortFacts, PortJob, PortStep, Rows
from mnist_mlp.reference import Array
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.parent import Worker

FAULTS = Path(__file__).parent.parent / "faults"

MODEL = """
import keras

def build():
    model = keras.Sequential([
        keras.Input((30,)),
        keras.layers.Dense(9, activation="sigmoid"),
        keras.layers.Dense(4, activation="softmax"),
    ])
    model.compile(OPTIMIZER, "categorical_crossentropy", metrics=["accuracy"])
    return model
"""

SGD = "keras.optimizers.SGD(0.1)"

Write = Callable[[str], str]


@pytest.fixture(scope="module")
def host() -> Iterator[Worker]:
    """A process with Keras in it, for all tests here."""
    with Worker("keras", accelerator="cpu", threads=1) as worker:
        yield worker


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a user's file; gives the path."""

    def written(text: str) -> str:
        path = tmp_path / "port.py"
        path.write_text(dedent(text))
        return str(path)

    return written


def setting(dataset: Dataset, **optimizer: Any) -> tuple[Plan, TrainingData]:
    spec = parse_spec(
        {
            "seed": 3,
            "model": {"layer_sizes": [30, 9, 4]},
            "optimizer": {"learning_rate": 0.1, **optimizer},
            "training": {"batch_size": 32, "epochs": 2},
        }
    )
    plan = make_plan(spec, dataset)
    return plan, training_data(plan, dataset)


class Ran:
    """What a port told in one run."""

    def __init__(self) -> None:
        self.steps: dict[int | None, PortStep] = {}
        self.epochs: list[PortEpoch] = []


def opened(host: Worker, target: str, data: TrainingData) -> PortFacts:
    return host.open_port(target, data=data, image_shape=(30,))


def run(
    host: Worker,
    plan: Plan,
    data: TrainingData,
    shared: dict[int, State],
    stress: tuple[State, Array, Array] | None = None,
) -> Ran:
    ran = Ran()

    def keep(step: PortStep) -> None:
        ran.steps[step.step] = step

    job = PortJob(plan=plan, data=data, shared=shared, stress=stress)
    host.fit_port(job, on_step=keep, on_epoch=ran.epochs.append)
    return ran


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(got, np.float64), expected, rtol=2e-5, atol=2e-6)


def follows_the_reference(ran: Ran, plan: Plan, data: TrainingData, states: Any) -> None:
    """Every recorded stage of every judged step is what the reference makes of it in float64."""
    assert set(ran.steps) == set(states)
    for step, state in states.items():
        record = ran.steps[step].record
        images, labels = batch_of(plan, data, step)
        x = reference.scale_pixels(images, dtype=np.float64)
        weights = {name: w.astype(np.float64) for name, w in state.weights.items()}
        slots = {
            slot: {name: t.astype(np.float64) for name, t in tensors.items()}
            for slot, tensors in state.slots.items()
        }
        passed = reference.forward(weights, plan.spec.model.activations, x)
        gradient = reference.backward(weights, x, labels, passed)
        new, new_slots = reference.update(
            plan.spec.optimizer, weights=weights, slots=slots, gradient=gradient, step=step
        )
        close(record.inputs, x)
        for got, z in zip(record.pre_activations, passed.pre_activations, strict=True):
            close(got, z)
        for got, a in zip(record.activations, passed.activations, strict=True):
            close(got, a)
        close(record.loss, reference.sample_losses(passed.logits, labels).mean())
        assert record.state.step == step
        for name in weights:
            close(record.gradient[name], gradient[name])
            close(record.state.weights[name], new[name])
        assert set(record.state.slots) == set(new_slots)
        for slot, tensors in new_slots.items():
            for name, tensor in tensors.items():
                close(record.state.slots[slot][name], tensor)


@pytest.mark.parametrize(
    ("optimizer", "specified"),
    [
        (SGD, {}),
        ("keras.optimizers.SGD(0.1, momentum=0.9)", {"momentum": 0.9}),
        ("keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)",
         {"momentum": 0.9, "nesterov": True}),
        ("keras.optimizers.Adam(0.1)", {"name": "adam"}),
        ("keras.optimizers.SGD(0.1, global_clipnorm=0.05)", {"clip_norm": 0.05}),
    ],
)  # fmt: skip
def test_judged_steps_follow_the_reference(
    host: Worker, write: Write, small_data: Dataset, optimizer: str, specified: dict[str, Any]
) -> None:
    """From shared states in the middle of the run too, where velocity and moments are not 0."""
    plan, data = setting(small_data, **specified)
    states = ReferenceRun(plan, data).states([1, 2, 3, 6, 7, 12])
    opened(host, write(MODEL.replace("OPTIMIZER", optimizer)) + ":build", data)
    ran = run(host, plan, data, dict(states))
    follows_the_reference(ran, plan, data, states)


SUBCLASSED = """
import keras
import tensorflow as tf

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = keras.layers.Dense(4)          # made first, run last
        self.first = keras.layers.Dense(9)
        self.mean = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.mean]

    @tf.function
    def call(self, x, training=False):
        return self.last(tf.sigmoid(self.first(x)))

    @tf.function
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, self(x)))
        weights = self.trainable_weights
        for w, g in zip(weights, tape.gradient(loss, weights)):
            w.assign_sub(0.1 * g)
        self.mean.update_state(loss)
        return {"loss": self.mean.result()}

    def test_step(self, data):
        self.mean.update_state(0.0)
        return {"loss": self.mean.result()}

model = Net()
model.compile("sgd")
port = {"model": model, "fit": {"batch_size": 32}}
"""


def test_a_step_that_uses_neither_keras_loss_nor_optimizer(
    host: Worker, write: Write, small_data: Dataset
) -> None:
    """Graphs within graphs, an own update, an object instead of a factory; run twice."""
    plan, data = setting(small_data)
    states = ReferenceRun(plan, data).states([1, 2, 6, 7])
    facts = opened(host, write(SUBCLASSED) + ":port", data)
    assert [(layer.inputs, layer.units) for layer in facts.layers] == [(30, 9), (9, 4)]
    first, second = (run(host, plan, data, dict(states)) for _ in range(2))
    follows_the_reference(first, plan, data, states)
    follows_the_reference(second, plan, data, states)
    assert [e.losses.tolist() for e in first.epochs] == [e.losses.tolist() for e in second.epochs]
    assert first.epochs[0].reported["loss"] == pytest.approx(first.epochs[0].losses.mean(), 1e-6)


PLAIN_FIT = """
import json, sys
import numpy as np, keras
sys.path.insert(0, sys.argv[1])
from port import build
data = np.load(sys.argv[2])
model = build()
model.set_weights([data[name] for name in ("k0", "b0", "k1", "b1")])
history = {}
for epoch in ("1", "2"):
    rows = data["order" + epoch]
    fit = model.fit(data["x"][rows], data["y"][rows], batch_size=32, shuffle=False, verbose=0,
                    validation_data=(data["vx"], data["vy"]), validation_batch_size=32)
    for name, values in fit.history.items():
        history.setdefault(name, []).extend(map(float, values))
print(json.dumps(history))
"""


def test_it_is_the_run_that_keras_makes(
    host: Worker, write: Write, small_data: Dataset, tmp_path: Path
) -> None:
    """Hooks, judged steps from the run's own states, and validation change no number."""
    plan, data = setting(small_data)
    path = write(MODEL.replace("OPTIMIZER", SGD))
    opened(host, path + ":build", data)
    ran = run(host, plan, data, {})
    one_hot = np.eye(4, dtype=np.float32)
    weights = plan.initial_weights
    np.savez(
        tmp_path / "data.npz",
        x=reference.scale_pixels(data.train_images, dtype="float32"),
        y=one_hot[data.train_labels],
        vx=reference.scale_pixels(data.test_images, dtype="float32"),
        vy=one_hot[data.test_labels],
        order1=plan.order(1),
        order2=plan.order(2),
        **{f"{part[0]}{i}": weights[f"layers.{i}.{part}"] for i in (0, 1)
           for part in ("kernel", "bias")},
    )  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", PLAIN_FIT, str(tmp_path), str(tmp_path / "data.npz")],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    history = json.loads(told.stdout.splitlines()[-1])
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    for name, values in history.items():
        assert [e.reported[name] for e in ran.epochs] == pytest.approx(values, rel=1e-6)
    for epoch in ran.epochs:
        assert epoch.reported["loss"] == pytest.approx(
            (epoch.losses * epoch.rows).sum() / epoch.rows.sum(), rel=1e-6
        )
        assert epoch.reported["accuracy"] == pytest.approx(
            epoch.correct.sum() / epoch.rows.sum(), rel=1e-6
        )
        assert epoch.reported["val_loss"] == pytest.approx(
            (epoch.val_losses * epoch.val_rows).sum() / epoch.val_rows.sum(), rel=1e-6
        )
        assert epoch.val_confusion.sum() == len(data.test_labels)
        assert epoch.rows.tolist() == [len(rows) for rows in plan.batches(epoch.epoch)]
    # As many rows as MNIST has to be predicted in parts, the last of them smaller.
    images = np.tile(data.test_images, (5000 // len(data.test_images) + 1, 1))[::-1]
    logits = reference.forward(
        weights, plan.spec.model.activations,
        reference.scale_pixels(images, dtype=np.float64),
    ).logits  # fmt: skip
    close(host.predict_port(weights, images), logits)


def test_the_stress_batch_shows_where_keras_clips(
    host: Worker, write: Write, small_data: Dataset
) -> None:
    """A softmax that Keras made remembers its logits, one written by hand does not; no update."""
    plan, data = setting(small_data)
    weights = dict(plan.initial_weights)
    weights["layers.1.kernel"] = weights["layers.1.kernel"] * np.float32(200)
    images, labels = data.train_images[:16], data.train_labels[:16]
    x = reference.scale_pixels(images, dtype=np.float64)
    logits = reference.forward(weights, plan.spec.model.activations, x).logits
    exact = reference.sample_losses(logits, labels)
    assert exact.max() > 17
    own = MODEL.replace("OPTIMIZER", SGD)
    by_hand = own.replace('"softmax"', "by_hand") + dedent(
        """
        def by_hand(z):
            e = keras.ops.exp(z - keras.ops.max(z, axis=-1, keepdims=True))
            return e / keras.ops.sum(e, axis=-1, keepdims=True)
        """
    )
    found = []
    for text in (own, by_hand):
        opened(host, write(text) + ":build", data)
        ran = run(host, plan, data, {}, (State(0, weights), images, labels))
        record = ran.steps[None].record
        for name, w in weights.items():
            assert np.array_equal(record.state.weights[name], w)
        found.append(record.loss)
    close(found[0], exact.mean())
    close(found[1], np.minimum(exact, -np.log(1e-7)).mean())


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("import keras\n\ndef build():\n    return keras.nothing\n", 4, "AttributeError"),
        (
            "import keras\n\nclass Net(keras.Model):\n    def call(self, x):\n"
            "        return x.nothing\n\ndef build():\n    model = Net()\n"
            "    model.compile('sgd', 'mse')\n    return model\n",
            5,
            "AttributeError",
        ),
    ],
)
def test_a_users_error_names_the_users_line(
    host: Worker, write: Write, small_data: Dataset, text: str, line: int, said: str
) -> None:
    """And is no crash of the backend."""
    _, data = setting(small_data)
    path = write(text)
    with pytest.raises(UserCodeError) as raised:
        opened(host, path + ":build", data)
    assert said in str(raised.value)
    assert f"{path}:{line}:" in str(raised.value)


def test_what_callbacks_do_to_the_weights_is_part_of_a_step(
    host: Worker, write: Write, small_data: Dataset
) -> None:
    """Before the batch and after it, at judged steps too."""
    plan, data = setting(small_data)
    text = MODEL.replace("OPTIMIZER", SGD) + dedent(
        """
        class Double(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None):
                self.change(2.0)

            def on_train_batch_end(self, batch, logs=None):
                self.change(4.0)

            def change(self, factor):
                for w in self.model.trainable_variables:
                    w.assign(factor * w)

        port = {"model": build, "fit": {"callbacks": [Double()]}}
        """
    )
    states = ReferenceRun(plan, data).states([2])
    opened(host, write(text) + ":port", data)
    record = run(host, plan, data, dict(states)).steps[2].record
    for name, w in states[2].weights.items():
        close(record.state.weights[name], 4 * (2 * w - 0.1 * record.gradient[name]))


def test_an_error_while_training_names_the_users_line(
    host: Worker, write: Write, small_data: Dataset
) -> None:
    """In a callback, that is after the model was opened and found well."""
    plan, data = setting(small_data)
    text = MODEL.replace("OPTIMIZER", SGD) + dedent(
        """
        class Stop(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                raise RuntimeError("disk full")

        port = {"model": build, "fit": {"callbacks": [Stop]}}
        """
    )
    path = write(text)
    opened(host, path + ":port", data)
    line = next(i for i, row in enumerate(dedent(text).splitlines(), 1) if "disk full" in row)
    with pytest.raises(UserCodeError, match="disk full") as raised:
        run(host, plan, data, {})
    assert f"{path}:{line}:" in str(raised.value)


def test_facts(host: Worker, write: Write, small_data: Dataset) -> None:
    """Layers, draws, optimizer, loss, and what was given beside the model."""
    plan, data = setting(small_data)
    text = MODEL.replace("OPTIMIZER", "keras.optimizers.SGD(0.3, momentum=0.5, clipvalue=2.0)")
    text += '\nport = {"model": build, "fit": {"batch_size": 7, "shuffle": False, "epochs": 4}}\n'
    facts = opened(host, write(text) + ":port", data)
    assert [(x.kind, x.inputs, x.units, x.parameters) for x in facts.layers] == [
        ("Dense", 30, 9, 279),
        ("Dense", 9, 4, 40),
    ]
    assert facts.optimizer["name"] == "SGD"
    assert facts.optimizer["learning_rate"] == 0.3
    assert facts.optimizer["clipvalue"] == 2.0
    assert (facts.loss, facts.batch_size, facts.epochs, facts.shuffle) == (
        "categorical_crossentropy", 7, 4, False,
    )  # fmt: skip
    assert len(facts.draws) > 3
    first, second = (draw["layers.0.kernel"] for draw in facts.draws[:2])
    assert first.shape == (30, 9)
    assert not np.array_equal(first, second)
    told: list[Any] = []
    native, planned = (
        host.train_port(plan, data, seed=1, native=native, on_epoch=told.append)
        for native in (True, False)
    )
    assert {0.0 <= native <= 1.0, 0.0 <= planned <= 1.0} == {True}
    assert len(told) == 2 * plan.spec.training.epochs
    assert {tuple(numbers) for numbers in told} == {
        ("accuracy", "loss", "val_accuracy", "val_loss")
    }


def test_a_model_that_seeds_itself_is_drawn_once(
    host: Worker, write: Write, small_data: Dataset
) -> None:
    """Equal draws would count as many, and an honest initialiser would fail the test for it."""
    _, data = setting(small_data)
    text = MODEL.replace("OPTIMIZER", SGD).replace(
        "def build():\n", "def build():\n    keras.utils.set_random_seed(5)\n"
    )
    assert len(opened(host, write(text) + ":build", data).draws) <= 2


def test_own_order(host: Worker, write: Write, small_data: Dataset) -> None:
    """Arrays in a seeded process: Keras repeats its shuffle in each epoch."""
    _, data = setting(small_data)
    text = MODEL.replace("OPTIMIZER", SGD) + dedent(
        """
        def loader(x, y):
            keras.utils.set_random_seed(1)
            return x, y

        port = {"model": build, "fit": {"batch_size": 32}, "loader": loader}
        """
    )
    own = opened(host, write(text) + ":port", data).own
    assert own is not None
    found = find(own.rows, Rows(data.train_images))
    rows = [found[epoch.ids] for epoch in own.epochs]
    assert len(rows) == 3
    assert np.array_equal(np.sort(rows[0]), np.arange(len(data.train_labels)))
    assert not np.array_equal(rows[0], np.arange(len(data.train_labels)))
    assert np.array_equal(rows[0], rows[1])
    assert own.epochs[0].sizes[0] == 32
    assert np.array_equal(own.epochs[0].targets, data.train_labels[rows[0]])
    assert own.epochs[0].weights is None
    assert own.shuffle is True


IN_FIT = {
    "arrays": ('"x": x, "y": y, "shuffle": False, "batch_size": 40', [40, 40, 20], 100),
    "the usual size": ('"x": x, "y": y, "shuffle": False', [32, 32, 32, 4], 100),
    "a split": ('"x": x, "y": y, "shuffle": False, "validation_split": 0.2', [32, 32, 16], 80),
    "some steps": (
        '"x": x, "y": y, "shuffle": False, "steps_per_epoch": 2, "batch_size": 32',
        [32, 32],
        64,
    ),
    "steps for a size": ('"x": x, "y": y, "shuffle": False, "steps_per_epoch": 2', [50, 50], 100),
    "a data set": (
        '"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(30, drop_remainder=True)',
        [30, 30, 30],
        90,
    ),
    "weights": ('"x": x, "y": y, "shuffle": False, "sample_weight": y + 1.0', [32, 32, 32, 4], 100),
}


@pytest.mark.parametrize("kind", IN_FIT)
def test_what_fit_is_given_is_own_data(
    host: Worker, write: Write, small_data: Dataset, kind: str
) -> None:
    _, data = setting(small_data)
    given, sizes, n = IN_FIT[kind]
    text = "import numpy as np\nimport tensorflow as tf\n" + dedent(MODEL.replace("OPTIMIZER", SGD))
    text += dedent(
        f"""
        x, y = np.random.default_rng(0).random((100, 30)), np.arange(100) % 4
        port = {{"model": build, "fit": {{{given}}}}}
        """
    )
    facts = opened(host, write(text) + ":port", data)
    own = facts.own
    assert own is not None
    assert len(own.epochs) == 3
    assert list(own.epochs[0].sizes) == sizes
    x = np.random.default_rng(0).random((100, 30))
    np.testing.assert_allclose(own.rows.take(own.epochs[0].ids), x[:n], rtol=1e-6)
    np.testing.assert_array_equal(own.epochs[0].targets, (np.arange(100) % 4)[:n])
    if kind == "a split":
        assert own.validation is not None
        np.testing.assert_allclose(own.rows.take(own.validation.ids), x[80:], rtol=1e-6)
    weights = own.epochs[0].weights
    assert (weights is None) == (kind != "weights")
    if weights is not None:
        np.testing.assert_allclose(weights, np.arange(100) % 4 + 1.0)
    assert own.shuffle is (None if kind == "a data set" else False)
    assert facts.left_out == ()


VALIDATION = {
    "arrays": "(x, y)",
    "a data set": "tf.data.Dataset.from_tensor_slices((x, y)).batch(20)",
    "a sequence": "Batches()",
}


@pytest.mark.parametrize("kind", VALIDATION)
def test_own_validation_data(
    host: Worker, write: Write, small_data: Dataset, tmp_path: Path, kind: str
) -> None:
    _, data = setting(small_data)
    np.savez(tmp_path / "rows.npz", x=data.test_images[::-1], y=data.test_labels[::-1])
    text = "import numpy as np\nimport tensorflow as tf\n" + dedent(MODEL.replace("OPTIMIZER", SGD))
    text += dedent(
        f"""
        rows = np.load({str(tmp_path / "rows.npz")!r})
        x, y = rows["x"].reshape(-1, 30) / 255, np.eye(4)[rows["y"]]

        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 4

            def __getitem__(self, at):
                return x[20 * at : 20 * at + 20], y[20 * at : 20 * at + 20]

        port = {{"model": build, "fit": {{"validation_data": {VALIDATION[kind]}}}}}
        """
    )
    facts = opened(host, write(text) + ":port", data)
    own = facts.own
    assert own is not None
    assert own.epochs == ()
    assert own.validation is not None
    found = find(own.rows, Rows(data.test_images))[own.validation.ids]
    np.testing.assert_array_equal(found, np.arange(len(data.test_labels))[::-1])
    np.testing.assert_array_equal(own.validation.targets, data.test_labels[::-1])
    assert facts.left_out == ()


def test_images_come_in_the_shape_the_model_has(
    host: Worker, write: Write, small_data: Dataset
) -> None:
    """Without a word from the command line, since the model says it itself."""
    plan, data = setting(small_data)
    text = MODEL.replace("OPTIMIZER", SGD).replace(
        "keras.Input((30,)),", "keras.Input((6, 5, 1)), keras.layers.Flatten(),"
    )
    facts = opened(host, write(text) + ":build", data)
    assert [layer.kind for layer in facts.layers] == ["Flatten", "Dense", "Dense"]
    states = ReferenceRun(plan, data).states([1, 2])
    follows_the_reference(run(host, plan, data, dict(states)), plan, data, states)


def test_the_table_of_faults_is_whole() -> None:
    """Each file has an entry and each entry a file."""
    entries = set(tomllib.loads((FAULTS / "expected_keras.toml").read_text()))
    files = {
        f"{folder}/{path.name}"
        for folder in ("keras", "faithful_keras")
        for path in (FAULTS / folder).glob("*.py")
    }
    assert entries == files
