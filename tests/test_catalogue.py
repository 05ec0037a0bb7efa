"""The catalogue of causes: complete, current, and its lines of code run."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from mnist_mlp import parity
from mnist_mlp.errors import UsageError
from mnist_mlp.parity.causes import data, init, initialisers, loss
from mnist_mlp.parity.causes.catalogue import Entry, catalogue, described, entry
from mnist_mlp.parity.causes.catalogue_page import ABOUT_RUNGS, entry_text, is_code, render
from mnist_mlp.parity.causes.initialisers import Initialiser
from mnist_mlp.parity.findings import RUNGS, UNKNOWN, Cause
from mnist_mlp.parity.pair.optimizers import CAUSES, PLACES
from mnist_mlp.parity.pair.schedules import CAUSES as SCHEDULES
from mnist_mlp.plan import Plan, glorot_uniform
from mnist_mlp.spec import Spec, parse_spec

Cli = Callable[..., CompletedProcess[str]]

ROOT = Path(__file__).parent.parent
PARITY = Path(next(iter(parity.__path__)))
SOURCES = {path.relative_to(PARITY).as_posix(): path for path in sorted(PARITY.rglob("*.py"))}

ENTRIES = list(catalogue().values())
TEXTS = [field.name for field in fields(Entry)]

# --- What the code can emit -----------------------------------------------------------------------

KERNELS = {initialiser.cause for initialiser in initialisers.KERNELS}
BIASES = {initialiser.cause for initialiser in initialisers.BIASES}
# The right distribution is no cause, and constant kernels are told apart from constant biases.
INITIALISERS = (KERNELS | BIASES) - {"glorot_uniform", "zeros", "ones"}
CONSTANT_KERNELS = {"kernel_zeros", "kernel_ones"}

COMPUTED = {
    ("causes/data.py", "cause"): data.MOVES.keys() - {"image_rotated_back"},
    ("causes/data.py", "f'{kind}_inputs'"): {"float16_inputs", "bfloat16_inputs"},
    ("causes/data.py", "f'{kind}_arithmetic'"): {"float16_arithmetic", "bfloat16_arithmetic"},
    ("check/pair_open.py", "arithmetic.narrow(start.b) or UNKNOWN"): {
        *("bfloat16_arithmetic", "float16_arithmetic", "unknown"),
    },
    ("causes/forward.py", "cause"): {"batch_normalisation", "layer_normalisation"},
    ("causes/forward.py", "chosen"): {
        *("activation_missing", "gelu_tanh_approximation", "hard_sigmoid"),
        *("leaky_relu_slope", "other_activation"),
    },
    ("causes/forward.py", "name"): {
        *("bfloat16_arithmetic", "float16_arithmetic", "kernel_reshaped", "kernel_transposed"),
    },
    ("causes/init.py", "_full_name(found.cause, part)"): INITIALISERS | CONSTANT_KERNELS,
    ("check/by_settings.py", "name"): {
        *("dropout", "dropout_missing", "dropout_rate", "batch_normalisation"),
        *("layer_normalisation", "normalisation_missing", "normalisation_settings"),
    },
    ("check/side.py", "name"): {"dropout", "batch_normalisation", "layer_normalisation"},
    ("causes/loss.py", "cause"): loss.FORMS.keys() - {"labels_shifted_down"},
    ("causes/penalty.py", "f'{penalty.kind}_in_loss'"): {"l1_in_loss", "l2_in_loss"},
    ("causes/update.py", "name"): {
        *("clip_by_norm", "clip_by_value", "clip_per_tensor"),
        *("gradient_ascent", "learning_rate"),
    },
    ("check/pair_data.py", "name"): {"last_batch_dropped", "last_batch_kept", "steps_missing"},
    ("check/pair_order.py", "name"): {"not_shuffled", "shuffled"},
    ("check/pair_pixels.py", "name"): data.MOVES.keys() - {"image_rotated_back"},
    ("pair/optimizers.py", "name"): {
        *("learning_rate", "weight_decay", "coupled_weight_decay", "decoupled_weight_decay"),
        *("learning_rate_in_velocity", "learning_rate_outside_velocity", "momentum"),
        *("momentum_missing", "undeclared_momentum", "nesterov_missing", "undeclared_nesterov"),
        *("adam_epsilon", "optimizer_settings", *CAUSES.values(), *PLACES.values()),
        *("schedule_ignored", "undeclared_schedule", "other_schedule"),
    },
    ("pair/clip_hypotheses.py", "name"): {
        *("clip_limit", "clip_missing", "clip_per_tensor", "clip_by_norm", "clip_by_value"),
    },
    ("pair/constraints.py", "cause"): {
        *("constraint_missing", "other_constraint", "extra_constraint", "constraint_epsilon"),
    },
    ("pair/losses.py", "name"): {"loss_weight", "loss_left_out"},
    ("pair/schedules.py", "name"): {
        *("plateau_settings", "early_stopping_settings", "other_schedule", *SCHEDULES.values()),
    },
    ("pair/initial.py", "name"): {
        *("extra_layer", "layer_not_registered", "layers_missing", "normalisation_missing"),
        "other_shapes",
    },
    ("pair/sequences.py", "name"): {
        *("bidirectional_last_step", "bidirectional_merge", "padding_not_masked"),
        "padding_masked",
        "sequence_read_otherwise",
    },
    ("compare/folders.py", "name"): {
        "float32_arithmetic",
        "float64_arithmetic",
        "specification_differs",
    },
    ("compare/side.py", "name"): {"altered_file", "history_not_reproduced"},
}
"""Names that stand in no call of `Cause` itself, by module and by what stands there instead."""


def first_arguments(source: str) -> Iterator[ast.expr]:
    """What each call of `Cause` in a source has for a name."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Name(id="Cause") | ast.Attribute(attr="Cause"), args=[first, *_]
            ):
                yield first
            case ast.Call(func=ast.Name(id="Cause") | ast.Attribute(attr="Cause")):
                raise AssertionError(f"line {node.lineno}: the name of a cause comes first")


def names_in(module: str, name: ast.expr) -> set[str]:
    """The names that an expression stands for."""
    match name:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.Name(id="UNKNOWN"):
            return {UNKNOWN}
        case ast.IfExp(body=body, orelse=other):
            return names_in(module, body) | names_in(module, other)
    key = (module, ast.unparse(name))
    assert key in COMPUTED, f"say in COMPUTED which names {key} stands for"
    return set(COMPUTED[key])


def emitted() -> set[str]:
    """Every name that the code can emit."""
    return {
        name
        for module, path in SOURCES.items()
        for argument in first_arguments(path.read_text(encoding="utf-8"))
        for name in names_in(module, argument)
    }


def test_every_cause_has_an_entry() -> None:
    assert emitted() - catalogue().keys() == set()


def test_every_entry_can_be_emitted() -> None:
    assert catalogue().keys() - emitted() == set()


@pytest.mark.parametrize("place", COMPUTED, ids=" ".join)
def test_computed_names_are_still_computed_there(place: tuple[str, str]) -> None:
    module, expression = place
    source = SOURCES[module].read_text(encoding="utf-8")
    assert expression in {ast.unparse(argument) for argument in first_arguments(source)}


def test_the_search_sees_every_way_of_naming() -> None:
    source = "Cause('a', 1); evidence.Cause(UNKNOWN); Cause('b' if x else UNKNOWN)"
    names = [names_in("compare/folders.py", argument) for argument in first_arguments(source)]
    assert names == [{"a"}, {UNKNOWN}, {"b", UNKNOWN}]
    with pytest.raises(AssertionError, match="COMPUTED"):
        names_in("compare/folders.py", ast.parse("other", mode="eval").body)
    with pytest.raises(AssertionError, match="comes first"):
        list(first_arguments("Cause(name='a')"))


WIDE = parse_spec({"model": {"layer_sizes": [200, 150, 120]}})


def drawn(initialiser: Initialiser, shape: tuple[int, int], size: Any) -> Any:
    """Values by an initialiser, for a layer's shape."""
    rng, scale = np.random.default_rng(0), initialiser.scale(shape)
    if initialiser.kind == "constant":
        return np.full(size, scale)
    if initialiser.kind == "uniform":
        return rng.uniform(-scale, scale, size)
    values = rng.normal(size=size)
    if initialiser.kind == "truncated":
        while (far := np.abs(values) > 2).any():
            values[far] = rng.normal(size=far.sum())
        values /= initialisers.TRUNCATED
    return values * scale


def cases() -> Iterator[Any]:
    for part, known in (("kernel", initialisers.KERNELS), ("bias", initialisers.BIASES)):
        for initialiser in known[1:]:
            yield pytest.param(part, initialiser, id=f"{part} {initialiser.text}")


@pytest.mark.parametrize(("part", "initialiser"), list(cases()))
def test_whatever_initialiser_is_found_has_an_entry(part: str, initialiser: Initialiser) -> None:
    """In a run folder's weights and in a port's own, under the same name."""
    spec = Spec(model=WIDE.model)
    planned = glorot_uniform(spec.model, seed=0, dtype=np.float64)
    altered = {
        name: drawn(initialiser, planned[name.replace("bias", "kernel")].shape, w.shape)
        if name.endswith(part)
        else w
        for name, w in planned.items()
    }
    ids = np.arange(1)
    plan = Plan(spec=spec, train_ids=ids, test_ids=ids, initial_weights=planned)
    from_folder = {item.cause.name for item in init.breaks(altered, plan, side="a")}
    own = init.native_breaks([altered], spec.model.layers, side="a")
    assert from_folder == {item.cause.name for item in own}
    assert len(from_folder) == 1
    assert from_folder <= catalogue().keys()


# --- What an entry says ---------------------------------------------------------------------------


@pytest.mark.parametrize("known", ENTRIES, ids=lambda known: known.name)
def test_an_entry_is_complete(known: Entry) -> None:
    assert known.name.isidentifier()
    assert known.name == known.name.lower()
    for field in TEXTS:
        text = getattr(known, field)
        assert text.strip() == text != ""
        assert "\n" not in text
    for field in ("title", "keras", "torch", "shows"):
        assert getattr(known, field).endswith(".")
    for fix in (known.fix_keras, known.fix_torch):
        if is_code(fix):
            compile(fix, known.name, "exec")
        else:
            with pytest.raises(SyntaxError):
                ast.parse(fix)


def test_entries_come_in_the_order_of_the_ladder() -> None:
    ladder = [*RUNGS, "any"]
    places = [ladder.index(known.rung) for known in ENTRIES]
    assert places == sorted(places)
    assert list(ABOUT_RUNGS) == ladder


def test_each_framework_is_given_its_own_line() -> None:
    known = entry("kernel_zeros")
    assert "keras." in known.fix_keras
    assert "nn." in known.fix_torch
    for framework, fix in (("keras", known.fix_keras), ("torch", known.fix_torch)):
        told = described(Cause("kernel_zeros", "all zero"), framework=framework)
        assert told == Cause("kernel_zeros", "all zero", known.title, fix)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="'softmax_twise'; did you mean 'softmax_twice'"):
        entry("softmax_twise")


KERAS = """
import os
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
import keras, math
import numpy as np
import tensorflow as tf

def names():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 28, 28), np.uint8), np.arange(12) % 10
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    layer = keras.layers.Dense(128)
    model = keras.Sequential([keras.Input((784,)), layer, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    optimizer.build(model.trainable_variables)
    x, y = images.reshape(12, 784).astype("float32") / 255, labels
    with tf.GradientTape() as tape:
        logits = model(x)
        loss = loss(y, logits)
    with tf.GradientTape() as other:
        grads = other.gradient(model(x)[0, 0], model.trainable_variables)
    kernel, bias = layer.get_weights()
    return dict(
        globals(), images=images, labels=labels, optimizer=optimizer, layer=layer, model=model,
        x=x, y=y, x_train=x, y_train=y, train_ids=np.arange(5), order=rng.permutation(12),
        tape=tape, loss=loss, grads=grads, logits=logits, kernel=kernel, weight=kernel.T, bias=bias,
        variable=layer.kernel, gradient=layer.kernel * 2.0, learning_rate=0.01, new_rate=0.001,
        old_rate=0.01, loss_mean=keras.metrics.Mean(), sample_weight=np.ones(12),
    )

def run(line):
    given = names()
    if "super()" in line:
        exec("class Own(keras.optimizers.SGD):\\n    def update_step(self, gradient, variable, "
             "learning_rate):\\n        " + line, given)
        given["Own"](0.01).apply(given["grads"], given["model"].trainable_variables)
    else:
        exec(line, given)
"""

TORCH = """
import os
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import math
import lightning as L
import numpy as np
import torch, torchmetrics
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

class Own(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(784, 128), nn.Linear(128, 10)
    def log(self, name, value, **options):  # as within a training step
        assert not options.keys() - L.LightningModule.log.__annotations__.keys(), options

def names():
    rng = np.random.default_rng(0)
    self = Own()
    optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
    images = torch.from_numpy(rng.integers(0, 256, (12, 28, 28), np.uint8))
    labels = torch.arange(12) % 10
    x, y = images.flatten(1) / 255, labels
    logits = self.last(self.layer(x))
    dataset = TensorDataset(x, y)
    kernel, bias = np.zeros((784, 128), np.float32), np.zeros(128, np.float32)
    return dict(
        globals(), self=self, layer=self.layer, optimizer=optimizer, images=images, labels=labels,
        x=x, y=y, logits=logits, loss=F.cross_entropy(logits, y), dataset=dataset, step=3,
        train_set=dataset, train_ids=np.arange(5), order=rng.permutation(12), kernel=kernel,
        bias=bias, weight=self.layer.weight, velocity=torch.zeros(128, 784),
        gradient=torch.ones(128, 784), learning_rate=0.01, accuracy=torch.tensor(0.5),
        old_rate=0.01, new_rate=0.001, sample_weight=torch.ones(12),
        scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
    )

def run(line):
    exec(line, names())
"""

RUNNER = """
import json, sys
problems = {}
for cause, line in json.load(sys.stdin).items():
    try:
        run(line)
    except Exception as error:
        problems[cause] = f"{line}: {type(error).__name__}: {error}"
print(json.dumps(problems))
"""


def problems_with(lines: dict[str, str], framework: str) -> dict[str, str]:
    """What goes wrong when lines of code are run among the names that the page explains."""
    script = {"keras": KERAS, "torch": TORCH}[framework] + RUNNER
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    problems: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return problems


@pytest.mark.parametrize("framework", [pytest.param("keras", marks=pytest.mark.long), "torch"])
def test_every_line_of_code_runs(framework: str) -> None:
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    fixes = {known.name: getattr(known, f"fix_{framework}") for known in ENTRIES}
    lines = {name: fix for name, fix in fixes.items() if is_code(fix)}
    wrong = {"wrong": "optimizer.no_such_method()"}
    problems = problems_with(lines | wrong, framework)
    assert "no_such_method" in problems.pop("wrong")
    assert problems == {}


# --- The page and the command ---------------------------------------------------------------------


def test_the_page_is_current() -> None:
    """`python -m mnist_mlp.parity.causes.catalogue_page > docs/traps.md` writes it anew."""
    assert (ROOT / "docs" / "traps.md").read_text(encoding="utf-8") == render()


def test_the_page_tells_of_every_cause() -> None:
    page = render()
    for known in ENTRIES:
        assert page.count(f"\n### {known.name}\n") == 1
        assert f"[{known.name}](#{known.name})" in page


def test_code_on_the_page_is_marked_as_code() -> None:
    page = render()
    assert "- Fix in torch: `optimizer.zero_grad()`\n" in page
    assert "- Fix in Keras: cannot happen in Keras's fit" in page


def test_a_line_of_code_is_never_broken_in_two() -> None:
    long = "optimizer = torch.optim.SGD(" + ", ".join(f"option_{i}={i}" for i in range(30)) + ")"
    known = replace(entry("learning_rate"), fix_torch=long, keras="word " * 40 + "end.")
    lines = entry_text(known).splitlines()
    assert f"  {long}" in lines
    assert max(len(line) for line in lines if long not in line) <= 88


def test_explain_lists_every_name(cli: Cli) -> None:
    done = cli("explain", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(catalogue())


def test_explain_list_as_json(cli: Cli) -> None:
    done = cli("explain", "--list", "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told == {"schema_version": 1, "causes": [asdict(known) for known in ENTRIES]}
    assert list(told["causes"][0]) == TEXTS


@pytest.mark.parametrize("known", ENTRIES, ids=lambda known: known.name)
def test_explain_tells_all_that_is_known(cli: Cli, known: Entry) -> None:
    done = cli("explain", known.name)
    assert (done.returncode, done.stderr) == (0, "")
    told = " ".join(done.stdout.split())
    for field in TEXTS:
        assert " ".join(getattr(known, field).split()) in told


def test_explain_as_json(cli: Cli) -> None:
    done = cli("explain", "softmax_twice", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"schema_version": 1, "cause": asdict(entry("softmax_twice"))}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["softmax_twise"], "did you mean 'softmax_twice'?"),
        ([], "either the name of a cause or --list"),
        (["unknown", "--list"], "either the name of a cause or --list"),
    ],
)
def test_explain_refuses_what_it_does_not_know(cli: Cli, words: list[str], told: str) -> None:
    done = cli("explain", *words)
    assert (done.returncode, done.stdout) == (UsageError.exit_code, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
