"""A script's own training loop in Keras: what is found, what is refused, and where it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from loop_steps import (
    ROWS,
    require_changed_updates,
    require_own_steps,
    require_told_losses,
    script,
)

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.pair import PairJob
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.update_rules import ByStep
from mnist_mlp.worker.parent import Worker

Workers = Callable[[str], Worker]

HEAD = """
import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(3)
x, y = np.random.normal(size=(50, 4)).astype("float32"), np.random.normal(size=(50, 1))
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
net = keras.Sequential([keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
optimizer = keras.optimizers.SGD(0.1)
loss_of = keras.losses.MeanSquaredError()
with tf.GradientTape() as tape:
    print(net(x[:2]))  # not a step, though it is recorded
print(next(iter(data)))
"""

STEP = """
        with tf.GradientTape() as tape:
            loss = loss_of(b, net(a, training=True))
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply_gradients(zip(gradients, net.trainable_variables))
"""

LOOP = f"""
for epoch in range(EPOCHS):
    for a, b in data:{STEP}
    print("epoch", epoch, loss_of(y, net(x)))

import pathlib
pathlib.Path(__file__).with_suffix(".after").write_text("done")
"""

TOLD = """
losses = []
for epoch in range(3):
    for a, b in data:STEP
        losses.append([float(loss), len(a)])
    import json, pathlib
    pathlib.Path(__file__).with_suffix(".losses").write_text(json.dumps(losses))
pathlib.Path(__file__).with_suffix(".after").write_text("done")
""".replace("STEP", STEP.rstrip())

FUNCTION = """
@tf.function
def train_step(a, b):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((net(a) - tf.cast(b, tf.float32)) ** 2)
    gradients = tape.gradient(loss, net.trainable_variables)
    optimizer.apply(gradients, net.trainable_variables)

for epoch in range(EPOCHS):
    for a, b in data.shuffle(50):
        train_step(a, b)

import pathlib
pathlib.Path(__file__).with_suffix(".after").write_text("done")
"""

SLICES = f"""
for epoch in range(7):
    order = np.random.permutation(50)
    for i in range(0, 50, 16):
        a, b = x[order[i : i + 16]], y[order[i : i + 16]]
        {STEP}
"""


def brought_by(worker: Worker) -> tuple[int | None, list[tuple[int, ...]]]:
    """Epochs, and the batches of those that were looked at."""
    brought = worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1))
    assert brought.own is not None
    return brought.epochs, [one.sizes for one in brought.own.epochs]


@pytest.mark.parametrize("epochs", [1, 5])
@pytest.mark.parametrize("loop", [LOOP, FUNCTION], ids=["eager", "function"])
def test_a_loop_makes_the_judged_steps_and_ends(
    loop: str, epochs: int, tmp_path: Path, workers: Workers
) -> None:
    """However many epochs it has itself, and without what comes after it."""
    worker = workers("keras")
    target = script(tmp_path, HEAD + loop.replace("EPOCHS", str(epochs)))
    described = worker.describe_port(target)
    assert (described.loop, described.optimizer) == (True, "SGD")
    assert [layer.kind for layer in described.layers][-2:] == ["Dense", "Dense"]
    known, sizes = brought_by(worker)
    assert (known, [sorted(size) for size in sizes]) == (epochs, [[2] + [8] * 6] * 3)
    facts = worker.pair_open([ROWS], precision="float64")
    assert (facts.loop, facts.own_rates, facts.open_questions) == (True, False, ())
    steps = worker.pair_fit(PairJob(ROWS, 2))
    require_own_steps(steps)
    assert worker.pair_rates([0, 5, 1000])["learning_rate"].tolist() == pytest.approx([0.1] * 3)
    assert not Path(target).with_suffix(".after").exists()


def test_a_whole_training_tells_the_mean_loss_of_each_epoch(
    tmp_path: Path, workers: Workers
) -> None:
    worker = workers("keras")
    target = script(tmp_path, HEAD + TOLD)
    worker.describe_port(target)
    require_told_losses(worker, Path(target))


@pytest.mark.parametrize("loop", [LOOP.replace("EPOCHS", "3"), SLICES], ids=["dataset", "slices"])
@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": ByStep((0.3, 0.2, 0.15))}, {"rate_in_velocity": True, "momentum": 0.9}],
    ids=["by an argument", "by rule"],
)
def test_experiments_change_the_updates_of_a_loop(
    loop: str, changes: dict[str, object], tmp_path: Path, workers: Workers
) -> None:
    worker = workers("keras")
    worker.describe_port(script(tmp_path, HEAD + loop))
    worker.pair_open([ROWS], precision="float64")
    require_changed_updates(worker, changes, within=1e-8)


def test_a_loop_may_make_its_batches_itself(tmp_path: Path, workers: Workers) -> None:
    worker = workers("keras")
    worker.describe_port(script(tmp_path, HEAD + SLICES))
    assert brought_by(worker) == (7, [(16, 16, 16, 2)] * 3)
    worker.pair_open([ROWS], precision="float64")
    steps = worker.pair_fit(PairJob(ROWS, 2))
    assert len(steps) == 6
    for step, x, y in zip(
        steps, [*np.split(ROWS.x, [8, 16])] * 2, [*np.split(ROWS.y, [8, 16])] * 2, strict=True
    ):
        assert np.array_equal(step.inputs[0], x)
        hidden = np.tanh(x @ step.before["0/kernel"] + step.before["0/bias"])
        out = hidden @ step.before["2/kernel"] + step.before["2/bias"]
        assert step.loss == pytest.approx(((out - y) ** 2).mean(), rel=1e-13)


def test_initial_weights_are_drawn_anew_though_the_script_sets_a_seed(
    tmp_path: Path, workers: Workers
) -> None:
    worker = workers("keras")
    worker.describe_port(script(tmp_path, HEAD + LOOP.replace("EPOCHS", "2")))
    worker.pair_open([ROWS], precision="float32")
    kernels = {draw["0/kernel"].tobytes() for draw in worker.pair_draws()}
    assert len(kernels) > 1


def test_rates_that_a_loop_sets_are_left_open(tmp_path: Path, workers: Workers) -> None:
    worker = workers("keras")
    text = LOOP.replace("EPOCHS", "2").replace(
        "    print", "    optimizer.learning_rate = 1\n    print"
    )
    worker.describe_port(script(tmp_path, HEAD + text))
    facts = worker.pair_open([ROWS], precision="float64")
    assert facts.own_rates
    assert any("learning rates that the script sets" in text for text in facts.open_questions)


def test_an_error_of_a_later_batch_is_the_loops_own(tmp_path: Path, workers: Workers) -> None:
    """It is not taken for the end of the training."""
    worker = workers("keras")
    text = LOOP.replace("EPOCHS", "2") + "\n"
    text = text.replace(
        "    for a, b in data:", "    for a, b in data:\n        assert len(a) != 4"
    )
    worker.describe_port(script(tmp_path, HEAD + text))
    worker.pair_open([ROWS], precision="float32")
    with pytest.raises(Exception, match=r"loop\.py:\d+: AssertionError"):
        worker.pair_fit(PairJob(ROWS, 2))


@pytest.mark.parametrize(
    ("head", "data"),
    [("for a in data:", "x"), ("for a, _ in data:", "(x, y)")],
    ids=["inputs alone", "labels that nobody reads"],
)
def test_an_autoencoder_makes_its_targets_of_its_inputs(
    head: str, data: str, tmp_path: Path, workers: Workers
) -> None:
    made = f"data = tf.data.Dataset.from_tensor_slices({data}).batch(8)\n"
    made += "net = keras.Sequential([keras.layers.Dense(4)])\n"
    loop = f"for epoch in range(3):\n    {head}{STEP}".replace("(b, net(", "(a, net(")
    worker = workers("keras")
    worker.describe_port(script(tmp_path, HEAD + made + loop))
    own = worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1)).own
    assert own is not None
    assert own.epochs[0].sizes == (8,) * 6 + (2,)
    assert own.unlabelled == ("beside" if "_" in head else "bare")
    assert np.array_equal(own.first_targets, own.rows.take(own.epochs[0].batches[0]))
    rows = PairRows(ROWS.x, ROWS.x, ROWS.batch_size, unlabelled=own.unlabelled)
    worker.pair_open([rows], precision="float64")
    steps = worker.pair_fit(PairJob(rows, 2))
    assert len(steps) == 2 * rows.steps
    apart = steps[0].outputs[0] - rows.first(rows.batch_size).y
    assert steps[0].loss == pytest.approx((apart**2).mean(), rel=1e-12)


def test_pictures_are_resized_in_the_precision_of_the_run(tmp_path: Path, workers: Workers) -> None:
    """TensorFlow resizes in float32, which a port in torch does not."""
    made = """
layers = keras.layers
net = keras.Sequential([
    layers.Reshape((2, 2, 1)), layers.UpSampling2D(2, interpolation="bilinear"),
    layers.Flatten(), layers.Dense(1),
])
"""
    worker = workers("keras")
    worker.describe_port(
        script(tmp_path, HEAD + made + f"for epoch in range(3):\n    for a, b in data:{STEP}")
    )
    worker.pair_open([ROWS], precision="float64")
    step = worker.pair_fit(PairJob(ROWS, 1))[0]
    (number,) = step.inputs
    shares = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    x = ROWS.first(ROWS.batch_size).x.reshape(-1, 2, 2)
    expected = (shares @ x @ shares.T).reshape(len(x), -1)
    assert np.abs(step.inputs[number] - expected).max() < 1e-14


TWO = f"""
other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
other_optimizer = keras.optimizers.SGD(0.1)
for a, b in data:{STEP}
        with tf.GradientTape() as tape:
            loss = loss_of(b, other(a))
        gradients = tape.gradient(loss, other.trainable_variables)
        other_optimizer.apply(gradients, other.trainable_variables)
"""


ADVERSARIES = """
maker = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])
maker_optimizer = keras.optimizers.Adam(0.1)
for a, b in data:
    with tf.GradientTape() as of_maker, tf.GradientTape() as of_net:
        made = net(maker(tf.random.normal((8, 2))))
        own = keras.ops.mean(made) - keras.ops.mean(net(a))
        other = -keras.ops.mean(made)
    gradients = of_maker.gradient(other, maker.trainable_variables)
    own_gradients = of_net.gradient(own, net.trainable_variables)
    maker_optimizer.apply_gradients(zip(gradients, maker.trainable_variables))
    optimizer.apply_gradients(zip(own_gradients, net.trainable_variables))
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ADVERSARIES, "takes gradients 2 times"),
        (
            f"for a, b in [(x, y)] * 3:{STEP}".replace("loss_of(b, net", "tf.norm(b - net"),
            "its loss is none of Keras's",
        ),
        (f"for a, b in [(x, y)]:{STEP}", "it makes no two epochs"),
        (
            f"for a, b in data:{STEP}".replace("net(a, training=True)", "net(a) + net(a)"),
            "called 2 times for one update",
        ),
        (
            f"for a, b in data:{STEP}".replace(
                "with tf.GradientTape()", "with tf.GradientTape(persistent=True)"
            ).replace(
                "        optimizer", "        tape.gradient(loss, net.variables)\n        optimizer"
            ),
            "takes gradients 2 times",
        ),
        (
            f"extra = keras.Variable(1.0)\nfor a, b in data:{STEP}".replace(
                "net.trainable_variables", "[*net.trainable_variables, extra]"
            ).replace("training=True)", "training=True) * extra"),
            "outside of the model",
        ),
        (
            f"data = tf.data.Dataset.from_tensor_slices((x, y, y)).batch(8)\n"
            f"for a, b, c in data:{STEP}",
            r"gives 3 parts, expected \(x, y\)",
        ),
        ("for a, b in data:\n    net(a)\n", "ended without training"),
    ],
    ids=[
        "adversaries",
        "own loss",
        "one epoch",
        "twice",
        "two gradients",
        "beside",
        "three parts",
        "none",
    ],
)
def test_what_cannot_be_followed_is_refused_in_words(
    text: str, words: str, tmp_path: Path, workers: Workers
) -> None:
    with pytest.raises(UsageError, match=words):
        workers("keras").describe_port(script(tmp_path, HEAD + text))


def test_several_optimizers_are_refused_when_they_are_seen(
    tmp_path: Path, workers: Workers
) -> None:
    worker = workers("keras")
    worker.describe_port(script(tmp_path, HEAD + TWO))
    with pytest.raises(UsageError, match="it has several optimizers"):
        worker.pair_open([ROWS], precision="float32")


NO_CALL = """
class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = net

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = loss_of(y, self.inner(x))
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return {"loss": loss}

own = Own()
own.compile(optimizer)
own.fit(GIVEN, batch_size=16, epochs=3)
"""


def test_a_model_may_have_a_train_step_and_no_call(tmp_path: Path, workers: Workers) -> None:
    worker = workers("keras")
    worker.describe_port(script(tmp_path, HEAD + NO_CALL.replace("GIVEN", "x, y")))
    assert brought_by(worker) == (3, [(16, 16, 16, 2)] * 3)
    facts = worker.pair_open([ROWS], precision="float64")
    assert [layer.kind for layer in facts.layers][::2] == ["dense", "dense"]
    steps = worker.pair_fit(PairJob(ROWS, 2))
    assert len(steps) == 6
    assert all(np.any(step.after["0/kernel"] != step.before["0/kernel"]) for step in steps)
    with pytest.raises(UsageError, match="it has no call, so nothing evaluates it"):
        worker.pair_predict(steps[-1].after, ROWS.x)


ALONE = {"bare": "x, batch_size=16", "tuple": "tf.data.Dataset.from_tensor_slices((x,)).batch(16)"}


@pytest.mark.parametrize("form", ALONE)
def test_a_train_step_may_be_given_inputs_alone(
    form: str, tmp_path: Path, workers: Workers
) -> None:
    """Those of an array come by themselves, those of a data set as that has them."""
    taken = "x = data" if form == "bare" else "(x,) = data"
    text = NO_CALL.replace("x, y = data", f"{taken}\n        y = x[:, :1]")
    worker = workers("keras")
    worker.describe_port(script(tmp_path, HEAD + text.replace("GIVEN, batch_size=16", ALONE[form])))
    own = worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1)).own
    assert own is not None
    assert own.unlabelled == form
    rows = PairRows(ROWS.x, ROWS.x, ROWS.batch_size, unlabelled=form)
    worker.pair_open([rows], precision="float64")
    steps = worker.pair_fit(PairJob(rows, 1))
    apart = steps[0].outputs[2] - rows.first(rows.batch_size).x[:, :1]
    assert steps[0].loss == pytest.approx((apart**2).mean(), rel=1e-12)


ON_BATCH = """
net.compile(optimizer, "mse")
for epoch in range(4):
    for i in range(0, 50, 16):
        net.train_on_batch(x[i : i + 16], y[i : i + 16])
"""


def test_the_batches_of_train_on_batch_are_known(tmp_path: Path, workers: Workers) -> None:
    """And its model is as it was before them."""
    worker = workers("keras")
    text = HEAD + "net.layers[1].bias.assign([7.0])" + ON_BATCH
    assert not worker.describe_port(script(tmp_path, text)).loop
    assert brought_by(worker) == (4, [(16, 16, 16, 2)] * 3)
    worker.pair_open([ROWS], precision="float64")
    steps = worker.pair_fit(PairJob(ROWS, 2))
    assert len(steps) == 6
    assert steps[0].before["2/bias"] == [7.0]


def test_train_on_batch_of_several_models_is_refused(tmp_path: Path, workers: Workers) -> None:
    text = ON_BATCH.replace(
        "        net", "        other.train_on_batch(x[:4], y[:4])\n        net"
    )
    text = 'other = keras.Sequential([keras.layers.Dense(1)])\nother.compile("sgd", "mse")' + text
    with pytest.raises(UsageError, match="several models"):
        workers("keras").describe_port(script(tmp_path, HEAD + text))
