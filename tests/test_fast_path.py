"""The fast paths do what they claim: tests that fail when one falls back in silence.

That the path asked for ran, trains the same and reports progress is in `conformance/test_fit.py`,
for every backend. Here: how long a call is, and what only one framework has.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from mnist_mlp.data.dataset import Dataset
from mnist_mlp.plan import Plan, make_plan, steps_per_call, training_data
from mnist_mlp.spec import parse_spec
from mnist_mlp.worker.parent import Worker


def plan_for(data: Dataset, *, units: int = 9, batch_size: int = 32) -> Plan:
    return make_plan(
        parse_spec(
            {
                "model": {"layer_sizes": [30, units, 4]},
                "training": {"batch_size": batch_size, "epochs": 2},
            }
        ),
        data,
    )


@pytest.mark.parametrize(
    ("units", "batch_size", "steps"),
    [
        (9, 32, 5),  # a small epoch is one call
        (9, 500, 1),  # no whole batch at all
        (1_000_000, 32, 1),  # 6.7 GFLOP a step
        (400_000, 32, 3),  # 2.7 GFLOP: three at most, so 5 whole batches are 3 + 2
        (400_000, 16, 6),  # 1.3 GFLOP: seven at most, so 11 are 6 + 5
    ],
)
def test_a_call_is_about_ten_gflop(
    small_data: Dataset, units: int, batch_size: int, steps: int
) -> None:
    plan = plan_for(small_data, batch_size=batch_size)
    spec = parse_spec(
        plan.spec.model_dump() | {"model": {"layer_sizes": [30, units, 4]}},
    )
    wide = Plan(spec=spec, train_ids=plan.train_ids, test_ids=plan.test_ids, initial_weights={})
    assert steps_per_call(wide) == steps


def ran(worker: Worker, data: Dataset, path: Any) -> dict[str, Any]:
    worker.fit_path = path
    plan = plan_for(data)
    try:
        flags = dict(worker.open(plan.spec).flags)
        return flags | dict(worker.fit(plan, training_data(plan, data)))
    finally:
        worker.fit_path = "fast"


def test_keras_compiles_the_fast_path_and_says_so(workers: Any, small_data: Dataset) -> None:
    assert ran(workers("keras"), small_data, "fast")["jit_compile"] is True
    assert ran(workers("keras"), small_data, "plain")["jit_compile"] is False


def test_torch_traces_the_fast_path_and_says_so(workers: Any, small_data: Dataset) -> None:
    flags = ran(workers("torch"), small_data, "fast")
    assert flags["traced_gradient"] is True
    assert flags["cuda_graph"] is False, "the shared workers run on the CPU"
    assert ran(workers("torch"), small_data, "plain")["traced_gradient"] is False


PREPARED = """
import json
from unittest import mock
import numpy as np
from mnist_mlp.contract import Progress, Runtime
from mnist_mlp.plan import make_plan
from mnist_mlp.data.digits import load_embedded
from mnist_mlp.reference import scale_pixels
from mnist_mlp.spec import parse_spec
from mnist_mlp.plan import training_data
from mnist_mlp_keras import KerasBackend, KerasJaxBackend

data = load_embedded()
spec = parse_spec({
    "model": {"layer_sizes": [data.inputs, 8, data.classes]},
    "training": {"epochs": 2, "batch_size": 50}, "data": {"rows": 1000},
})
plan = make_plan(spec, data)
greys = np.arange(256, dtype=np.uint8)[:, None]
exact = scale_pixels(greys, dtype=np.float32)

def told(backend, made, ran, epochs, pixels, **more):
    print(json.dumps({
        "steps": int(np.asarray(backend.model.optimizer.iterations)), "traced": len(made),
        "ran": ran, "exact": bool((pixels == exact).all()),
        "off_by_reciprocal": int((greys * np.float32(1 / 255) != exact).sum()),
        "history": backend.model.history.history["loss"], "losses": [e.loss for e in epochs],
        **more,
    }))
"""

KERAS = """
backend = KerasBackend()
backend.open(spec, Runtime())
import keras, tensorflow as tf
from mnist_mlp_keras.fast import Resident
own, made, epochs = keras.Sequential.train_step, [], []
with mock.patch.object(keras.Sequential, "train_step", lambda *a: made.append(1) or own(*a)), \\
     mock.patch.object(tf, "function", wraps=tf.function) as function:
    ran = backend.fit(plan, training_data(plan, data), Progress(epoch=epochs.append))
compiled = [call.kwargs.get("jit_compile") for call in function.call_args_list]
rows = Resident(greys, greys[:, 0])
pixels = tf.function(lambda i: rows.batch(i)[0], jit_compile=True)(tf.range(256)).numpy()
told(backend, made, ran, epochs, pixels, compiled=compiled.count(True))
"""

JAX = """
backend = KerasJaxBackend()
backend.open(spec, Runtime())
import jax, keras
from mnist_mlp_keras.fast import FastStateless
own, made, epochs = keras.Sequential.train_step, [], []
with mock.patch.object(keras.Sequential, "train_step", lambda *a: made.append(1) or own(*a)):
    ran = backend.fit(plan, training_data(plan, data), Progress(epoch=epochs.append))
rows = FastStateless.resident(greys, greys[:, 0])
pixels = jax.jit(lambda i: rows.batch(i)[0])(np.arange(256))
told(backend, made, ran, epochs, np.asarray(pixels), compiled=2 * backend.model.jit_compile)
"""


@pytest.mark.parametrize(
    ("package", "script"),
    [
        pytest.param("tensorflow", KERAS, id="tensorflow"),
        pytest.param("jax", JAX, id="jax", marks=pytest.mark.long),
    ],
)
def test_keras_makes_all_steps_in_one_compiled_program(package: str, script: str) -> None:
    """Keras's own `train_step` runs as Python only while it is traced, however many steps it makes.

    And the pixels in that program are divided by 255: XLA turns a division by a constant into a
    product with its reciprocal, which is another number for every second grey.
    """
    if not find_spec(package):
        pytest.skip(f"no {package} here")
    done: CompletedProcess[str] = subprocess.run(
        [sys.executable, "-c", PREPARED + script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["steps"] == 30  # 750 rows in batches of 50, twice
    assert seen["ran"] == {"jit_compile": True, "steps_per_call": 15.0}
    assert 1 <= seen["traced"] <= 3
    assert seen["compiled"] >= 2  # training and validation
    assert seen["exact"]
    assert seen["off_by_reciprocal"] == 126
    assert seen["history"] == seen["losses"]


TORCH = """
import json
import torch
from torch import nn
from torch.nn import functional
from mnist_mlp_torch.traced import TracedGradient, trace_forward

def largest_gaps(inputs, dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(inputs, 128, dtype=dtype), nn.Sigmoid(),
                        nn.Linear(128, 10, dtype=dtype))
    example, x = torch.rand(2, 128, inputs, dtype=dtype)
    y = torch.arange(128) % 10
    traced = TracedGradient(net, example, y.flip(0))
    logits, loss = traced(x, y)
    gradients = [p.grad for p in net.parameters()]
    net.zero_grad()
    own = net(x)
    functional.cross_entropy(own, y).backward()
    pairs = [(logits, own), (trace_forward(net, example)(x), own),
             *((g, p.grad) for g, p in zip(gradients, net.parameters(), strict=True))]
    gaps = [float((a - b).abs().max() / b.abs().max()) for a, b in pairs]
    return {"gap": max(gaps), "onednn": traced.onednn_products,
            "here": torch.backends.mkldnn.is_available()}

print(json.dumps({
    "large": largest_gaps(784, torch.float32), "small": largest_gaps(30, torch.float32),
    "double": largest_gaps(784, torch.float64),
}))
"""


def test_torch_gives_large_products_to_onednn_and_changes_no_more_than_roundings() -> None:
    done: CompletedProcess[str] = subprocess.run(
        [sys.executable, "-c", TORCH], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    # The first layer's forward product and its weights' gradient, where oneDNN is built in.
    assert seen["large"]["onednn"] == (2 if seen["large"]["here"] else 0)
    assert seen["large"]["gap"] < 1e-6
    for same in ("small", "double"):
        assert seen[same] == {**seen["large"], "gap": 0.0, "onednn": 0}


def test_the_path_is_recorded(cli: Any, idx_dir: Path) -> None:
    for option, path in (([], "fast"), (["--plain"], "plain")):
        done = cli(
            *("train", "--backend", "numpy", "--data-dir", idx_dir, "--out", path, *option),
            *("--set", "model.layer_sizes=[30, 9, 4]", "--epochs", 1),
        )
        assert done.returncode == 0, done.stderr
        record = json.loads(Path(path, "run.json").read_text(encoding="utf-8"))
        assert record["fit_path"] == path
        assert 0 < record["timings"]["first_step_s"] < record["timings"]["total_s"]
