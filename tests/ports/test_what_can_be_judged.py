"""A model is looked at before it is run: what cannot be judged is refused by its name.

What is refused today may be judged tomorrow, so that no row of the table is held fast here but
those that stand for a kind of refusal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import dedent, indent

import pytest

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UsageError
from mnist_mlp.parity.check import by_settings, supported
from mnist_mlp.parity.check.port import open_described
from mnist_mlp.parity.check.read_spec import ReadSpec, read_spec
from mnist_mlp.parity.check.side import PortEvidence, look_at_port, setting
from mnist_mlp.parity.check.steps import Setting
from mnist_mlp.parity.check.target import parse_target
from mnist_mlp.parity.check.verdict import port_outcome
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.ports.protocol import PortFacts
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.worker.parent import Worker

Workers = Callable[[str], Worker]

KERAS = """
import keras
from keras import layers


def build():
    model = keras.Sequential([keras.Input((30,)), *body()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def body():
    return [BODY]
"""

TORCH = """
import lightning
import torch
import torch.nn.functional as F
from torch import nn


class Port(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(30, 9), nn.Linear(9, 9), nn.Linear(9, 4)
        self.drop, self.norm = nn.Dropout(0.25), nn.BatchNorm1d(9, eps=1e-3, momentum=0.01)
        for layer in (self.a, self.b, self.c):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
FORWARD

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
"""

PLAIN = """
        x = torch.relu(self.a(x))
        return self.c(torch.relu(self.b(x)))
"""
DROPPED = """
        x = self.drop(torch.relu(self.a(x)))
        return self.c(self.drop(torch.relu(self.b(x))))
"""
DENSE = "layers.Dense(9, activation='relu'), layers.Dense(9, activation='relu'), layers.Dense(4)"
KERAS_DROPPED = """
    layers.Dense(9, activation="relu"), layers.Dropout(0.25),
    layers.Dense(9, activation="relu"), layers.Dropout(0.25),
    layers.Dense(4, activation="softmax"),
"""


def spec_of() -> Spec:
    return parse_spec(
        {
            "model": {"layer_sizes": [30, 9, 9, 4]},
            "training": {"batch_size": 32, "epochs": 1},
        }
    )


class Bench:
    """Opens models that stand in files of a folder of their own, as `check` does."""

    def __init__(self, folder: Path, workers: Workers, dataset: Dataset) -> None:
        self.folder, self.workers, self.dataset = folder, workers, dataset
        self.count = 0
        self.given: Setting = setting(spec_of(), dataset)

    def write(self, text: str) -> Path:
        self.count += 1
        path = self.folder / f"their_model_{self.count}.py"
        path.write_text(dedent(text))
        return path

    def opened(self, text: str, name: str = "", *, measure: bool = True) -> PortFacts:
        path = self.write(text)
        target = parse_target(f"{path}:{name or ('build' if 'keras' in text else 'Port')}")
        worker = self.workers(target.framework)
        looked = worker.describe_port(target.text)
        return open_described(
            worker, target, looked, self.given, self.dataset, (30,), measure=measure
        )

    def keras(self, body: str, *, measure: bool = True) -> PortFacts:
        return self.opened(KERAS.replace("BODY", body), measure=measure)

    def torch(self, forward: str, *, measure: bool = True) -> PortFacts:
        return self.opened(TORCH.replace("FORWARD", forward.strip("\n")), measure=measure)

    def read(self, facts: PortFacts) -> ReadSpec:
        worker = self.workers(facts.framework)
        return read_spec(worker, facts, self.dataset, spec_of(), label="theirs")

    def refused(self, text: str, name: str = "", *, measure: bool = True) -> str:
        with pytest.raises(UsageError) as raised:
            self.opened(text, name, measure=measure)
        assert raised.value.exit_code == 2
        return str(raised.value)

    def judged(self, original: PortFacts, port: PortFacts) -> Outcome:
        first = PortEvidence(label="original", framework=original.framework, facts=original)
        second = PortEvidence(label="port", framework=port.framework, facts=port)
        by_settings.compare_unrun(first, second, self.given)
        return port_outcome(first, second, self.given, spec_of())


@pytest.fixture
def bench(tmp_path: Path, workers: Workers, small_data: Dataset) -> Bench:
    return Bench(tmp_path, workers, small_data)


def causes(outcome: Outcome) -> list[tuple[str, str, int | None]]:
    return [(item.cause.name, item.rung, item.layer) for item in outcome.breaks]


# --- Refused, by name -----------------------------------------------------------------------------

UNUSUAL = {
    "a convolution": (
        "layers.Reshape((6, 5, 1)), layers.Conv2D(2, 3, name='look'), layers.Flatten(), "
        "layers.Dense(4)",
        ["Conv2D look"],
    ),
    "a weight constraint": (
        "layers.Dense(9, kernel_constraint='max_norm', name='tied'), layers.Dense(4)",
        ["MaxNorm on the kernel of tied", "after every update"],
    ),
    "one output": ("layers.Dense(9), layers.Dense(1)", ["output is 1 number ", "4 classes"]),
    "an image for output": (
        "layers.Dense(9), layers.Dense(30)",
        ["output, as its input, is 30 numbers"],
    ),
    "a kind that nobody knows": (
        "layers.Dense(9), layers.UnitNormalization(name='odd'), layers.Dense(4)",
        ["UnitNormalization odd"],
    ),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_original_is_refused_by_what_it_has(name: str, bench: Bench) -> None:
    body, parts = UNUSUAL[name]
    told = bench.refused(KERAS.replace("BODY", body))
    for part in ["their_model_1.py:build cannot be judged", "What can be: dense layers", *parts]:
        assert part in told
    assert "layer_sizes" not in told
    assert len(told.splitlines()) == 3


def test_other_inputs_and_a_loss_of_something_else(bench: Bench) -> None:
    two = """
        import keras

        def build():
            a, b = keras.Input((3,)), keras.Input((2,))
            x = keras.layers.Concatenate()([a, b])
            model = keras.Model([a, b], keras.layers.Dense(1)(x))
            model.compile("sgd", "mae")
            return model
    """
    told = bench.refused(two)
    for part in ("2 inputs", "Concatenate", "1 number", "(loss mae)"):
        assert part in told
    told = bench.refused(KERAS.replace("(30,)", "(12,)").replace("BODY", DENSE), measure=False)
    assert "its input is 12 numbers, the data set's rows have 30" in told


def test_a_torch_original_is_refused_before_it_is_fed(bench: Bench) -> None:
    text = TORCH.replace("FORWARD", PLAIN.strip("\n"))
    told = bench.refused(text.replace("nn.Linear(30, 9)", "nn.Conv2d(1, 4, 3)"))
    assert "Conv2d a" in told
    told = bench.refused(text.replace("nn.Linear(30, 9)", "nn.Linear(12, 9)"))
    assert "its input is 12 (Linear a) numbers" in told
    told = bench.refused(
        text.replace("nn.Linear(9, 4)", "nn.Linear(9, 1)").replace("cross_entropy", "mse_loss")
    )
    assert "no dense layer has 4 outputs" in told
    assert "mse_loss" in told


def test_functions_that_do_a_layers_work_are_named(bench: Bench) -> None:
    pooled = """
        x = F.max_pool1d(self.a(x)[:, None], 1)[:, 0]
        return self.c(torch.relu(self.b(x)))
    """
    told = bench.refused(TORCH.replace("FORWARD", indent(dedent(pooled), "        ").strip("\n")))
    assert "max_pool1d functional.max_pool1d" in told


def test_a_port_that_fails_on_its_first_batch_is_explained(bench: Bench) -> None:
    """With another first layer it is another model, but it has to run for that."""
    text = TORCH.replace("FORWARD", PLAIN.strip("\n"))
    told = bench.refused(text.replace("nn.Linear(30, 9)", "nn.Conv2d(1, 4, 3)"), measure=False)
    assert "Conv2d a" in told
    assert "It failed with: " in told


# --- What has no training step --------------------------------------------------------------------

NET = """
import torch
from torch import nn, optim


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(30, 9), nn.Sigmoid(), nn.Linear(9, 4))

    def forward(self, x):
        return self.layers(x)


RATE = 0.25
criterion = nn.NLLLoss(reduction="sum")


def make():
    return nn.Sequential(nn.Linear(30, 9), nn.ReLU(), nn.Linear(9, 4), nn.LogSoftmax(dim=1))


def train(epochs=3):
    net = Net()
    optimizer = optim.Adam(net.parameters(), RATE)
"""


@pytest.mark.parametrize("name", ["Net", "make"])
def test_the_lines_that_wrap_a_plain_module_work(name: str, bench: Bench) -> None:
    """They are told from the file's own names, and check runs them as they stand."""
    told = bench.refused(NET, name)
    assert "without a training_step" in told
    lines = told.split("\n\n", 1)[1]
    if name == "Net":
        assert len(lines.splitlines()) == 8
    facts = bench.opened(NET + "\n\n" + lines, f"{name[0].upper()}{name[1:]}Module")
    assert [layer.units for layer in facts.layers if layer.dense] == [9, 4]
    assert (facts.optimizer["name"], facts.optimizer["learning_rate"]) == ("Adam", 0.25)
    assert facts.loss == "" or "nll" in facts.loss
    assert "nn.NLLLoss(reduction='sum')" in lines


def test_a_training_loop_is_told_what_to_do(bench: Bench) -> None:
    told = bench.refused(NET, "train")
    assert "gives nothing" in told
    assert "training_step of a LightningModule" in told
    body = KERAS.replace("BODY", DENSE)
    told = bench.refused(body.replace("    return model", "    model.fit"))
    assert "gives nothing" in told
    assert "train_step of a keras.Model" in told


def test_the_lines_that_compile_a_model_work(bench: Bench) -> None:
    text = KERAS.replace("BODY", DENSE)
    text = "\n".join(line for line in text.splitlines() if "compile(" not in line)
    told = bench.refused(text)
    assert "not compiled" in told
    facts = bench.opened(text + "\n\n" + told.split("\n\n", 1)[1], "compiled_build")
    assert facts.loss == "sparse_categorical_crossentropy"


# --- Dropout and normalisation --------------------------------------------------------------------


def test_activations_are_read_where_they_are(bench: Bench) -> None:
    """Behind a dropout or a normalisation there are other numbers."""
    between = """
        x = F.dropout(torch.tanh(self.norm(self.a(x))), 0.5, self.training)
        return self.c(self.norm(torch.relu(self.b(x))))
    """
    read = bench.read(bench.torch(indent(dedent(between), "        ")))
    assert read.spec.model.activations == ("tanh", "relu", "softmax")
    assert not read.unknown
    for part in ("dropout functional.dropout (rate 0.5)", "BatchNorm1d norm (epsilon 0.001"):
        assert any(part in remark for remark in read.remarks)
    body = """
        layers.Dense(9), layers.BatchNormalization(), layers.Activation("elu"),
        layers.Dropout(0.3), layers.Dense(9, activation="relu"), layers.LayerNormalization(),
        layers.Dense(4, activation="softmax"),
    """
    read = bench.read(bench.keras(body))
    assert read.spec.model.activations == ("elu", "relu", "softmax")
    assert len(read.remarks) == 3


def test_an_activation_that_was_not_seen_is_told(bench: Bench) -> None:
    read = bench.read(bench.torch(PLAIN.replace("torch.relu(self.a(x))", "torch.sin(self.a(x))")))
    assert read.unknown == (0,)


def test_dropout_on_both_sides_is_neither_the_same_nor_different(bench: Bench) -> None:
    """A module that is called twice counts twice."""
    outcome = bench.judged(bench.keras(KERAS_DROPPED), bench.torch(DROPPED))
    assert (outcome.verdict, outcome.exit_code) == ("inconclusive", 6)
    assert "port has Dropout drop (rate 0.25)" in outcome.text
    statuses = {rung.name: rung.status for rung in outcome.rungs}
    assert statuses["init"] == "clean"
    assert {statuses[name] for name in ("forward", "loss", "update", "predictions")} == {
        "not_exercised"
    }
    assert outcome.report_identical is None


def test_dropout_that_is_missing_extra_or_of_another_rate(bench: Bench) -> None:
    original = bench.keras(KERAS_DROPPED)
    plain = bench.torch(PLAIN, measure=False)
    assert causes(bench.judged(original, plain)) == [
        ("dropout_missing", "forward", 0),
        ("dropout_missing", "forward", 1),
    ]
    once = DROPPED.replace("self.drop(torch.relu(self.b(x)))", "torch.relu(self.b(x))")
    assert causes(bench.judged(original, bench.torch(once))) == [("dropout_missing", "forward", 1)]
    assert causes(bench.judged(bench.torch(once), original)) == [("dropout", "forward", 1)]
    inputs = DROPPED.replace("self.a(x)", "self.a(F.dropout(x, 0.1))")
    assert causes(bench.judged(original, bench.torch(inputs))) == [("dropout", "data", 0)]
    other = bench.keras(KERAS_DROPPED.replace("0.25", "0.75", 1))
    (found,) = bench.judged(original, other).breaks
    assert (found.cause.name, found.layer) == ("dropout_rate", 0)
    assert (found.cause.value or "").startswith("rate 0.75 instead of 0.25")


def test_what_is_made_by_hand_is_not_called_missing(bench: Bench) -> None:
    """Nobody can tell, so nobody is blamed."""
    original = bench.keras(KERAS_DROPPED)
    by_hand = """
        x = torch.relu(self.a(x))
        x = x * (torch.rand_like(x) > 0.25) / 0.75
        x = torch.relu(self.b(x))
        return self.c(x * (torch.rand_like(x) > 0.25) / 0.75)
    """
    port = bench.torch(indent(dedent(by_hand), "        "))
    assert port.hidden == ("random",)
    assert bench.judged(original, port).verdict == "inconclusive"
    own = KERAS.replace("BODY", DENSE.replace("layers.Dense(4)", "Own(), layers.Dense(4)")) + (
        "\n\nclass Own(layers.Layer):\n"
        "    def call(self, x):\n        return keras.random.dropout(x, 0.25)\n"
    )
    port = bench.opened(own)
    assert port.hidden is None
    assert bench.judged(original, port).verdict == "inconclusive"
    nested = own.replace("Own(),", "keras.Sequential([Own()]),").replace(
        "layers.Layer", "keras.Model"
    )
    port = bench.opened(nested)
    assert port.hidden is None

    normal = bench.keras(
        "layers.Dense(9), layers.BatchNormalization(), layers.Dense(9), layers.Dense(4)"
    )
    by_hand = """
        x = self.a(x)
        x = (x - x.mean(0)) / (x.var(0) + 1e-3).sqrt()
        return self.c(self.b(x))
    """
    port = bench.torch(indent(dedent(by_hand), "        "))
    assert port.hidden == ("statistics",)
    assert bench.judged(normal, port).verdict == "inconclusive"


def test_normalisation_by_its_settings(bench: Bench) -> None:
    body = "layers.Dense(9), layers.BatchNormalization(EPS), layers.Dense(9), layers.Dense(4)"
    keras = bench.keras(body.replace("EPS", ""))
    linear = "        return self.c(self.b(NORM))\n"
    same = bench.torch(linear.replace("NORM", "self.norm(self.a(x))"))
    assert bench.judged(keras, same).verdict == "inconclusive"
    none = bench.torch(linear.replace("NORM", "self.a(x)"))
    assert causes(bench.judged(keras, none)) == [("normalisation_missing", "forward", 0)]
    other = bench.keras(body.replace("EPS", "epsilon=1e-5, momentum=0.9"))
    (found,) = bench.judged(same, other).breaks
    assert found.cause.name == "normalisation_settings"
    assert (found.cause.value or "") == (
        "epsilon 1e-05 instead of 0.001, momentum 0.9 instead of 0.99 after layer 0"
    )


def test_an_original_that_drops_by_hand_measures_nothing(bench: Bench) -> None:
    """Its steps show it, and a faithful port must not be told that its weights are elsewhere."""
    by_hand = """
        x = torch.sigmoid(self.a(x))
        x = x * (torch.rand_like(x) > 0.25) / 0.75
        return self.c(torch.sigmoid(self.b(x)))
    """
    facts = bench.torch(indent(dedent(by_hand), "        "))
    assert any("draws random numbers" in remark for remark in supported.remarks(facts))
    first = look_at_port(
        bench.workers("torch"), facts, bench.given, bench.dataset, label="it", side="a"
    )
    assert by_settings.hides(first, facts)
    second = PortEvidence(label="port", framework="torch", facts=facts)
    by_settings.compare_unrun(first, second, bench.given)
    outcome = port_outcome(first, second, bench.given, spec_of())
    assert outcome.verdict == "inconclusive"
    assert "it has dropout (rate 0.25 after layer 0) made by hand" in outcome.text


# --- Run, and partly not judged -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Adamax", "Adadelta", "NAdam"])
def test_an_optimizer_that_is_not_judged_is_named(name: str, bench: Bench) -> None:
    text = TORCH.replace("FORWARD", PLAIN.strip("\n")).replace("optim.SGD", f"optim.{name}")
    facts = bench.opened(text)
    (told,) = supported.not_judged(facts, original=True)
    assert supported.not_judged(facts, original=False) == ()  # numbers tell
    assert f"the optimizer {name} (learning rate 0.01)" in told
    assert bench.read(facts).spec.optimizer.name == "sgd"


def test_a_users_own_adam_is_an_adam(bench: Bench) -> None:
    text = TORCH.replace("FORWARD", PLAIN.strip("\n")).replace("torch.optim.SGD", "Mine")
    facts = bench.opened(text + "\n\nclass Mine(torch.optim.Adam):\n    pass\n")
    assert supported.not_judged(facts, original=True) == ()
    assert bench.read(facts).spec.optimizer.name == "adam"


def test_what_a_trainer_asks_for_and_cannot_have_is_told(bench: Bench) -> None:
    text = TORCH.replace("FORWARD", PLAIN.strip("\n")) + (
        "\n\nport = {'module': Port, 'trainer': {'accelerator': 'gpu', 'precision': '16-mixed', "
        "'devices': 2}}\n"
    )
    facts = bench.opened(text, "port")
    assert any("accelerator='gpu'" in told for told in facts.left_out)
    precision, devices = facts.not_judged
    assert "precision='16-mixed'" in precision
    assert "float16" in precision
    assert "devices=2" in devices
    seen = PortEvidence(label="port", framework="torch", facts=facts, not_judged=facts.not_judged)
    outcome = port_outcome(None, seen, bench.given, spec_of())
    assert (outcome.verdict, precision in outcome.text) == ("inconclusive", True)


# --- On the command line --------------------------------------------------------------------------

Cli = Callable[..., CompletedProcess[str]]


NORMAL_AND_DROPPED = """
    layers.Dense(9), layers.BatchNormalization(), layers.Activation("relu"), layers.Dropout(0.25),
    layers.Dense(9, activation="relu"), layers.Dense(4, activation="softmax"),
"""
SAME = """
        x = self.drop(torch.relu(self.norm(self.a(x))))
        return self.c(torch.relu(self.b(x)))
"""


def test_such_layers_are_judged_by_each_other(bench: Bench, cli: Cli, idx_dir: Path) -> None:
    """Of an original and its port; another learning rate is seen beside a missing dropout."""
    small = ("--data-dir", idx_dir, "--set", "model.layer_sizes=[30, 9, 9, 4]", "--epochs", "2")
    original = bench.write(KERAS.replace("BODY", NORMAL_AND_DROPPED))
    text = TORCH.replace("FORWARD", SAME.strip("\n"))
    done = cli("check", f"{original}:build", f"{bench.write(text)}:Port", *small, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["verdict"], answer["breaks"]) == (0, "identical", [])
    assert [cause["name"] for cause in answer["noted"]] == ["unbiased_variance"]
    assert {name: answer["rungs"][name]["status"] for name in ("loss", "forward", "update")} == {
        "loss": "clean",
        "forward": "clean",
        "update": "noted",
    }

    faulty = bench.write(text.replace("lr=0.01", "lr=0.02").replace("self.drop(", "("))
    done = cli("check", f"{original}:build", f"{faulty}:Port", *small, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert [item["cause"]["name"] for item in answer["breaks"]] == [
        "dropout_missing",
        "learning_rate",
    ]


def test_no_activation_is_printed_that_was_not_seen(bench: Bench, cli: Cli, idx_dir: Path) -> None:
    odd = bench.write(KERAS.replace("BODY", DENSE.replace("'relu'", "keras.ops.sin", 1)))
    small = ("--data-dir", idx_dir, "--set", "model.layer_sizes=[30, 9, 9, 4]")
    done = cli("check", f"{odd}:build", "--print-spec", *small)
    assert (done.returncode, done.stdout) == (2, "")
    assert "a specification cannot express the activation of layer 0" in done.stderr


TWO_OUTPUTS = """
import keras
from keras import layers


def build():
    x = keras.Input((6,))
    heads = {"kind": layers.Dense(3, name="kind")(x), "size": layers.Dense(1, name="size")(x)}
    model = keras.Model(x, heads)
    model.compile("sgd", {"kind": "sparse_categorical_crossentropy", "size": "mse"})
    return model
"""

AT_EACH_STEP = """
import keras
from keras import layers


def build():
    each = layers.LAYER
    model = keras.Sequential([keras.Input((5, 6)), each, layers.Dense(4)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TWO_OUTPUTS, None),
        (AT_EACH_STEP.replace("LAYER", "Masking()"), "it has Masking"),
        (AT_EACH_STEP.replace("LAYER", "TimeDistributed(layers.LayerNormalization())"), None),
        (AT_EACH_STEP.replace("LAYER", "TimeDistributed(layers.Dense(3))"), None),
        (AT_EACH_STEP.replace("LAYER", "UnitNormalization()"), None),
        (AT_EACH_STEP.replace("LAYER", "RMSNormalization()"), None),
    ],
    ids=[
        *("two outputs", "a mask", "a layer at each step", "a dense layer at each step"),
        *("unit length", "root mean square"),
    ],
)
def test_what_no_port_can_be_held_against_is_named(
    text: str, told: str | None, bench: Bench, workers: Workers
) -> None:
    described = workers("keras").describe_port(f"{bench.write(text)}:build")
    found = supported.refusal_of_pair(described, label="it")
    assert (found is None) == (told is None)
    assert (told or "") in (found or "")
