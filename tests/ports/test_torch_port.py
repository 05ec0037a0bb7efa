"""A LightningModule of a user's own: what is recorded of it, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import numpy as np
import pytest

from mnist_mlp import reference
from mnist_mlp.contract import State, TrainingData
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.errors import UsageError, UserCodeError
from mnist_mlp.parity.causes.explain import explain
from mnist_mlp.parity.check.side import setting
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.parity.steps.stress import stress_batch
from mnist_mlp.parity.steps.trajectory import ReferenceRun, batch_of
from mnist_mlp.plan import Plan
from mnist_mlp.ports.find_rows import find
from mnist_mlp.ports.protocol import PortEpoch, PortFacts, PortJob, PortStep, Rows
from mnist_mlp.ports.trials import wanted_draws
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.worker.parent import Worker

MODULE = """
import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn import functional


class Port(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(9, 4)
        self.first = nn.Linear(30, 9)

    def forward(self, x):
        return self.last(torch.sigmoid(self.first(x)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = functional.cross_entropy(self(x), y)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("now", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", functional.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.5)

"""


def spec_of(**optimizer: object) -> Spec:
    return parse_spec(
        {
            "seed": 3,
            "model": {"layer_sizes": [30, 9, 4]},
            "optimizer": {"learning_rate": 0.5, "momentum": 0.5, **optimizer},
            "training": {"batch_size": 32, "epochs": 3},
        }
    )


@dataclass(eq=False)
class Ran:
    """An opened port and what one run of it gave."""

    worker: Worker
    facts: PortFacts
    plan: Plan
    data: TrainingData
    recipe: Recipe
    states: dict[int, State] = field(default_factory=dict)
    steps: dict[int | None, PortStep] = field(default_factory=dict)
    epochs: list[PortEpoch] = field(default_factory=list)

    def fit(self, *judged: int) -> None:
        self.states = ReferenceRun(self.plan, self.data).states(judged)
        stress = stress_batch(self.plan, self.data)
        job = PortJob(
            self.plan, self.data, self.states, (stress.state, stress.images, stress.labels)
        )

        def keep(step: PortStep) -> None:
            self.steps[step.step] = step

        self.worker.fit_port(job, on_step=keep, on_epoch=self.epochs.append)


Open = Callable[..., Ran]


@pytest.fixture
def opened(tmp_path: Path, workers: Callable[[str], Worker], small_data: Dataset) -> Iterator[Open]:
    """Opens a port made of `MODULE` with methods added, or of a whole text."""

    def open_(
        methods: str = "",
        *,
        text: str | None = None,
        tail: str = "",
        name: str = "Port",
        spec: Spec | None = None,
        shape: tuple[int, ...] = (30,),
    ) -> Ran:
        path = tmp_path / "their_module.py"
        body = MODULE + indent(dedent(methods), "    ") + "\n\n" + dedent(tail)
        path.write_text(body if text is None else dedent(text))
        given = setting(spec or spec_of(), small_data)
        worker = workers("torch")
        facts = worker.open_port(f"{path}:{name}", data=given.data, image_shape=shape)
        return Ran(worker, facts, given.plan, given.data, given.recipe)

    yield open_


# --- What is known before it trains ---------------------------------------------------------------


def test_layers_come_in_order_of_execution(opened: Open) -> None:
    facts = opened().facts
    assert [(x.name, x.kind, x.inputs, x.units) for x in facts.layers] == [
        ("first", "Linear", 30, 9),
        ("last", "Linear", 9, 4),
    ]
    assert facts.layers[0].dtype == "float32"
    assert facts.framework == "torch"


def test_native_weights_are_drawn_many_times(opened: Open) -> None:
    draws = opened().facts.draws
    assert len(draws) == wanted_draws(9 * 4) == 28
    kernels = np.stack([draw["layers.0.kernel"] for draw in draws])
    assert kernels.shape == (28, 30, 9)
    assert len(np.unique(kernels[:, 0, 0])) == 28
    assert np.abs(kernels).max() <= 30**-0.5


def test_an_instance_is_drawn_once_and_not_worn_out(opened: Open) -> None:
    port = opened(tail="torch.manual_seed(5)\nmodel = Port()\n", name="model")
    (draw,) = port.facts.draws
    port.fit(1)
    again, other = (
        port.worker.train_port(
            port.plan, port.data, seed=seed, native=True, on_epoch=lambda _: None
        )
        for seed in (1, 2)
    )
    assert again == other
    assert draw["layers.0.kernel"].shape == (30, 9)


def test_modules_that_seed_themselves_are_drawn_once(opened: Open) -> None:
    tail = "def build():\n    pl.seed_everything(1)\n    return Port()\n"
    assert len(opened(tail=tail, name="build").facts.draws) == 1


def test_weights_set_when_training_starts_are_the_native_ones(opened: Open) -> None:
    methods = "def on_fit_start(self):\n    nn.init.ones_(self.first.weight)\n"
    (draw,) = opened(methods).facts.draws
    assert (draw["layers.0.kernel"] == 1).all()


def test_settings_of_optimizer_and_trainer_are_told(opened: Open) -> None:
    tail = """
    port = {"module": Port, "trainer": {"gradient_clip_val": 0.5, "max_epochs": 7}}
    """
    facts = opened(tail=tail, name="port").facts
    assert facts.optimizer["name"] == "SGD"
    assert (facts.optimizer["learning_rate"], facts.optimizer["momentum"]) == (0.5, 0.5)
    assert facts.options["gradient_clip_val"] == "0.5"
    assert facts.epochs == 7


def test_a_dense_layer_of_ones_own_is_known_by_its_numbers(opened: Open) -> None:
    tail = """
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(0.1 * torch.randn(30, 9))

        def forward(self, x):
            return x @ self.w

    def build():
        port = Port()
        port.first = Dense()
        return port
    """
    port = opened(tail=tail, name="build")
    first = port.facts.layers[0]
    assert (first.kind, first.inputs, first.units, first.bias) == ("Dense", 30, 9, False)
    port.fit(1)
    expected = port.states[1].weights["layers.0.kernel"]
    x = port.steps[1].record.inputs
    np.testing.assert_allclose(port.steps[1].record.pre_activations[0], x @ expected, atol=1e-5)


def test_functional_layers_are_not_found(opened: Open) -> None:
    methods = """
    def forward(self, x):
        return functional.linear(x, torch.ones(4, 30) * self.last.bias.mean())
    """
    assert not any(layer.dense for layer in opened(methods).facts.layers)


# --- What is recorded -----------------------------------------------------------------------------


def test_a_judged_step_begins_with_the_shared_state(opened: Open) -> None:
    port = opened()
    port.fit(1, 2, 9)
    for step in (1, 2, 9):
        record, state = port.steps[step].record, port.states[step]
        images, labels = batch_of(port.plan, port.data, step)
        x = reference.scale_pixels(images, dtype=np.float32)
        np.testing.assert_array_equal(record.inputs, x)
        passed = reference.forward(state.weights, ["sigmoid", "softmax"], x)
        np.testing.assert_allclose(record.pre_activations[1], passed.logits, atol=2e-6)
        np.testing.assert_allclose(record.activations[0], passed.activations[0], atol=2e-6)
        gradient = reference.backward(state.weights, x, labels, passed)
        weights, slots = reference.update(
            port.plan.spec.optimizer,
            weights=state.weights,
            slots=state.slots,
            gradient=gradient,
            step=step,
        )
        for name, g in gradient.items():
            np.testing.assert_allclose(record.gradient[name], g, atol=2e-7)
            np.testing.assert_allclose(record.state.weights[name], weights[name], atol=2e-6)
            velocity = record.state.slots["velocity"][name]
            np.testing.assert_allclose(velocity, slots["velocity"][name], atol=2e-6)


def test_the_stress_batch_is_run_apart_and_last(opened: Open) -> None:
    port = opened()
    port.fit(1)
    assert list(port.steps) == [1, None]
    stress = stress_batch(port.plan, port.data)
    x = reference.scale_pixels(stress.images, dtype=np.float32)
    logits = reference.forward(stress.state.weights, ["sigmoid", "softmax"], x).logits
    recorded = port.steps[None].record
    np.testing.assert_allclose(recorded.pre_activations[-1], logits, rtol=1e-4, atol=1e-4)
    assert len(port.epochs) == 3


def test_what_the_module_does_after_a_batch_belongs_to_the_step(opened: Open) -> None:
    methods = """
    def on_train_batch_end(self, outputs, batch, batch_idx):
        with torch.no_grad():
            self.last.bias.fill_(7)
    """
    port = opened(methods)
    port.fit(1, 18)  # the last one too, which no next batch closes
    for step in (1, 18):
        assert (port.steps[step].record.state.weights["layers.1.bias"] == 7).all()


@pytest.mark.parametrize(
    ("methods", "factor"),
    [
        # A hook's change is part of the gradient; clipping, however it is done, is not.
        ("def on_after_backward(self):\n    self.last.bias.grad *= 3\n", 3),
        ("def on_before_optimizer_step(self, o):\n    self.last.bias.grad *= 3\n", 3),
        (
            "def on_before_optimizer_step(self, o):\n"
            "    nn.utils.clip_grad_norm_(self.parameters(), 1e-3)\n",
            1,
        ),
        ("def on_after_backward(self):\n    self.last.bias.grad *= 1e-3\n", 1),
    ],
)
def test_the_gradient_is_taken_before_clipping(methods: str, factor: float, opened: Open) -> None:
    port = opened(methods, spec=spec_of(clip_norm=0.1))
    port.fit(1)
    record = port.steps[1].record
    _, labels = batch_of(port.plan, port.data, 1)
    p = np.exp(reference.log_softmax(record.pre_activations[-1]))
    p[np.arange(len(labels)), labels] -= 1
    np.testing.assert_allclose(
        record.gradient["layers.1.bias"], factor * p.mean(axis=0), rtol=1e-4, atol=1e-7
    )


def test_16_bit_arithmetic_arrives_without_loss_and_float64_as_float64(opened: Open) -> None:
    for precision, exact in (("bf16-mixed", 8), ("64-true", 53)):
        tail = f'port = {{"module": Port, "trainer": {{"precision": "{precision}"}}}}\n'
        port = opened(tail=tail, name="port")
        port.fit(1)
        z = port.steps[1].record.pre_activations[0]
        assert z.dtype == (np.float64 if exact == 53 else np.float32)
        fraction, _ = np.frexp(z)
        assert (fraction * 2**exact == np.round(fraction * 2**exact)).all()


def test_epochs_are_counted_and_reported(opened: Open) -> None:
    port = opened()
    port.fit(1)
    run = ReferenceRun(port.plan, port.data)
    for number, (epoch, exact) in enumerate(zip(port.epochs, run.epochs(3), strict=True), start=1):
        assert epoch.epoch == number
        np.testing.assert_array_equal(epoch.rows, exact.rows)
        np.testing.assert_allclose(epoch.losses, exact.losses, rtol=1e-4)
        np.testing.assert_array_equal(epoch.correct, exact.correct)
        whole = (epoch.losses * epoch.rows).sum() / epoch.rows.sum()
        assert epoch.reported["train_loss"] == pytest.approx(whole, rel=1e-6)
        # Logged per step: the last batch's value, which is nobody's epoch.
        assert not {"now", "train_loss_step"} & set(epoch.reported)
        tested = (epoch.val_losses * epoch.val_rows).sum() / epoch.val_rows.sum()
        assert epoch.reported["val_loss"] == pytest.approx(tested, rel=1e-6)
        np.testing.assert_allclose(epoch.val_cross_entropies, epoch.val_losses, rtol=1e-6)
        assert len(epoch.val_rows) == 2  # in batches as the training rows
        assert epoch.batches == len(exact.rows)
        assert epoch.val_confusion.sum() == len(port.data.test_labels)


def test_manual_optimisation_counts_what_goes_backward(opened: Open) -> None:
    methods = """
    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        x, y = batch
        optimizer = self.optimizers()
        optimizer.zero_grad()
        for half in (slice(0, 16), slice(16, None)):
            share = len(y[half]) / len(y)
            self.manual_backward(share * functional.cross_entropy(self(x[half]), y[half]))
        optimizer.step()
    """
    port = opened(methods)
    port.fit(1)
    state, (images, labels) = port.states[1], batch_of(port.plan, port.data, 1)
    x = reference.scale_pixels(images, dtype=np.float64)
    passed = reference.forward(state.weights, ["sigmoid", "softmax"], x)
    expected = reference.sample_losses(passed.logits, labels).mean()
    assert port.steps[1].record.loss == pytest.approx(expected, rel=1e-5)
    gradient = reference.backward(state.weights, x, labels, passed)
    got = port.steps[1].record.gradient["layers.0.kernel"]
    np.testing.assert_allclose(got, gradient["layers.0.kernel"], atol=1e-6)


# --- Evaluation and free training -----------------------------------------------------------------


def test_predictions_are_those_of_the_given_weights(opened: Open) -> None:
    port = opened()
    weights = port.plan.initial_weights
    # As many rows as MNIST has to be predicted in parts, the last of them smaller.
    given = port.data.test_images
    images = np.tile(given, (5000 // len(given) + 1, 1))[::-1]
    x = reference.scale_pixels(images, dtype=np.float32)
    expected = reference.forward(weights, ["sigmoid", "softmax"], x).logits
    got = port.worker.predict_port(weights, images)
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_free_training_starts_from_native_or_planned_weights(opened: Open) -> None:
    port = opened()
    end = ReferenceRun(port.plan, port.data).states([19])[19]
    x = reference.scale_pixels(port.data.test_images, dtype=np.float64)
    logits = reference.forward(end.weights, ["sigmoid", "softmax"], x).logits
    expected = (logits.argmax(axis=1) == port.data.test_labels).mean()
    told: list[Any] = []

    def trained(*, native: bool) -> float:
        return port.worker.train_port(
            port.plan, port.data, seed=1, native=native, on_epoch=told.append
        )

    assert trained(native=False) == pytest.approx(expected, abs=0.03)
    exact = ReferenceRun(port.plan, port.data).epochs(port.plan.spec.training.epochs)
    losses = [float((one.losses * one.rows).sum() / one.rows.sum()) for one in exact]
    assert [numbers["loss"] for numbers in told] == pytest.approx(losses, rel=1e-4)
    assert 0 <= trained(native=True) <= 1


# --- An own loader --------------------------------------------------------------------------------

LOADER = """
from pathlib import Path
import numpy as np
from torch.utils.data import DataLoader, TensorDataset

rows = np.load(Path(__file__).with_name("rows.npz"))
x = torch.tensor(rows["x"]).float() / 255
data = TensorDataset((x - 0.5) / 0.25, torch.tensor(rows["y"]).long())


def loader():
    train = DataLoader(data, batch_size=32, shuffle=True, drop_last=True)
    return train, DataLoader(data, batch_size=50)


port = {"module": Port, "loader": loader}
still = {"module": Port, "loader": DataLoader(data, batch_size=20)}
"""


def test_an_own_loader_is_followed_row_by_row(
    tmp_path: Path, opened: Open, small_data: Dataset
) -> None:
    data = setting(spec_of(), small_data).data
    np.savez(tmp_path / "rows.npz", x=data.train_images, y=data.train_labels)
    facts = opened(tail=LOADER, name="port").facts
    own = facts.own
    assert own is not None
    found = find(own.rows, Rows(data.train_images))
    assert own.epochs[0].sizes == (32,) * 5  # 187 rows
    assert own.total == 187
    assert len(own.epochs) == 3
    first = found[own.epochs[0].ids]
    np.testing.assert_array_equal(own.epochs[0].targets, data.train_labels[first])
    pixels = own.rows.take(own.epochs[0].ids)
    np.testing.assert_allclose(pixels, (data.train_images[first] / 255 - 0.5) / 0.25, atol=1e-5)
    assert not np.array_equal(own.epochs[0].ids, own.epochs[1].ids)
    assert own.moved_by_validation is True
    assert own.shuffle is None
    assert own.validation is not None  # the training rows again
    np.testing.assert_array_equal(found[own.validation.ids], np.arange(187))
    np.testing.assert_array_equal(own.validation.targets, data.train_labels)

    own = opened(tail=LOADER, name="still").facts.own
    assert own is not None
    assert own.epochs[0].sizes[0] == 20
    assert own.validation is None
    assert own.moved_by_validation is None
    assert own.shuffle is False
    found = find(own.rows, Rows(data.train_images))
    np.testing.assert_array_equal(found[own.epochs[2].ids], np.arange(187))


OF_ITS_OWN = """
def train_dataloader(self):
    rows = torch.utils.data.TensorDataset(torch.rand(40, 30), torch.arange(40) % 4)
    return torch.utils.data.DataLoader(rows, batch_size=16, shuffle=True)
"""


def test_the_loaders_of_a_module_are_its_own_data(opened: Open) -> None:
    own = opened(OF_ITS_OWN).facts.own
    assert own is not None
    assert [epoch.sizes for epoch in own.epochs] == [(16, 16, 8)] * 3
    assert sorted(own.epochs[0].targets) == sorted(np.arange(40) % 4)
    assert own.validation is None
    assert opened().facts.own is None


# --- What is told of errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        ("def training_step(self, batch, batch_idx):\n    return self.nothing\n", "AttributeError"),
        ("def on_train_start(self):\n    raise RuntimeError('not so')\n", "RuntimeError: not so"),
        ("def configure_optimizers(self):\n    1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_the_users_line_is_named(methods: str, told: str, opened: Open) -> None:
    line = len(MODULE.splitlines()) + 2
    with pytest.raises(UserCodeError, match=rf"their_module\.py:{line}: {told}"):
        opened(methods)


LOOKS = """
import pathlib
stack = torch.overrides._get_current_function_mode_stack()
pathlib.Path(__file__).with_suffix(".watching").write_text(str(len(stack)))
"""


@pytest.mark.parametrize(
    "methods",
    [
        "def training_step(self, batch, batch_idx):\n    return self.nothing\n",
        "def on_train_start(self):\n    raise RuntimeError('not so')\n",
    ],
)
def test_an_error_leaves_nobody_watching(methods: str, opened: Open, tmp_path: Path) -> None:
    """Who watches functions of torch would count the calls of the next port as well."""
    with pytest.raises(UserCodeError):
        opened(methods)
    opened(tail=LOOKS)
    assert (tmp_path / "their_module.watching").read_text() == "0"


def test_an_unknown_key_is_told(opened: Open) -> None:
    with pytest.raises(UsageError, match=r"unknown key 'trainers'; did you mean 'trainer'\?"):
        opened(tail="port = {'module': Port, 'trainers': {}}\n", name="port")


def test_a_faithful_port_has_no_break(opened: Open) -> None:
    port = opened()
    given = Recipe(port.plan.spec, port.recipe.eps, port.recipe.image_shape)
    port.fit(1, 2, 3, 18)
    from mnist_mlp.parity.findings import JudgedStep

    steps = [
        JudgedStep(
            1,
            s,
            0 if s < 4 else 1,
            port.states[s],
            *batch_of(port.plan, port.data, s),
            record=port.steps[s].record,
        )
        for s in (1, 2, 3, 18)
    ]
    assert explain(given, steps, side="b").breaks == ()
